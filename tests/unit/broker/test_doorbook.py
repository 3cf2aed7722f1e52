"""What the door remembers over a death."""

import json
from pathlib import Path

from broker.connection import Message
from broker.doorbook import MAX_ECHOES, MAX_NOTED, MAX_TRIES, Doorbook

AGAIN = Message("hub/request/alice/submit", b"{}", repeated=True)
PAUSE = "hub/admin/ada/pause-queue"


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
    assert not await book.is_echo(Message(PAUSE, b"{}"))
    assert not await book.is_echo(Message("hub/admin/ada/resume-queue", b""))
    assert await book.is_echo(Message(PAUSE, b""))
    assert not await book.is_echo(Message(PAUSE, b""))
    assert not await Doorbook(path).is_echo(Message(PAUSE, b""))


async def test_an_echo_whose_acknowledgement_was_lost_comes_again(tmp_path: Path) -> None:
    book = Doorbook(tmp_path / "book.json")
    await book.expect_echo(PAUSE)
    assert await book.is_echo(Message(PAUSE, b""))
    for again in (book, Doorbook(tmp_path / "book.json")):
        assert await again.is_echo(Message(PAUSE, b"", repeated=True))
        assert not await again.is_echo(Message(PAUSE, b""))


async def test_each_removal_has_its_echo(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    for _ in range(2):
        await Doorbook(path).expect_echo(PAUSE)
    for _ in range(2):
        assert await Doorbook(path).is_echo(Message(PAUSE, b""))
    assert not await Doorbook(path).is_echo(Message(PAUSE, b""))


async def test_what_was_expected_before_an_update_still_is(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    path.write_text(json.dumps({"echoes": [PAUSE], "tries": {}}))
    assert await Doorbook(path).is_echo(Message(PAUSE, b""))


async def test_what_is_expected_is_bounded() -> None:
    book = Doorbook()
    for number in range(MAX_NOTED + 10):
        await book.expect_echo(f"hub/admin/ada/{number}")
    assert len(book._echoes) == MAX_NOTED
    for _ in range(MAX_ECHOES + 10):
        await book.expect_echo(PAUSE)
    ignored = [await book.is_echo(Message(PAUSE, b"")) for _ in range(MAX_ECHOES + 1)]
    assert ignored == [True] * MAX_ECHOES + [False]


async def test_a_damaged_book_is_begun_anew_and_a_full_one_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    for content in (
        "",
        "[]",
        '{"echoes": 7}',
        '{"echoes": [7, {}]}',
        '{"tries": 7}',
        '{"tries": {"a": "b"}}',
        "\x00",
    ):
        path.write_text(content)
        assert await Doorbook(path).begin(AGAIN)
    book = Doorbook()
    for number in range(MAX_NOTED + 10):
        await book.begin(Message("t", str(number).encode(), repeated=True))
    assert len(book._tries) == MAX_NOTED
