"""What a node sends next of one stream. Pure: no I/O, no clock of its own.

Only the oldest epoch with anything unacknowledged is sent; the next one starts when that is
acknowledged to its end, so that entries of different epochs never overtake one another. Within it
batches go out ahead of their acknowledgement up to a limit. When no acknowledgement makes progress,
everything after the last one is sent again.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.messages import MAX_BATCH_BYTES

RESEND_AFTER: Final = 10.0
"""Seconds without progress before sending again; doubled each time up to the longest."""
LONGEST_RESEND: Final = 60.0
HINTED_RESEND: Final = 1.0
"""Seconds to the resend after an acknowledgement without progress: the hub misses something."""


@dataclass(frozen=True, slots=True)
class Span:
    """One epoch of a stream, as the node has it.

    Attributes:
        order: Grows with each opening of the journal.
        floor: The oldest number that is still there; ``last + 1`` if none is.
        last: The newest number; 0 if there never was one.
        acked: The hub has all up to here. Below ``floor - 1`` it lacks what is gone.
    """

    epoch: str
    order: int
    floor: int
    last: int
    acked: int


@dataclass(frozen=True, slots=True)
class Want:
    """Send a batch of this epoch that begins with this number.

    Attributes:
        first: Up to `last`; above it, the batch is empty and only tells the floor.
    """

    epoch: str
    order: int
    floor: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Limit:
    """How much may be on its way; the next batch is taken to be as large as batches may be."""

    batches: int
    bytes: int


class Window:
    """The batches of one stream that are on their way.

    Args:
        limit: What may be on its way at once.
    """

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._epoch = ""
        self._acked = 0
        self._sent = 0
        self._on_the_way: deque[tuple[int, int]] = deque()  # (last number, bytes)
        self._interval = RESEND_AFTER
        self._deadline: float | None = None
        self._hinted = False

    @property
    def deadline(self) -> float | None:
        """When to ask `next` again even if nothing happens; None while nothing is on its way."""
        return self._deadline

    def next(self, pending: Sequence[Span], now: float) -> Want | None:
        """Return what to send now, or None.

        Args:
            pending: Epochs with unacknowledged entries, the oldest first.
            now: Seconds of any monotonic clock.
        """
        if not pending:
            self._begin("", 0)
            return None
        span = pending[0]
        self._follow(span, now)
        if self._deadline is not None and now >= self._deadline:
            self._interval = min(2 * self._interval, LONGEST_RESEND)
            self._forget()
        if self._full():
            return None
        first = max(self._sent, span.acked, span.floor - 1) + 1
        missing_is_told = self._sent >= span.floor - 1 or span.acked >= span.floor - 1
        if first > span.last and missing_is_told:
            return None
        return Want(span.epoch, span.order, span.floor, first, span.last)

    def sent(self, want: Want, upto: int, size: int, now: float) -> None:
        """Note that a batch up to a number goes out now; one no longer wanted is not counted."""
        if want.epoch != self._epoch or want.first <= self._sent:
            return
        self._sent = upto
        self._on_the_way.append((upto, size))
        if self._deadline is None:
            self._deadline = now + self._interval

    def restart(self) -> None:
        """Send everything unacknowledged again: the connection or the hub is a new one."""
        self._interval = RESEND_AFTER
        self._hinted = False
        self._forget()

    def hint(self, now: float) -> None:
        """Note an acknowledgement that says nothing new: the hub may miss what is on its way."""
        if self._deadline is not None and not self._hinted:
            self._hinted = True
            self._deadline = min(self._deadline, now + HINTED_RESEND)

    def _follow(self, span: Span, now: float) -> None:
        if span.epoch != self._epoch or span.acked < self._acked:
            self._begin(span.epoch, span.acked)
        if span.acked == self._acked:
            return
        self._acked = span.acked
        while self._on_the_way and self._on_the_way[0][0] <= span.acked:
            self._on_the_way.popleft()
        self._interval = RESEND_AFTER
        self._hinted = False
        self._deadline = now + self._interval if self._on_the_way else None

    def _begin(self, epoch: str, acked: int) -> None:
        self._epoch, self._acked = epoch, acked
        self.restart()

    def _forget(self) -> None:
        self._on_the_way.clear()
        self._sent = 0
        self._deadline = None

    def _full(self) -> bool:
        if len(self._on_the_way) >= self._limit.batches:
            return True
        size = sum(size for _, size in self._on_the_way)
        return bool(size) and size + MAX_BATCH_BYTES > self._limit.bytes
