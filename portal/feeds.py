"""How often a topic speaks to its viewers: the first change at once, then every 100 ms."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final

import orjson

from broker.messages import Console
from portal.known import Entry
from portal.outbox import StreamFrame, console_frame

MAX_READINGS: Final = 200
"""Readings of one node in one frame; a node that sends more in 100 ms loses the oldest."""
MAX_LINES: Final = 500
"""Log lines in one frame; what exceeds it is counted."""


class Paced(ABC):
    """Sends at once when it has been quiet, and otherwise when its turn comes.

    Args:
        interval: Seconds between two frames.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def _flush(self) -> None:
        """Send what has gathered."""

    def close(self) -> None:
        """Send nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _touch(self) -> None:
        if self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._free_at:
            self._free_at = now + self._interval
            self._flush()
        else:
            self._timer = loop.call_at(self._free_at, self._turn)

    def _turn(self) -> None:
        self._timer = None
        self._free_at = asyncio.get_running_loop().time() + self._interval
        self._flush()


class RetainedFeed(Paced):
    """The newest value of one retained topic."""

    def __init__(self, interval: float, send: Callable[[Entry], None]) -> None:
        super().__init__(interval)
        self._send = send
        self._entry: Entry | None = None

    def put(self, entry: Entry) -> None:
        """Send this value, unless a newer one comes before its turn."""
        self._entry = entry
        self._touch()

    def _flush(self) -> None:
        if self._entry is not None:
            self._send(self._entry)
            self._entry = None


class TelemetryFeed(Paced):
    """All readings of one node since the last frame."""

    def __init__(self, topic: str, interval: float, send: Callable[[StreamFrame], None]) -> None:
        super().__init__(interval)
        self._topic = topic
        self._send = send
        self._seq = 0
        self._private_to: str | None = None
        self._readings: deque[bytes] = deque(maxlen=MAX_READINGS)

    def put(self, seq: int, payload: bytes, private_to: str | None = None) -> None:
        """Add a reading, already JSON; see `StreamFrame` for who may see it."""
        if private_to != self._private_to and self._readings:
            self._flush()
        self._private_to = private_to
        self._seq = seq
        self._readings.append(payload)
        self._touch()

    def _flush(self) -> None:
        if not self._readings:
            return
        text = orjson.dumps(
            {
                "type": "telemetry",
                "topic": self._topic,
                "seq": self._seq,
                "payloads": [orjson.Fragment(reading) for reading in self._readings],
            }
        ).decode()
        self._readings.clear()
        self._send(StreamFrame(self._topic, self._seq, text, private_to=self._private_to))


class ConsoleFeed(Paced):
    """The log lines of one node's experiment since the last frame, a bounded ring."""

    def __init__(self, topic: str, interval: float, send: Callable[[StreamFrame], None]) -> None:
        super().__init__(interval)
        self._topic = topic
        self._send = send
        self._seq = 0
        self._experiment_id = ""
        self._private_to: str | None = None
        self._lines: deque[bytes] = deque()
        self._dropped = 0

    def put(self, seq: int, console: Console, private_to: str | None = None) -> None:
        """Add log lines; see `StreamFrame` for who may see them."""
        other = (console.experiment_id, private_to) != (self._experiment_id, self._private_to)
        if other and self._lines:
            self._flush()
        self._private_to = private_to
        self._seq = seq
        self._experiment_id = console.experiment_id
        for line in console.lines:
            self._lines.append(line.encode())
        while len(self._lines) > MAX_LINES:
            self._lines.popleft()
            self._dropped += 1
        self._touch()

    def _flush(self) -> None:
        if not self._lines:
            return
        lines, dropped = list(self._lines), self._dropped
        self._lines.clear()
        self._dropped = 0
        text = console_frame(self._topic, self._seq, self._experiment_id, lines, dropped)
        count = len(lines) + dropped
        self._send(
            StreamFrame(self._topic, self._seq, text, count, self._experiment_id, self._private_to)
        )
