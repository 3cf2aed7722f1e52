"""The portal: page times, live latency beside the raw broker hop, two hundred viewers."""

import asyncio
import base64
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
from playwright.async_api import Browser
from websockets.asyncio.client import connect

from bench._browser import chromium, painted, weight
from bench._laboratory import CHANNELS, ROLES, connections, fill, reading
from bench._portal import running_portal
from broker.connection import Connection, Message
from broker.embedded import EmbeddedBroker
from broker.messages import Experiment
from broker.topics import Topic
from tests.support.fake_hub import FakeHub

HTML = {"Accept": "text/html", "X-Session-ID": "a session of the bench"}
PAGES = ("/", "/upload", "/my-experiments", "/queue", "/nodes", "/nodes/reactor-1")
VIEWERS = 200
READINGS = 60
FRAME = 1000 / 60
SECONDS = 10.0

Row = tuple[str, float, str, float, str]


def rows() -> list[Row]:
    """Measure; a row is name, figure, unit, reference, name of the reference."""
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = await stack.enter_async_context(EmbeddedBroker(folder / "broker", roles=ROLES))
        links = await connections(stack, broker)
        hub = FakeHub(links["hub"])
        serving = asyncio.create_task(hub.serve())
        stack.callback(serving.cancel)
        running = await fill(hub, links)
        port, process = await stack.enter_async_context(running_portal(broker, folder))
        browser = await stack.enter_async_context(chromium())
        out = await _pages(port, running[0])
        out.append(await _weights(browser, port, running[0]))
        node = links["reactor-1"]
        out += [row async for row in _latency(browser, node, links["alice"], port)]
        out += await _crowd(node, port, process.pid)
        return out


async def _pages(port: int, running: Experiment) -> list[Row]:
    pages = (*PAGES, f"/experiment/{running.experiment_id}")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=HTML) as client:
        return [
            (f"page {_short(path)}, p50", await _p50(client, path), "ms", 10.0, "budget")
            for path in pages
        ]


async def _weights(browser: Browser, port: int, running: Experiment) -> Row:
    pages = (*PAGES, f"/experiment/{running.experiment_id}")
    weights = {path: await weight(browser, f"http://127.0.0.1:{port}{path}") for path in pages}
    most = max(weights, key=weights.__getitem__)
    return f"largest page, {_short(most)}", weights[most] / 1e3, "kB", 250.0, "budget"


def _short(path: str) -> str:
    return "/experiment/…" if path.startswith("/experiment/") else path


async def _p50(client: httpx.AsyncClient, path: str) -> float:
    times = []
    for _ in range(100):
        began = time.perf_counter()
        answer = await client.get(path)
        times.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
    return statistics.median(times) * 1e3


async def _latency(
    browser: Browser, node: Connection, eyes: Connection, port: int
) -> AsyncIterator[Row]:
    """Compare publish → WebSocket, and publish → painted, with publish → MQTT subscriber."""
    topic = node.topics.build(Topic.NODE_TELEMETRY, node="reactor-1")
    arrived = asyncio.Event()
    hop: list[float] = []
    live: list[float] = []
    sent = 0.0

    async def hear(_: Message) -> None:
        hop.append(time.perf_counter() - sent)
        arrived.set()

    stop = eyes.subscribe(topic, hear, qos=0)
    async with connect(f"ws://127.0.0.1:{port}/ws", compression=None) as viewer:
        await viewer.send(json.dumps({"subscribe": ["nodes/+/telemetry"], "ping": 1}))
        while json.loads(await viewer.recv())["type"] != "pong":
            pass
        for n in range(100):
            arrived.clear()
            sent = time.perf_counter()
            await node.publish(topic, reading(n), qos=0)
            while json.loads(await viewer.recv())["type"] != "telemetry":
                pass
            live.append(time.perf_counter() - sent)
            await arrived.wait()
            await asyncio.sleep(0.12)
    stop()
    raw = statistics.median(hop) * 1e3
    yield "reading → WebSocket, p50", statistics.median(live) * 1e3, "ms", raw, "MQTT hop"

    async def send(value: float) -> None:
        await node.publish(topic, reading(value), qos=0)

    for path in ("/nodes/reactor-1", "/"):
        page = await browser.new_page()
        await page.goto(f"http://127.0.0.1:{port}{path}", wait_until="networkidle")
        seen = await painted(page, "[data-value='reactor-1/c0']", send, READINGS)
        await page.close()
        assert len(seen) > READINGS * 0.9, f"{len(seen)} of {READINGS} readings were painted"
        yield (
            f"reading → painted in Chromium, {path}, p50",
            statistics.median(seen) * 1e3,
            "ms",
            raw + 10.0 + FRAME,
            "MQTT hop + 10 ms + a frame",
        )


async def _crowd(node: Connection, port: int, pid: int) -> list[Row]:
    """Watch with many viewers, one of them stalled; count what the others get."""
    crowd = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.portal", "crowd", str(port), stdout=asyncio.subprocess.PIPE
    )
    assert crowd.stdout is not None
    await crowd.stdout.readline()
    topic = node.topics.build(Topic.NODE_TELEMETRY, node="reactor-1")
    sent = 0
    before = _resident_bytes(pid)
    cpu, began = _cpu_seconds(pid), time.perf_counter()
    while (elapsed := time.perf_counter() - began) < SECONDS:
        await node.publish(topic, reading(sent), qos=0)
        sent += 1
        await asyncio.sleep(0.1 - (time.perf_counter() - began - elapsed))
    used = (_cpu_seconds(pid) - cpu) / (time.perf_counter() - began)
    out, _ = await crowd.communicate()
    least = float(out.decode().split()[-1])
    after = _resident_bytes(pid)
    what = f"{VIEWERS} viewers x {CHANNELS} channels x 10 Hz"
    return [
        (f"{what}: core used", used * 100, "%", 100.0, "one core"),
        (f"{what}: readings at the slowest", least, "", float(sent), "sent"),
        (f"{what}: resident", after / 2**20, "MiB", before / 2**20, "before"),
        ("portal resident", after / 2**20, "MiB", 80.0, "budget"),
    ]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class _Watcher(asyncio.Protocol):
    """A viewer that costs little: counts readings by a word that each has once."""

    def __init__(self, ready: Callable[[], None], *, stalled: bool) -> None:
        self.readings = 0
        self._ready, self._stalled = ready, stalled
        self._accepted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self.readings += data.count(b'"values"')
        if self._accepted or b"101 Switching" not in data:
            return
        self._accepted = True
        message = b'{"subscribe":["nodes/+/telemetry"]}'
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(message))
        self._transport.write(bytes((0x81, 0x80 | len(message))) + mask + masked)
        if self._stalled:
            self._transport.pause_reading()
        self._ready()


def _itself(watcher: _Watcher) -> _Watcher:
    return watcher


async def _watch(port: int) -> None:
    loop = asyncio.get_running_loop()
    joined = 0
    everybody = asyncio.Event()

    def ready() -> None:
        nonlocal joined
        joined += 1
        if joined == VIEWERS:
            everybody.set()

    watchers = []
    for n in range(VIEWERS):
        stalled = n == 0
        raw = socket.create_connection(("127.0.0.1", port))
        if stalled:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        made = _Watcher(ready, stalled=stalled)
        await loop.create_connection(partial(_itself, made), sock=raw)
        watchers.append(made)
    await everybody.wait()
    await asyncio.sleep(1.0)
    print("ready", flush=True)
    await asyncio.sleep(SECONDS + 1.0)
    print(min(watcher.readings for watcher in watchers[1:]))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["crowd", port]:
            asyncio.run(_watch(int(port)))
        case _:
            for name, figure, unit, reference, what in rows():
                ratio = figure / reference
                print(f"{name:50} {figure:8.2f} {unit:4} {reference:8.2f} {what}  x {ratio:.2f}")
