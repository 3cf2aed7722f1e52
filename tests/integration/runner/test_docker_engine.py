"""What the log cursor relies on in the real engine."""

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime

import pytest

from node_service.runner.docker import Engine, NotFoundError, create_container
from tests.integration.runner.conftest import BASE_IMAGE

pytestmark = pytest.mark.engine
SCRIPT = "import sys\nfor n in range(500): print(n); print(n, file=sys.stderr)"


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine()
    yield engine
    await engine.close()


@pytest.fixture
async def container(engine: Engine) -> AsyncIterator[str]:
    options = {
        "Image": BASE_IMAGE,
        "Cmd": ["python3", "-u", "-c", SCRIPT],
        "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "local"}},
    }
    name = "bioreactor-test-of-the-engine"
    made = await engine.call(lambda api: create_container(api, options, name))
    await engine.call(lambda api: api.start(made))
    yield made
    await engine.call(lambda api: api.remove_container(made, force=True))


async def messages(engine: Engine, container: str, since: str) -> Sequence[tuple[int, bytes]]:
    """Return time and message of all that the engine gives."""
    wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", "follow": "1", "since": since}
    data = b""
    path = f"/containers/{container}/logs"
    async with aclosing(engine.stream("GET", path, wanted)) as blocks:
        async for block in blocks:
            data += block
    found = []
    while data:
        _, length = struct.unpack(">BxxxL", data[:8])
        message, data = data[8 : 8 + length], data[8 + length :]
        seconds, _, fraction = message.partition(b" ")[0].rstrip(b"Z").partition(b".")
        whole = int(datetime.fromisoformat(seconds.decode() + "+00:00").timestamp())
        found.append((whole * 10**9 + int(fraction), message))
    return found


async def test_an_anchor_gives_the_same_messages_every_time(engine: Engine, container: str) -> None:
    """All that are not older, in the order of the file, whatever swaps and is equal in it."""
    whole = await messages(engine, container, "0.000000000")
    assert len(whole) == 1000
    for time, _ in (whole[0], whole[333], whole[501], whole[-1]):
        since = f"{time // 10**9}.{time % 10**9:09}"
        given = await messages(engine, container, since)
        assert given == [item for item in whole if item[0] >= time]


async def test_what_is_not_there_is_said(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        await messages(engine, "0" * 64, "0.0")


async def test_closing_a_stream_frees_its_thread(engine: Engine) -> None:
    options = {
        "Image": BASE_IMAGE,
        "Cmd": ["sleep", "60"],
        "HostConfig": {"NetworkMode": "none", "Init": True},
    }
    made = await engine.call(lambda api: create_container(api, options, "bioreactor-test-streams"))
    try:
        await engine.call(lambda api: api.start(made))
        for _ in range(20):
            stream = engine.stream("POST", f"/containers/{made}/wait", {})
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await stream.aclose()
    finally:
        await engine.call(lambda api: api.remove_container(made, force=True))
