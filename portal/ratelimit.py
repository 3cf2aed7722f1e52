"""Token buckets: a sustained rate with room for a burst, for each session and each address."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

BURST_SECONDS: Final = 4.0
MAX_KEYS: Final = 10_000


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


class RateLimit:
    """One bucket a key; keys not seen for long are forgotten when there are too many.

    Args:
        now: Monotonic seconds.

    Attributes:
        quota: The most uses at once.
        window: Whole seconds in which so many return.
    """

    def __init__(
        self, rate: float, now: Callable[[], float], burst_seconds: float = BURST_SECONDS
    ) -> None:
        self._rate = rate
        self._now = now
        self._burst = rate * burst_seconds
        self.quota = int(max(1.0, self._burst))
        self.window = math.ceil(self.quota / rate)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def left_of(self, key: str) -> tuple[int, int]:
        """Return how many uses are left to a key, and the seconds until all are there again."""
        bucket = self._buckets.get(key)
        return (self.quota, 0) if bucket is None else bucket.left(self._now())

    def wait_of(self, key: str) -> float:
        """Count one use; return 0 if it is allowed, otherwise the seconds to wait."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._rate, self._burst)
            if len(self._buckets) > MAX_KEYS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket.take(self._now())
