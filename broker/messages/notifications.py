"""What people want to be told of."""

from typing import Literal

from broker.messages.base import Label, Name, Payload, RequestId, Time, Ulid, Whole
from broker.messages.errors import Error
from broker.messages.experiments import Status

NotificationKind = Literal["finished", "failed", "interrupted", "alarm"]


class Notification(Payload):
    """Something that people want to be told of, sent to `notifications/{kind}`.

    Attributes:
        id: The same at each repeat, and of nothing else.
        kind: ``finished`` is completed or cancelled; ``interrupted``: its node lost the run, which
            failed or starts over; ``alarm``: one was raised.
        at: When it happened, by the clock of where it happened.
        title: A few words.
        message: One or more sentences.
        severity: Of an alarm.
    """

    id: RequestId
    kind: NotificationKind
    at: Time
    title: str
    message: str
    experiment_id: Ulid | None = None
    attempt: Whole | None = None
    name: Label | None = None
    owner: str | None = None
    status: Status | None = None
    node: Name | None = None
    channel: Name | None = None
    severity: Literal["warning", "critical"] | None = None
    error: Error | None = None
