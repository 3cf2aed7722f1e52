"""Pages that fit into one reply."""

from collections.abc import Iterable
from typing import Final, TypeVar

from broker.messages import Payload

P = TypeVar("P", bound=Payload)

MAX_PAGE_BYTES: Final = 512 * 1024
"""Of a page, encoded; the next page goes on from there."""


def fitting(items: Iterable[P]) -> tuple[P, ...]:
    """Return as many as fit into one reply, at least one."""
    shown: list[P] = []
    size = 0
    for item in items:
        size += len(item.encode())
        if shown and size > MAX_PAGE_BYTES:
            break
        shown.append(item)
    return tuple(shown)
