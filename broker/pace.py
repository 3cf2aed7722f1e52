"""How often something may be: a sustained rate with room for a burst."""

import math


class Bucket:
    """A token bucket.

    Args:
        rate: Tokens that return each second.
        burst: Tokens that it holds, at least one.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = max(1.0, burst)
        self._tokens = self._burst
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Take a token.

        Returns:
            0 if there was one, otherwise the seconds until there is one.
        """
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate

    def left(self, now: float) -> tuple[int, int]:
        """Return how many tokens there are, and the whole seconds until it is full."""
        since = 0.0 if self._at is None else now - self._at
        tokens = min(self._burst, self._tokens + since * self._rate)
        return int(tokens), math.ceil((self._burst - tokens) / self._rate)
