"""What the journal holds of each epoch, in numbers: kept in memory beside the database."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from broker.journal.window import Span
from broker.messages import StreamBacklog

ENTRY_OVERHEAD = 32
"""Bytes on disk that an entry takes beside its text, about."""


@dataclass(slots=True)
class Shelf:
    """One epoch of one stream; sizes are cumulative from its first entry.

    Attributes:
        floor: The oldest number that is there; ``last + 1`` if none is.
        size_dropped: Up to ``floor - 1``.
        size_acked: Up to `acked`.
        size: Up to `last`.
        oldest_at: When the first unacknowledged entry was appended, in µs of the Unix epoch.
        saved_acked: What the database says of `acked`.
    """

    epoch: str
    order: int
    floor: int = 1
    last: int = 0
    acked: int = 0
    size_dropped: int = 0
    size_acked: int = 0
    size: int = 0
    oldest_at: int | None = None
    saved_acked: int = 0

    @property
    def span(self) -> Span:
        """What the sender needs to know."""
        return Span(self.epoch, self.order, self.floor, self.last, self.acked)

    @property
    def unsent_entries(self) -> int:
        """Entries that are here and not acknowledged."""
        return self.last - max(self.acked, self.floor - 1)

    @property
    def unsent(self) -> int:
        """Bytes of entries that are here and not acknowledged."""
        return self.size - max(self.size_acked, self.size_dropped)

    @property
    def kept(self) -> int:
        """Bytes of entries that are here."""
        return self.size - self.size_dropped

    @property
    def spare(self) -> int:
        """How many of the oldest entries are acknowledged and may go."""
        return max(0, self.acked - (self.floor - 1))

    def append(self, entries: int, size: int, at: int) -> None:
        """Add entries at the end."""
        if self.acked == self.last:
            self.oldest_at = at
        self.last += entries
        self.size += size

    def acknowledge(self, upto: int, size: int, oldest_at: int | None) -> None:
        """Set what the hub has; lower than before means that it has forgotten."""
        self.acked, self.size_acked = upto, size
        self.oldest_at = oldest_at

    def drop(self, below: int, size: int) -> None:
        """Forget the entries below a number, `size` being cumulative up to there."""
        self.floor, self.size_dropped = below, size


def backlog(shelves: Iterable[Shelf]) -> StreamBacklog:
    """Return what of a stream the hub has not acknowledged."""
    waiting = [shelf for shelf in shelves if shelf.unsent_entries]
    oldest = [shelf.oldest_at for shelf in waiting if shelf.oldest_at is not None]
    return StreamBacklog(
        entries=sum(shelf.unsent_entries for shelf in waiting),
        bytes=sum(shelf.unsent for shelf in waiting),
        oldest=datetime.fromtimestamp(min(oldest) / 1e6, UTC) if oldest else None,
    )
