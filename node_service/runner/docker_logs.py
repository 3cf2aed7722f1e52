"""Docker's log stream, taken apart, and the cursor that makes it resumable. Pure.

The engine numbers nothing. It can only give what was written since a time, in the order of its
file; standard output and error may swap by some milliseconds in it, times may be equal, and the
wall clock may jump back. So a cursor is an anchor in time and a count: of the messages that the
engine gives since the anchor, that many were read. The anchor is the beginning of the log while
that is short, which no clock can spoil. In a long one it follows at a distance that no swap
reaches; a clock that is seen to jump further back moves it to the beginning again. What could be
missed is what a long log got while nobody read it and after the clock was set back and before it
caught up.
"""

import codecs
import struct
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from node_service.runner.interface import MAX_LOG_LINE, LogChunk, LogCursor

_HEADER: Final = struct.Struct(">BxxxL")
_SOURCES: Final[dict[int, Literal["stdout", "stderr"]]] = {1: "stdout", 2: "stderr"}
_SECOND: Final = 1_000_000_000
_DISTANCE: Final = 10 * _SECOND
_SHORT: Final = 5000
"""Messages that are gladly read again at a restart."""


@dataclass(slots=True)
class _Position:
    """The cursor, times in nanoseconds since 1970.

    Attributes:
        anchor: The engine is asked for what was written since then; 0 is the beginning.
        first: Time of the first message that it gives then; another one means that the log was
            cut at its beginning.
        skip: How many of what it gives were read.
        last: Time of the last message that was read.
        total: How many messages were read at all.
        origin: Time of the very first message.
    """

    anchor: int = 0
    first: int = 0
    skip: int = 0
    last: int = 0
    total: int = 0
    origin: int = 0


@dataclass(slots=True)
class _Bucket:
    """Messages of one second: how many, and which of them came first."""

    count: int
    number: int
    first: int


class LogReader:
    """Turns the bytes of one log request into chunks.

    Args:
        after: Where an earlier reader stopped.
        now: Wall time in nanoseconds since 1970.
        short: Messages up to which the anchor stays at the beginning.
    """

    def __init__(self, after: LogCursor | None, now: int, *, short: int = _SHORT) -> None:
        self._at = _parse(after)
        self._short = short
        if now < self._at.last:  # the clock was set back
            self._at.anchor, self._at.first, self._at.skip = 0, self._at.origin, self._at.total
        self._to_skip = self._at.skip
        self._seen = 0
        self._cut: int | None = None
        self._lost = False
        self._buckets: dict[int, _Bucket] = {}
        self._in_buckets = 0
        self._rest = b""
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {source: decoder("replace") for source in _SOURCES.values()}

    @property
    def since(self) -> str:
        """What to ask the engine for, as its ``since`` parameter."""
        return f"{self._at.anchor // _SECOND}.{self._at.anchor % _SECOND:09}"

    @property
    def cursor(self) -> LogCursor:
        """After the last chunk given."""
        return LogCursor(".".join(str(part) for part in astuple(self._at)))

    def feed(self, data: bytes) -> Iterator[LogChunk]:
        """Give the chunks that are complete with these bytes."""
        buffer = self._rest + data
        start = 0
        while len(buffer) - start >= _HEADER.size:
            stream, length = _HEADER.unpack_from(buffer, start)
            end = start + _HEADER.size + length
            if end > len(buffer):
                break
            source = _SOURCES.get(stream)
            if source is not None:
                chunk = self._message(source, buffer[start + _HEADER.size : end])
                if chunk is not None:
                    yield chunk
            start = end
        self._rest = buffer[start:]

    def _message(self, source: Literal["stdout", "stderr"], message: bytes) -> LogChunk | None:
        stamp, _, text = message.partition(b" ")
        try:
            time = _nanoseconds(stamp)
        except ValueError:  # not from the engine, or damaged: where it belongs is not known
            self._lost = True
            return None
        # the last piece of a long line has no end of line either, but is shorter
        partial = len(text) >= MAX_LOG_LINE and not text.endswith(b"\n")
        decoded = self._decoders[source].decode(text.removesuffix(b"\n"), final=not partial)
        if self._was_read(time):
            return None
        self._count(time)
        lost, self._lost = self._lost, False
        return LogChunk(
            t=datetime.fromtimestamp(time / _SECOND, UTC),
            source=source,
            text=decoded.replace("\x00", "\N{REPLACEMENT CHARACTER}").removesuffix("\r"),
            partial=partial,
            lost=lost,
            cursor=self.cursor,
        )

    def _was_read(self, time: int) -> bool:
        """Say whether an earlier reader had the message, which is given again."""
        self._seen += 1
        if self._seen == 1 and self._to_skip and time != self._at.first:
            self._resume_by_time()
        if self._cut is not None and time <= self._cut:
            return self._at.total == 0 or self._cut - time < _DISTANCE
        if self._seen > self._to_skip:
            return False
        self._put_in_bucket(time)
        return True

    def _resume_by_time(self) -> None:
        """Go on after the last time that was read: the log was cut, so counts mean nothing."""
        self._cut, self._lost, self._to_skip = self._at.last, True, 0
        self._at = _Position(anchor=self._cut + 1, last=self._cut)

    def _count(self, time: int) -> None:
        at = self._at
        if at.total == 0:
            at.origin = at.first = time
        at.total += 1
        at.last = time
        if time < at.anchor:
            at.anchor, at.first, at.skip = 0, at.origin, at.total
            return
        at.skip += 1
        self._put_in_bucket(time)
        far = time - max(at.anchor, at.first) >= 2 * _DISTANCE
        if far and at.skip > self._short and self._in_buckets == at.skip:
            self._advance(time)

    def _put_in_bucket(self, time: int) -> None:
        self._in_buckets += 1
        bucket = self._buckets.get(time // _SECOND)
        if bucket is None:
            self._buckets[time // _SECOND] = _Bucket(1, self._seen, time)
        else:
            bucket.count += 1

    def _advance(self, time: int) -> None:
        """Let the anchor follow at its distance."""
        at = self._at
        oldest = (time - _DISTANCE) // _SECOND
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if key >= oldest}
        at.anchor = oldest * _SECOND
        at.skip = self._in_buckets = sum(bucket.count for bucket in self._buckets.values())
        at.first = min(self._buckets.values(), key=lambda bucket: bucket.number).first


def _parse(cursor: LogCursor | None) -> _Position:
    if cursor is None:
        return _Position()
    parts = cursor.value.split(".")
    if len(parts) != len(_Position.__slots__) or not all(part.isdecimal() for part in parts):
        raise ValueError(f"{cursor.value!r} is no cursor of this runner")
    return _Position(*(int(part) for part in parts))


def _nanoseconds(stamp: bytes) -> int:
    """Parse the engine's time, for example ``2026-11-23T12:05:01.123456789Z``."""
    whole, _, fraction = stamp.rstrip(b"Z").partition(b".")
    seconds = int(datetime.fromisoformat(whole.decode() + "+00:00").timestamp())
    return seconds * _SECOND + int(fraction.ljust(9, b"0")[:9])
