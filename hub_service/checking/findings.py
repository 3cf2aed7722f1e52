"""What a check finds, and how it is mended: things are moved aside or noted, never deleted."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, TypeVar

T = TypeVar("T")

ASIDE: Final = "set-aside"
"""Directory below the hub's where a mend moves what does not belong."""


class Severity(StrEnum):
    """How bad it is."""

    NOTE = "note"  # the hub deals with it by itself
    WARNING = "warning"  # something does not belong or is less than it should be
    DAMAGE = "damage"  # something recorded is lost or cannot be relied on


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        where: The file, the experiment or the table.
        what: Is wrong with it, as a sentence.
        remedy: What a person can do.
        mend: Does what is safe and returns what it did; None where only a person can.
    """

    severity: Severity
    where: str
    what: str
    remedy: str
    mend: Callable[[], str] | None = None


class Progress(Protocol):
    """Tells how far a long check is."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say that so much of the total is done."""


def told(progress: Progress, what: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Yield items and tell how many there were."""
    done = 0
    for done, item in enumerate(items):
        progress(what, done, total)
        yield item
    progress(what, max(total, done), max(total, done))


class Aside:
    """Where a mend moves things: below one directory, each at its old relative place.

    Args:
        directory: The hub's.
        moment: Names this mend, so that no two meet.
    """

    def __init__(self, directory: Path, moment: str) -> None:
        self._directory = directory
        self.place = directory / ASIDE / moment

    def move(self, path: Path) -> str:
        """Move a file there and say so."""
        to = self.place / path.relative_to(self._directory)
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.rename(to)
        return f"moved to {to}"
