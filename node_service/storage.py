"""What happens as the journal's share of the disk fills up. Pure.

Unsent data is never deleted, so what may still be written is rationed instead: bulk waits first,
then log lines are left out, then samples are thinned; the last hundredth is kept for what the
queue depends on, the steps of attempts and what was done to the reactor.
"""

from typing import Final, Literal

from broker.messages import Error, ErrorCode

ALARM: Final = 0.80
NO_NEW_RUN: Final = 0.90
NO_FILES: Final = 0.95
NO_LOG: Final = 0.97
FEWER_SAMPLES: Final = 0.98
NO_SAMPLES: Final = 0.99
KEPT_SAMPLES: Final = 10
"""One sample in so many is kept from `FEWER_SAMPLES` on."""


def keeps_log(fill: float) -> bool:
    """Return whether log lines and the script's own series are still written."""
    return fill < NO_LOG


def keeps_sample(fill: float, counter: int) -> bool:
    """Return whether the sample with this running number is written."""
    if fill < FEWER_SAMPLES:
        return True
    return fill < NO_SAMPLES and counter % KEPT_SAMPLES == 0


def keeps_file(fill: float) -> bool:
    """Return whether results are moved into the journal, or wait where they are."""
    return fill < NO_FILES


def refusal(fill: float) -> Error | None:
    """Return why no new run may start, None if it may."""
    if fill < NO_NEW_RUN:
        return None
    return Error(
        code=ErrorCode.STORAGE_FULL,
        message=f"the node's journal is {fill:.0%} full of data that the hub has not taken yet",
        hint="bring hub and broker back, so that the data can leave, or give the node more disk",
        details={"fill": round(fill, 4)},
    )


def alarm(fill: float) -> tuple[Literal["warning", "critical"], str]:
    """Return how bad it is, and a sentence for people, from `ALARM` on."""
    if fill < NO_NEW_RUN:
        return "warning", "the node's journal fills up; from 90 % on no experiment is started"
    if fill < NO_LOG:
        return "critical", "the node's journal is nearly full; no experiment is started"
    return "critical", "the node's journal is full; log lines and samples are being left out"
