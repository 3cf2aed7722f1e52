"""Outbox, feeds, subscriptions: what a viewer gets when it is slow, and when it is not."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from broker.messages import Console, ContractError, LogLine, ServiceStatus
from broker.topics import Topic, Topics
from portal.contract import EYES, RETAINED, check_filter, matches
from portal.feeds import ConsoleFeed, RetainedFeed, TelemetryFeed
from portal.known import Entry
from portal.outbox import (
    MAX_REPLIES,
    MAX_STREAM_FRAMES,
    Outbox,
    OverflowedError,
    StreamFrame,
)

NOW = datetime(2026, 2, 17, tzinfo=UTC)
ONE = str(ULID())


def entry(seq: int, topic: str = "nodes/a/status", *, cleared: bool = False) -> Entry:
    status = ServiceStatus(state="online", version="1", boot_id=ONE, since=NOW)
    payload = b"null" if cleared else status.encode()
    value = None if cleared else status
    return Entry(topic, Topic.NODE_STATUS, seq, NOW, payload, value)


def frames(outbox: Outbox) -> list[dict[str, object]]:
    out = []
    while (text := outbox.take()) is not None:
        out.append(json.loads(text))
    return out


def test_the_newest_value_wins_and_waits_once() -> None:
    outbox = Outbox()
    outbox.retain(entry(1), first=True)
    outbox.retain(entry(2))
    outbox.retain(entry(3))
    outbox.retain(entry(4, "queue"))
    sent = frames(outbox)
    assert [(f["topic"], f["type"], f["seq"]) for f in sent] == [
        ("nodes/a/status", "snapshot", 3),
        ("queue", "change", 4),
    ]
    outbox.retain(entry(3))
    assert frames(outbox) == [], "what was sent is not sent again"
    outbox.retain(entry(5, cleared=True))
    assert frames(outbox)[0]["payload"] is None


def test_replies_go_first_and_are_bounded() -> None:
    outbox = Outbox()
    outbox.retain(entry(1))
    outbox.reply('{"type": "pong"}')
    assert [f["type"] for f in frames(outbox)] == ["pong", "change"]
    for _ in range(MAX_REPLIES):
        outbox.reply("{}")
    with pytest.raises(OverflowedError):
        outbox.reply("{}")


def test_a_slow_viewer_loses_the_oldest_and_is_told_how_many_lines() -> None:
    outbox = Outbox()
    for n in range(MAX_STREAM_FRAMES + 10):
        outbox.stream(StreamFrame("nodes/a/console", n, json.dumps({"seq": n}), 3, ONE))
    sent = frames(outbox)
    assert sent[0]["dropped"] == 30
    assert sent[0]["lines"] == []
    assert sent[0]["experiment_id"] == ONE
    assert [f["seq"] for f in sent[1:]] == list(range(10, MAX_STREAM_FRAMES + 10))


def test_giant_frames_are_bounded_by_size() -> None:
    outbox = Outbox()
    for n in range(20):
        outbox.stream(StreamFrame("nodes/a/telemetry", n, '"' + "x" * 500_000 + '"'))
    count = 0
    while outbox.take() is not None:
        count += 1
    assert count == 4


def test_unsubscribing_forgets_what_waits() -> None:
    outbox = Outbox()
    outbox.retain(entry(1))
    outbox.forget("nodes/a/status")
    assert frames(outbox) == []


async def test_a_feed_sends_at_once_and_then_gathers() -> None:
    sent: list[int] = []
    feed = RetainedFeed(0.05, lambda e: sent.append(e.seq))
    for n in range(1, 6):
        feed.put(entry(n))
    assert sent == [1]
    await _until(lambda: len(sent) == 2)
    assert sent == [1, 5]
    feed.put(entry(6))
    feed.close()
    await asyncio.sleep(0.1)
    assert sent == [1, 5]


async def test_telemetry_keeps_every_reading_up_to_a_bound() -> None:
    sent: list[StreamFrame] = []
    feed = TelemetryFeed("nodes/a/telemetry", 0.05, sent.append)
    for n in range(500):
        feed.put(n, b'{"values": {"od": %d}}' % n)
    await _until(lambda: len(sent) == 2)
    last = json.loads(sent[1].text)
    assert len(last["payloads"]) == 200
    assert last["payloads"][-1]["values"]["od"] == 499
    feed.close()


async def test_lines_of_two_experiments_never_share_a_frame() -> None:
    sent: list[StreamFrame] = []
    feed = ConsoleFeed("nodes/a/console", 0.05, sent.append)
    other = str(ULID())
    line = LogLine(n=1, t=NOW, source="stdout", text="\x1b[31mred\u202e")
    for experiment in (ONE, ONE, other):
        feed.put(1, Console(experiment_id=experiment, lines=(line,)))
    await _until(lambda: len(sent) == 3)
    assert [frame.experiment_id for frame in sent] == [ONE, ONE, other]
    assert json.loads(sent[0].text)["lines"][0]["text"] == "\x1b[31mred\u202e"
    feed.close()


async def _until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not met():  # noqa: ASYNC110 - timers are watched from outside
            await asyncio.sleep(0.005)


TOPICS = Topics("bioreactor/lab-7")
LEVELS = st.sampled_from(
    ["hub", "nodes", "status", "queue", "+", "#", "a", "report", "A", "", ".."]
)


@given(st.lists(LEVELS, max_size=5).map("/".join) | st.text(max_size=60))
def test_a_filter_is_refused_or_matches_only_what_eyes_may_read(text: str) -> None:
    try:
        assert check_filter(TOPICS, text) == text
    except ContractError:
        return
    concrete = text.replace("+", "x1")
    address = TOPICS.parse(f"bioreactor/lab-7/{concrete}")
    assert address is not None
    assert address.topic in EYES
    assert matches(text, concrete)


def test_what_eyes_may_read() -> None:
    assert set(RETAINED) - {Topic.HUB_TOKENS} < EYES
    assert Topic.HUB_TOKENS not in EYES
    for topic in (Topic.NODE_ASSIGNMENT, Topic.REPLY, Topic.ERRORS, Topic.NODE_JOURNAL):
        assert topic not in EYES
    for good in ("queue", "hub/status", "nodes/+/report", f"experiments/{ONE}", "experiments/+"):
        assert check_filter(TOPICS, good) == good
