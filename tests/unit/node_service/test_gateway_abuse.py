"""A script that abuses its connections: half requests, floods, headers and bodies without end.

Nothing of it may reach the sampler's schedule; what is refused is told like any other error.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hardware.clock import RealClock
from node_service.gateway_protocol import MAX_CONNECTIONS
from node_service.sampler import Sampler
from tests.support.turns import turns
from tests.support.waiting import eventually
from tests.unit.node_service.conftest import Gate, Shown

SAMPLE_SECONDS = 0.1
ABUSE = """
import itertools, socket, sys, threading, time
end = time.monotonic() + 2
def connect():
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(0.5)
    line.connect(sys.argv[1])
    return line
def pieces(first, rest):
    yield first
    while True:
        yield rest
def abuse(make, pause):
    while time.monotonic() < end:
        try:
            with connect() as line:
                for piece in make():
                    line.sendall(piece)
                    if pause: time.sleep(pause)
                    if time.monotonic() > end: return
                line.recv(65536)
        except OSError:
            done[0] += 1
def connections():
    held = []
    while time.monotonic() < end:
        try:
            held.append(connect())
        except OSError:
            held.clear()
        if len(held) > 900: held.clear()
done = [0]
KINDS = {
    "slow loris": (lambda: pieces(b"GET /v1/clock HTTP/1.1\\r\\nx: ", b"a"), 0.05),
    "half requests": (lambda: [b"POST /v1/record HTTP/1.1\\r\\ncontent-length: 999\\r\\n\\r\\n{"], 0),
    "huge headers": (lambda: pieces(b"GET / HTTP/1.1\\r\\n", b"h: " + b"x" * 4096 + b"\\r\\n"), 0),
    "endless body": (lambda: pieces(
        b"POST /v1/log HTTP/1.1\\r\\nhost: r\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n",
        b"4000\\r\\n" + b"x" * 0x4000 + b"\\r\\n"), 0),
    "endless file": (lambda: pieces(
        b"PUT /v1/results/big HTTP/1.1\\r\\nhost: r\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n",
        b"4000\\r\\n" + b"x" * 0x4000 + b"\\r\\n"), 0),
    "tiny chunks": (lambda: pieces(
        b"PUT /v1/results/tiny HTTP/1.1\\r\\nhost: r\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n",
        b"1\\r\\nx\\r\\n" * 40_000), 0),
    "many headers": (lambda: pieces(
        b"", b"GET /v1/clock HTTP/1.1\\r\\nhost: r\\r\\n" + b"a:b\\r\\n" * 3000 + b"\\r\\n"), 0),
    "no http": (lambda: [b"\\0\\xff" * 500 + b"\\r\\n\\r\\n"], 0),
    "nobody reads": (lambda: pieces(b"", b"GET /v1/channels HTTP/1.1\\r\\nhost: r\\r\\n\\r\\n"), 0),
}
threads = [threading.Thread(target=abuse, args=KINDS[kind]) for kind in sys.argv[2:] if kind in KINDS]
threads += [threading.Thread(target=connections)] * (1 if "connections" in sys.argv[2:] else 0)
for thread in threads: thread.start()
for thread in threads: thread.join()
"""  # noqa: E501


@asynccontextmanager
async def sampled(gate: Gate) -> AsyncIterator[list[object]]:
    """Sample the reactor while the block runs; give the samples."""
    samples: list[object] = []
    sampler = Sampler(
        gate.reactor, RealClock(1.0), interval=SAMPLE_SECONDS, record=samples.append,
        live=Shown(), current=lambda: None,
    )  # fmt: skip
    sampling = asyncio.create_task(sampler.run())
    try:
        yield samples
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)


@pytest.mark.parametrize(
    "kinds",
    [
        ("slow loris", "half requests", "huge headers", "no http"),
        ("endless body", "endless file", "nobody reads"),
        ("connections",),
        ("tiny chunks",),
        ("many headers",),
    ],
    ids=["requests", "bodies", "connections", "tiny chunks", "many headers"],
)
async def test_no_abuse_reaches_the_sampling_schedule(gate: Gate, kinds: tuple[str, ...]) -> None:
    async with sampled(gate) as samples:
        abuser = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ABUSE, str(gate.socket), *(kind for kind in kinds for _ in "123")
        )
        async with turns() as taken:
            assert await abuser.wait() == 0
        before = len(samples)
        await eventually(lambda: len(samples) > before)
    assert before > 1, "nothing was sampled meanwhile"
    assert max(taken) < SAMPLE_SECONDS / 2
    assert (await gate.get("/clock"))["speed"] == 1.0


async def test_connections_are_bounded_and_the_next_is_told(gate: Gate) -> None:
    lines = [await asyncio.open_unix_connection(gate.socket) for _ in range(MAX_CONNECTIONS)]
    try:
        answer = await say(gate, b"GET /v1/clock HTTP/1.1\r\nhost: r\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert (error["code"], error["details"]) == ("UNAVAILABLE", {"limit": MAX_CONNECTIONS})
        assert error["hint"]
    finally:
        for _, writer in lines:
            writer.close()

    async def is_free_again() -> bool:
        request = b"GET /v1/clock HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n"
        return (await say(gate, request)).startswith(b"HTTP/1.1 200 ")

    await eventually(is_free_again)


@pytest.mark.parametrize(
    "request_",
    [
        b"hello\r\n\r\n",
        b"\x00\xff\r\n\r\n",
        b"GET /v1/clock HTTP/1.1\r\n" + b"x: " + b"y" * 40_000 + b"\r\n\r\n",
        b"POST /v1/log HTTP/1.1\r\nhost: r\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/log HTTP/1.1\r\nhost: r\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/clock HTTP/1.1\r\n\r\n",
    ],
    ids=["no http", "binary", "headers", "length", "chunks", "no host"],
)
async def test_what_is_no_http_is_told_as_malformed(gate: Gate, request_: bytes) -> None:
    answer = await say(gate, request_)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "MALFORMED"
    await gate.get("/clock")


async def test_of_a_call_that_is_cut_off_nothing_is_done(gate: Gate) -> None:
    """Although what came of it is a whole call."""
    body = json.dumps({"value": 200, "id": "1"}).encode()
    head = f"POST /v1/channels/stirring/set HTTP/1.1\r\nhost: r\r\ncontent-length: {len(body) + 9}"
    _, writer = await asyncio.open_unix_connection(gate.socket)
    writer.write(head.encode() + b"\r\n\r\n" + body)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    await gate.get("/clock")
    assert await gate.post("/channels/stirring/set", value=300, id="1") == {"value": 300}


async def say(gate: Gate, data: bytes) -> bytes:
    """Send bytes and return all that is answered until the gateway hangs up."""
    reader, writer = await asyncio.open_unix_connection(gate.socket)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
