"""Which server of a cluster is tried next, and when: pure, told of each failure.

The servers form a ring. Each client has a home in it, by its id, so that many clients spread over
them; it goes to the next server as soon as one fails, and waits, longer and longer, only when all
have failed. It stays where it is: to move back would break a connection that works.
"""

import random
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, Generic, TypeVar

S = TypeVar("S")

FIRST_DELAY: Final = 0.25
LONGEST_DELAY: Final = 15.0
REFUSALS: Final = 3
"""So often each server of several must refuse a subscription before we take it for its word."""


class Servers(Generic[S]):
    """Where to connect.

    Args:
        servers: At least one, in the order of the settings.
        client_id: Decides which one is the first.
        chance: Returns a random number between its arguments.
    """

    def __init__(
        self,
        servers: Sequence[S],
        client_id: str,
        *,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._servers = tuple(servers)
        self._place = int.from_bytes(sha256(client_id.encode()).digest()[:4]) % len(self._servers)
        self._chance = chance
        self._failures = self._refusals = 0
        self._delay = FIRST_DELAY

    @property
    def current(self) -> S:
        """Where to connect."""
        return self._servers[self._place]

    def lost(self, *, steady: bool) -> float:
        """Go on to the next server; return how many seconds to wait before it is tried.

        Jitter keeps all clients of a server that died from coming to the next one at once.

        Args:
            steady: The connection had lasted: what failed before it is forgotten.
        """
        if steady:
            self._failures, self._delay = 0, FIRST_DELAY
        self._place = (self._place + 1) % len(self._servers)
        self._failures += 1
        if self._failures % len(self._servers):
            return self._chance(0.0, FIRST_DELAY)
        delay, self._delay = self._delay, min(2 * self._delay, LONGEST_DELAY)
        return delay * self._chance(0.5, 1.0)

    def refused(self) -> bool:
        """Note that a subscription was refused; return whether that is final."""
        self._refusals += 1
        return len(self._servers) == 1 or self._refusals >= REFUSALS * len(self._servers)

    def granted(self) -> None:
        """Note that all subscriptions were granted."""
        self._refusals = 0
