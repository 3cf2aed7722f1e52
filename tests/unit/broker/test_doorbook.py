"""What the door remembers over a death."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from broker.connection import Message
from broker.doorbook import MAX_NOTED, MAX_TRIES, Doorbook

AGAIN = Message("hub/request/alice/submit", b"{}", repeated=True)
PAUSE = "hub/admin/ada/pause-queue"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def test_a_request_that_ends_every_life_is_not_tried_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    for _ in range(MAX_TRIES):
        assert await Doorbook(path).begin(AGAIN)  # and the process ended
    book = Doorbook(path)
    assert not await book.begin(AGAIN)
    other = Message(AGAIN.topic, b'{"id": "other"}', repeated=True)
    assert await book.begin(other)


async def test_one_that_was_survived_is_forgotten(tmp_path: Path) -> None:
    book = Doorbook(tmp_path / "book.json")
    for _ in range(2 * MAX_TRIES):
        assert await book.begin(AGAIN)
        book.end(AGAIN)


async def test_what_comes_for_the_first_time_costs_no_write(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    book = Doorbook(path)
    assert await book.begin(Message(AGAIN.topic, b"{}"))
    assert not path.exists()


async def test_an_expected_echo_is_ignored_once_also_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    await Doorbook(path).expect_echo(PAUSE)
    book = Doorbook(path)
    assert not book.is_echo(Message(PAUSE, b"{}"))
    assert not book.is_echo(Message("hub/admin/ada/resume-queue", b""))
    assert book.is_echo(Message(PAUSE, b""))
    assert not book.is_echo(Message(PAUSE, b""))


async def test_an_echo_that_never_came_swallows_nothing_later() -> None:
    now = [NOW]
    book = Doorbook(clock=lambda: now[0])
    await book.expect_echo(PAUSE)
    now[0] += timedelta(minutes=2)
    assert not book.is_echo(Message(PAUSE, b""))


async def test_a_damaged_book_is_begun_anew_and_a_full_one_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    for content in ("", "[]", '{"tries": 7}', '{"tries": {"a": "b"}}', "\x00"):
        path.write_text(content)
        assert await Doorbook(path).begin(AGAIN)
    book = Doorbook()
    for number in range(MAX_NOTED + 10):
        await book.begin(Message("t", str(number).encode(), repeated=True))
    assert len(book._tries) == MAX_NOTED
