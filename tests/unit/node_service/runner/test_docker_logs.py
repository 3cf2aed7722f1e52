"""A model of the engine's log: what is written is read once, however reading is cut up."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_service.runner.docker_logs import LogReader
from node_service.runner.interface import LogChunk, LogCursor

SECOND = 1_000_000_000
START = 1_795_000_000 * SECOND


@dataclass(frozen=True)
class Message:
    """One message in the engine's file."""

    time: int
    source: int
    text: bytes

    def frame(self) -> bytes:
        stamp = datetime.fromtimestamp(self.time // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        data = f"{stamp}.{self.time % SECOND:09}Z ".encode() + self.text
        return struct.pack(">BxxxL", self.source, len(data)) + data


def engine(log: Sequence[Message], since: str) -> bytes:
    """Answer as the engine does: in the order of the file, what is not older."""
    seconds, nanoseconds = since.split(".")
    oldest = int(seconds) * SECOND + int(nanoseconds)
    return b"".join(message.frame() for message in log if message.time >= oldest)


def read(
    log: Sequence[Message],
    after: LogCursor | None,
    count: int | None,
    *,
    piece: int = 1000,
    short: int = 0,
    now: int = 2 * START,
) -> list[LogChunk]:
    reader = LogReader(after, now, short=short)
    data = engine(log, reader.since)
    chunks: list[LogChunk] = []
    for start in range(0, len(data), piece):
        for chunk in reader.feed(data[start : start + piece]):
            chunks.append(chunk)
            if len(chunks) == count:
                return chunks
    return chunks


@st.composite
def logs(draw: st.DrawFn, *, clock_jumps: bool) -> list[Message]:
    """Equal times, streams that swap, quiet hours, and a clock that may be set back."""
    steps = st.sampled_from([0, 0, 1, 1000, SECOND // 3, SECOND, 7 * SECOND, 25 * SECOND, -3_000])
    jumps = st.sampled_from([-3600 * SECOND, 3600 * SECOND])
    count = draw(st.integers(1, 60))
    time, log = START, []
    for number in range(count):
        time += draw(steps)
        if clock_jumps and draw(st.integers(0, 40)) == 0:
            time += draw(jumps)
        log.append(Message(time, draw(st.sampled_from([1, 2])), b"%d\n" % number))
    return log


def assert_whole(log: Sequence[Message], pieces: Sequence[int], size: int, short: int) -> None:
    """Read a log that grows: each reader sees more of the file than the one before."""
    seen: list[str] = []
    cursor: LogCursor | None = None
    written = 0
    for count in pieces:
        written = min(len(log), written + 2 * count)
        for chunk in read(log[:written], cursor, count, piece=size, short=short):
            seen.append(chunk.text)
            cursor = chunk.cursor
            assert not chunk.lost
    seen += [chunk.text for chunk in read(log, cursor, None, piece=size, short=short)]
    assert seen == [str(number) for number in range(len(log))]


PIECES = st.lists(st.integers(1, 15), max_size=30)


@given(logs(clock_jumps=False), PIECES, st.integers(1, 200), st.integers(0, 20))
def test_a_log_read_in_any_pieces_is_whole(
    log: list[Message], pieces: list[int], size: int, short: int
) -> None:
    assert_whole(log, pieces, size, short)


@given(logs(clock_jumps=True), PIECES, st.integers(1, 200))
def test_a_short_log_is_whole_whatever_the_clock_does(
    log: list[Message], pieces: list[int], size: int
) -> None:
    assert_whole(log, pieces, size, short=5000)


def test_a_long_log_is_whole_after_a_clock_set_back_during_a_restart() -> None:
    before = [Message(START + n * SECOND, 1, b"%d\n" % n) for n in range(100)]
    after = [Message(START - n * SECOND, 1, b"%d\n" % n) for n in range(100, 0, -1)]
    cursor = read(before, None, None)[-1].cursor
    rest = read(before + after, cursor, None, now=START)
    assert [chunk.text for chunk in rest] == [str(n) for n in range(100, 0, -1)]


def test_a_long_log_is_whole_after_a_clock_set_back_while_it_is_read() -> None:
    log = [Message(START + n * SECOND, 1, b"%d\n" % n) for n in range(100)]
    log += [Message(START - 3600 * SECOND + n * SECOND, 1, b"%d\n" % n) for n in range(100)]
    for count in (101, 150):
        cursor = read(log, None, count)[-1].cursor
        assert len(read(log, cursor, None)) == 200 - count


@given(st.integers(1, 80), st.integers(0, 80), st.integers(0, 80))
def test_a_log_cut_at_its_beginning_says_what_is_lost(count: int, got: int, cut: int) -> None:
    got, cut = min(got, count), min(cut, count)
    log = [Message(START + n * SECOND, 1, b"%d\n" % n) for n in range(count)]
    first = read(log, None, got) if got else []
    rest = read(log[cut:], first[-1].cursor if first else None, None)
    assert [int(chunk.text) for chunk in rest] == list(range(max(got, cut), count))
    assert not any(chunk.lost for chunk in rest[1:])
    if rest and cut > got > 0:
        assert rest[0].lost
    again = read(log[cut:], rest[0].cursor, None) if rest else []
    assert [chunk.text for chunk in again] == [chunk.text for chunk in rest[1:]]
    assert not any(chunk.lost for chunk in again)


def test_the_anchor_follows_so_that_little_is_read_again() -> None:
    log = [Message(START + n * SECOND // 10, 1, b"x\n") for n in range(10_000)]
    cursor = read(log, None, None)[-1].cursor
    seconds = int(LogReader(cursor, 2 * START).since.split(".")[0])
    assert log[-1].time // SECOND - 30 < seconds < log[-1].time // SECOND - 8


def test_long_lines_end_where_the_piece_is_shorter() -> None:
    size = 16 * 1024
    log = [
        Message(START, 1, b"a" * size),
        Message(START, 2, b"between\n"),
        Message(START, 1, b"b" * 10),
        Message(START + 1, 1, b"next\n"),
    ]
    chunks = read(log, None, None)
    assert [(chunk.text[:1], chunk.partial) for chunk in chunks] == [
        ("a", True), ("b", False), ("b", False), ("n", False),
    ]  # fmt: skip


def test_letters_cut_in_two_are_put_together() -> None:
    whole = "\u00e9" * 9_000
    data = b"x" + whole.encode()
    log = [Message(START, 1, data[:16384]), Message(START, 1, data[16384:])]
    assert "".join(chunk.text for chunk in read(log, None, None)) == "x" + whole
    first, second = read(log, None, None)
    assert read(log, first.cursor, None)[0].text == second.text
    bad = Message(START, 1, b"\xff\x00 \xc3\n")
    assert read([bad], None, None)[0].text == "\ufffd\ufffd \ufffd"


@pytest.mark.parametrize("value", ["", "1", "1.2.3", "a.b.c.d.e.f", "1.2.3.4.5.-6"])
def test_a_cursor_of_somebody_else_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        LogReader(LogCursor(value), 0)
