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
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
from ulid import ULID
from websockets.asyncio.client import connect

from bench._portal import running_portal
from broker.access import Principal
from broker.connection import Connection, Message
from broker.embedded import EmbeddedBroker
from broker.messages import ChannelInfo, Channels, Quantity, ServiceStatus, Telemetry, utc_now
from broker.topics import Topic
from tests.support.fake_hub import FakeHub

ROLES = (
    Principal("hub", "hub"),
    Principal("portal", "portal"),
    Principal("reactor-1", "node"),
    Principal("alice", "script"),
)
HTML = {"Accept": "text/html", "X-Session-ID": "a session of the bench"}
PAGES = ("/", "/queue", "/nodes/reactor-1", "/my-experiments")
VIEWERS = 200
CHANNELS = 50
SECONDS = 10.0

Row = tuple[str, float, str, float, str]


def rows() -> list[Row]:
    """Measure; a row is name, figure, unit, reference, name of the reference."""
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = await stack.enter_async_context(EmbeddedBroker(folder / "broker", roles=ROLES))
        links = {
            role.name: Connection(broker.settings_for(role.name), client_id=f"bench-{role.name}")
            for role in ROLES
            if role.name != "portal"
        }
        for link in links.values():
            await stack.enter_async_context(link)
            await link.wait_connected(10)
        hub = FakeHub(links["hub"])
        serving = asyncio.create_task(hub.serve())
        stack.callback(serving.cancel)
        node = links["reactor-1"]
        await _announce(node)
        port, process = await stack.enter_async_context(running_portal(broker, folder))
        out = await _pages(port)
        out.append(await _latency(node, links["alice"], port))
        out += await _crowd(node, port, process.pid)
        return out


async def _announce(node: Connection) -> None:
    channels = tuple(
        ChannelInfo(
            name=f"c{n}",
            kind="sensor",
            quantity=Quantity.OTHER,
            unit="1",
            label=f"Channel {n}",
            driver="bench",
            period=0.1,
        )
        for n in range(CHANNELS)
    )
    said = Channels(node="reactor-1", label="Reactor 1", channels=channels)
    topic = node.topics.build(Topic.NODE_CHANNELS, node="reactor-1")
    await node.publish(topic, said.encode(), retain=True)
    status = ServiceStatus(state="online", version="b", boot_id=str(ULID()), since=utc_now())
    topic = node.topics.build(Topic.NODE_STATUS, node="reactor-1")
    await node.publish(topic, status.encode(), retain=True)


async def _pages(port: int) -> list[Row]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=HTML) as client:
        for n in range(5):
            body = {"script_content": "print(1)", "name": f"Experiment {n}"}
            await client.post("/api/experiments/start", json=body)
        return [
            (f"page {path}, p50", await _p50(client, path), "ms", 10.0, "budget") for path in PAGES
        ]


async def _p50(client: httpx.AsyncClient, path: str) -> float:
    times = []
    for _ in range(100):
        began = time.perf_counter()
        answer = await client.get(path)
        times.append(time.perf_counter() - began)
        assert answer.status_code == 200
    return statistics.median(times) * 1e3


def _reading() -> bytes:
    values = {f"c{n}": n * 1.234567 for n in range(CHANNELS)}
    return Telemetry(t=utc_now(), values=values).encode()


async def _latency(node: Connection, eyes: Connection, port: int) -> Row:
    """Compare publish → WebSocket with publish → MQTT subscriber, for the same readings."""
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
        for _ in range(100):
            arrived.clear()
            sent = time.perf_counter()
            await node.publish(topic, _reading(), qos=0)
            while json.loads(await viewer.recv())["type"] != "telemetry":
                pass
            live.append(time.perf_counter() - sent)
            await arrived.wait()
            await asyncio.sleep(0.12)
    stop()
    name = "reading → WebSocket, p50"
    return name, statistics.median(live) * 1e3, "ms", statistics.median(hop) * 1e3, "MQTT hop"


async def _crowd(node: Connection, port: int, pid: int) -> list[Row]:
    """Watch with many viewers, one of them stalled; count what the others get."""
    crowd = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.portal", "crowd", str(port), stdout=asyncio.subprocess.PIPE
    )
    assert crowd.stdout is not None
    await crowd.stdout.readline()
    topic = node.topics.build(Topic.NODE_TELEMETRY, node="reactor-1")
    sent = 0
    cpu, began = _cpu_seconds(pid), time.perf_counter()
    while (elapsed := time.perf_counter() - began) < SECONDS:
        await node.publish(topic, _reading(), qos=0)
        sent += 1
        await asyncio.sleep(0.1 - (time.perf_counter() - began - elapsed))
    used = (_cpu_seconds(pid) - cpu) / (time.perf_counter() - began)
    out, _ = await crowd.communicate()
    least = float(out.decode().split()[-1])
    resident = _resident_bytes(pid)
    what = f"{VIEWERS} viewers x {CHANNELS} channels x 10 Hz"
    return [
        (f"{what}: core used", used * 100, "%", 100.0, "one core"),
        (f"{what}: readings at the slowest", least, "", float(sent), "sent"),
        ("portal resident", resident / 2**20, "MiB", 80.0, "budget"),
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
