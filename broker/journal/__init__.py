"""The record from node to hub: ordered, acknowledged, without gap and without duplicate."""

from broker.journal.lane import JournalSink
from broker.journal.receiver import JournalReceiver
from broker.journal.reception import MAX_ACK_EPOCHS, acknowledgement
from broker.journal.sender import JournalSender
from broker.journal.store import (
    ALARM_FILL,
    BUDGET,
    MAX_ENTRY_BYTES,
    NO_NEW_RUN_FILL,
    Journal,
)

__all__ = [
    "ALARM_FILL",
    "BUDGET",
    "MAX_ACK_EPOCHS",
    "MAX_ENTRY_BYTES",
    "NO_NEW_RUN_FILL",
    "Journal",
    "JournalReceiver",
    "JournalSender",
    "JournalSink",
    "acknowledgement",
]
