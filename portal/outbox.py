"""What one viewer is still to be sent: bounded, and never older than it must be."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

import orjson

from portal.known import Entry

MAX_STREAM_FRAMES: Final = 50
"""Some 5 s of one node's telemetry and console."""
MAX_STREAM_CHARACTERS: Final = 2 * 1024 * 1024
MAX_REPLIES: Final = 200


class OverflowedError(Exception):
    """The viewer asks faster than it reads; it is to be dropped."""


@dataclass(frozen=True, slots=True)
class StreamFrame:
    """A frame of a live topic, made once for all its viewers.

    Attributes:
        lines: How many log lines are lost with it; 0 for telemetry, which needs no count.
        experiment_id: Whose lines; empty for telemetry.
        private_to: Who alone may see it, besides administrators; None: everybody.
    """

    topic: str
    seq: int
    text: str
    lines: int = 0
    experiment_id: str = ""
    private_to: str | None = None


class Outbox:
    """The latest value of each retained topic, a ring of live frames, and direct replies.

    What a viewer could not take in time is dropped from the ring, oldest first, and counted for
    log lines. A retained topic waits once, with its newest value.
    """

    def __init__(self) -> None:
        self.filled = asyncio.Event()
        self._replies: deque[str] = deque()
        self._retained: dict[str, tuple[Entry, bool]] = {}
        self._sent: dict[str, int] = {}
        self._stream: deque[StreamFrame] = deque()
        self._stream_characters = 0
        self._dropped: dict[tuple[str, str], tuple[int, int]] = {}

    def reply(self, frame: str) -> None:
        """Add a frame that answers the viewer or tells of the link.

        Raises:
            OverflowedError: Too many wait already.
        """
        if len(self._replies) >= MAX_REPLIES:
            raise OverflowedError
        self._replies.append(frame)
        self.filled.set()

    def retain(self, entry: Entry, *, first: bool = False) -> None:
        """Add a retained topic's value, in place of an older one that still waits."""
        if self._sent.get(entry.topic, 0) >= entry.seq and not first:
            return
        waiting = self._retained.pop(entry.topic, None)
        self._retained[entry.topic] = (entry, first or (waiting is not None and waiting[1]))
        self.filled.set()

    def forget(self, topic: str) -> None:
        """Drop what waits of a retained topic that is no longer wanted."""
        self._retained.pop(topic, None)
        self._sent.pop(topic, None)

    def stream(self, frame: StreamFrame) -> None:
        """Add a live frame; the oldest give way."""
        self._stream.append(frame)
        self._stream_characters += len(frame.text)
        while len(self._stream) > 1 and (
            len(self._stream) > MAX_STREAM_FRAMES or self._stream_characters > MAX_STREAM_CHARACTERS
        ):
            lost = self._stream.popleft()
            self._stream_characters -= len(lost.text)
            if lost.lines:
                key = (lost.topic, lost.experiment_id)
                count = self._dropped.get(key, (0, 0))[1]
                self._dropped[key] = (lost.seq, count + lost.lines)
        self.filled.set()

    def take(self) -> str | None:
        """Return the next frame to send, or None if nothing waits."""
        if self._replies:
            return self._replies.popleft()
        if self._retained:
            topic = next(iter(self._retained))
            entry, first = self._retained.pop(topic)
            if entry.value is None:
                self._sent.pop(topic, None)
            else:
                self._sent[topic] = entry.seq
            return entry.snapshot if first else entry.change
        if self._dropped:
            (topic, experiment_id), (seq, count) = self._dropped.popitem()
            return console_frame(topic, seq, experiment_id, [], count)
        if self._stream:
            frame = self._stream.popleft()
            self._stream_characters -= len(frame.text)
            return frame.text
        return None


def console_frame(
    topic: str, seq: int, experiment_id: str, lines: list[bytes], dropped: int
) -> str:
    """Return the frame that carries log lines, each already JSON, and how many are missing."""
    return orjson.dumps(
        {
            "type": "console",
            "topic": topic,
            "seq": seq,
            "experiment_id": experiment_id,
            "lines": [orjson.Fragment(line) for line in lines],
            "dropped": dropped,
        }
    ).decode()
