"""Token buckets: a sustained rate with room for a burst, for each session and each address."""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from broker.pace import Bucket

BURST_SECONDS: Final = 4.0
MAX_KEYS: Final = 10_000


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
