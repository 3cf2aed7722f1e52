"""How a service is, asked for at its socket."""

import asyncio
import socket
from pathlib import Path

from broker.health import SOCKET, Health, ask, serve, serve_if_free


async def test_whoever_asks_is_told_even_in_a_deep_directory(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    health = [Health(alive=True, ready=True, sentence="serving")]
    async with serve(deep, lambda: health[0]):
        assert await asyncio.to_thread(ask, deep) == health[0]
        health[0] = Health(alive=True, ready=False, sentence="the broker is away")
        assert await asyncio.to_thread(ask, deep) == health[0]
    assert not (deep / SOCKET).exists()
    gone = await asyncio.to_thread(ask, deep)
    assert not gone.alive
    assert "does not run" in gone.sentence


async def test_what_a_killed_service_left_is_no_sign_of_life(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(tmp_path / SOCKET))
    assert not (await asyncio.to_thread(ask, tmp_path)).alive
    async with serve(tmp_path, lambda: Health(alive=True, ready=True, sentence="serving")):
        assert (await asyncio.to_thread(ask, tmp_path)).ready


def test_a_loop_that_hangs_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hanging:
        hanging.bind(str(tmp_path / SOCKET))
        hanging.listen()
        health = ask(tmp_path, timeout=0.05)
    assert not health.alive
    assert "does not answer" in health.sentence


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert "does not run" in ask(tmp_path / "nowhere").sentence


async def test_who_starts_answers_only_where_nobody_else_does(tmp_path: Path) -> None:
    one, two = (Health(alive=True, ready=False, sentence=text) for text in ("one", "two"))
    async with serve_if_free(tmp_path, lambda: one):
        async with serve_if_free(tmp_path, lambda: two):
            assert await asyncio.to_thread(ask, tmp_path) == one
        assert await asyncio.to_thread(ask, tmp_path) == one
        async with serve(tmp_path, lambda: two):  # whose the directory is for certain
            assert await asyncio.to_thread(ask, tmp_path) == two
    assert not (tmp_path / SOCKET).exists()


async def test_who_ends_removes_no_others_socket(tmp_path: Path) -> None:
    one, two = (Health(alive=True, ready=True, sentence=text) for text in ("one", "two"))
    first, second = serve(tmp_path, lambda: one), serve(tmp_path, lambda: two)
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    assert await asyncio.to_thread(ask, tmp_path) == two
    await second.__aexit__(None, None, None)


async def test_a_start_goes_on_where_nothing_can_be_served(tmp_path: Path) -> None:
    async with serve_if_free(
        tmp_path / "nowhere", lambda: Health(alive=True, ready=True, sentence="")
    ):
        assert not (tmp_path / "nowhere").exists()
