"""The WebSocket /ws, against a real broker and with real clients."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import websockets
from ulid import ULID
from websockets.asyncio.client import ClientConnection, connect

from broker.topics import Topic
from portal import websocket
from portal.live import MAX_WINDOWS
from portal.server import ViewerProtocol
from portal.sessions import COOKIE
from tests.support.brokers import Connector
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import OTHER_SESSION, SESSION, Portal, eventually, portal_on


class Viewer:
    """A client that waits for frames with a deadline."""

    def __init__(self, socket_: ClientConnection) -> None:
        self.socket = socket_

    async def say(self, **message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def next(self, kind: str, seconds: float = 5.0, **fields: object) -> dict[str, Any]:
        """Return the next frame of a type, passing over others."""
        async with asyncio.timeout(seconds):
            while True:
                frame: dict[str, Any] = json.loads(await self.socket.recv())
                if frame["type"] == kind and fields.items() <= frame.items():
                    return frame


@pytest.fixture
def connect_as(connect: Connector) -> Connector:
    """The broker's; a client of a WebSocket is called `connect` here."""
    return connect


@pytest.fixture
async def viewer(portal: Portal) -> Any:
    async with connect(portal.ws) as open_socket:
        yield Viewer(open_socket)


@pytest.mark.parametrize("broker_kind", ["mosquitto", "nats"])
async def test_snapshot_then_changes_in_order(viewer: Viewer, node: FakeNode) -> None:
    link = await viewer.next("link")
    assert (link["broker"], link["hub"]) == (True, "online")
    await node.report(1)
    await viewer.say(subscribe=["nodes/+/report", "queue"])
    first = await viewer.next("snapshot", topic="queue")
    assert first["payload"]["posture"] == "running"
    revisions: list[int] = []
    seqs: list[int] = []
    sending = asyncio.create_task(_reports(node, 2, 40))
    while not revisions or revisions[-1] < 40:
        async with asyncio.timeout(5):
            frame = json.loads(await viewer.socket.recv())
        if frame.get("topic") == "nodes/reactor-1/report":
            revisions.append(frame["payload"]["seen_revision"])
            seqs.append(frame["seq"])
    await sending
    assert revisions == sorted(set(revisions))
    assert seqs == sorted(set(seqs))


async def _reports(node: FakeNode, first: int, last: int) -> None:
    for revision in range(first, last + 1):
        await node.report(revision)


async def test_first_change_at_once_and_further_ones_gathered(
    viewer: Viewer, node: FakeNode
) -> None:
    await viewer.say(subscribe=["nodes/reactor-1/telemetry"], ping=1)
    await viewer.next("pong", n=1)
    for n in range(50):
        await node.measure(od=float(n), ph=None)
        await asyncio.sleep(0.01)
    seen: list[float] = []
    frames = 0
    while len(seen) < 50:
        frame = await viewer.next("telemetry")
        frames += 1
        assert frame["payloads"][0]["values"]["ph"] is None
        seen += [reading["values"]["od"] for reading in frame["payloads"]]
    assert seen == [float(n) for n in range(50)]
    assert frames <= 9, "half a second at ten frames a second, and one more at each end"


async def test_log_lines_and_what_was_dropped(viewer: Viewer, node: FakeNode) -> None:
    one = str(ULID())
    await viewer.say(subscribe=["nodes/reactor-1/console"], ping=1)
    await viewer.next("pong")
    await node.write(one, 1, 1)
    first = await viewer.next("console")
    assert first["experiment_id"] == one
    assert first["lines"][0]["text"] == "line 1"
    assert first["dropped"] == 0
    await node.write(one, 2, 600)
    await node.write(one, 602, 600)
    second = await viewer.next("console")
    assert second["dropped"] + len(second["lines"]) == 1200
    assert second["lines"][-1]["n"] == 1201


async def test_what_an_experiment_measures_is_its_owners_unless_all_is_open(
    connect_as: Connector, node: FakeNode, hub: FakeHub, tmp_path: Path
) -> None:
    hub.open = False
    html = {"Accept": "text/html"}
    async with (
        portal_on(
            await connect_as("portal"), tmp_path / "p", admin="login", admin_password="a password"
        ) as portal,
        portal.client(headers=SESSION) as owner,
        portal.client(headers=html) as other,
    ):
        answer = await owner.post("/api/experiments/start", json={"script_content": "1"})
        one = str(answer.json()["experiment_id"])
        await node.report(1)
        topics = ["nodes/+/telemetry", "nodes/+/console"]
        async with (
            connect(portal.ws, additional_headers=SESSION) as hers,
            connect(portal.ws, additional_headers=OTHER_SESSION) as theirs,
        ):
            mine, strange = Viewer(hers), Viewer(theirs)
            for viewer in (mine, strange):
                await viewer.say(subscribe=topics, ping=1)
                await viewer.next("pong")
            await node.measure(one, od=4321.0)
            await node.write(one, 1, 1, "a secret")
            assert (await mine.next("telemetry"))["payloads"][0]["values"]["od"] == 4321.0
            assert (await mine.next("console"))["lines"][0]["text"] == "a secret 1"
            for page in ("/", "/nodes", "/nodes/reactor-1"):
                whole = await owner.get(page, headers=html)
                assert "4321.0" in whole.text, page
                assert "4321.0" not in (await other.get(page)).text, page
            seen = (await other.get("/api/nodes/reactor-1")).json()
            assert (seen["concealed"], seen["readings"]) == (True, {})
            outline = (await other.get(f"/experiment/{one}")).text
            assert "others see what the queue says of it" in outline
            await node.measure(None, od=5.0)  # idle again
            frame = await strange.next("telemetry")
            assert [reading["values"]["od"] for reading in frame["payloads"]] == [5.0]
        assert (await other.get("/api/nodes/reactor-1")).json()["readings"] == {"od": 5.0}


async def test_nothing_of_an_experiment_is_shown_until_the_hub_has_said_to_whom(
    connect_as: Connector, node: FakeNode, tmp_path: Path
) -> None:
    async with (
        portal_on(
            await connect_as("portal"), tmp_path / "p", admin="login", admin_password="a password"
        ) as portal,
        portal.client(headers=SESSION) as somebody,
    ):
        await node.measure(None, od=5.0)
        path = "/api/nodes/reactor-1"
        await eventually(lambda: somebody.get(path), lambda a: a.json().get("readings") != {})
        await node.measure(str(ULID()), od=4321.0)
        seen = await eventually(
            lambda: somebody.get(path), lambda a: a.json()["readings"] != {"od": 5.0}
        )
        assert (seen.json()["concealed"], seen.json()["readings"]) == (True, {})


async def test_who_watches_by_a_token_stops_when_it_is_revoked(
    portal: Portal, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "LOOKED_EVERY", 0.05)
    async with portal.client(headers=SESSION) as person:
        made = (await person.post("/api/tokens", json={"name": "reader"})).json()
        bearer = {"Authorization": f"Bearer {made['token']}"}
        async with portal.client(headers=bearer) as script:
            await eventually(lambda: script.get("/api/nodes"), lambda a: a.status_code == 200)
        async with connect(portal.ws, additional_headers=bearer) as open_socket:
            viewer = Viewer(open_socket)
            await viewer.say(subscribe=["nodes/+/telemetry"], ping=1)
            await viewer.next("pong")
            assert (await person.delete(f"/api/tokens/{made['token_id']}")).status_code == 200
            with pytest.raises(websockets.ConnectionClosed):
                await viewer.next("telemetry")


async def test_who_watches_as_administrator_stops_with_the_login(
    connect_as: Connector, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "LOOKED_EVERY", 0.05)
    async with portal_on(
        await connect_as("portal"), tmp_path / "p", admin="login", admin_password="a password"
    ) as portal:
        page = {"Origin": portal.url, "Accept": "text/html"}
        async with portal.client(headers=page) as browser:
            await browser.post("/login", data={"password": "a password"})
            cookie = {"Cookie": f"{COOKIE}={browser.cookies[COOKIE]}", "Origin": portal.url}
            async with connect(portal.ws, additional_headers=cookie) as open_socket:
                viewer = Viewer(open_socket)
                await viewer.say(ping=1)
                await viewer.next("pong")
                assert (await browser.post("/logout")).status_code == 303
                with pytest.raises(websockets.ConnectionClosed):
                    await viewer.next("telemetry")


async def test_cleared_topics_and_unsubscribing(
    viewer: Viewer, node: FakeNode, hub: FakeHub, portal: Portal
) -> None:
    async with portal.client() as client:
        answer = await client.post("/api/experiments/start", json={"script_content": "1"})
    topic = f"experiments/{answer.json()['experiment_id']}"
    await viewer.say(subscribe=["experiments/+"])
    await viewer.next("snapshot", topic=topic)
    await hub.connection.publish(f"bioreactor/{topic}", b"", retain=True)
    gone = await viewer.next("change", topic=topic)
    assert gone["payload"] is None
    await viewer.say(unsubscribe=["experiments/+"], subscribe=["nodes/+/report"], ping=7)
    await viewer.next("pong", n=7)
    await hub.publish_queue()
    await node.report(5)
    async with asyncio.timeout(5):
        frame = json.loads(await viewer.socket.recv())
    assert frame["topic"] == "nodes/reactor-1/report"


async def test_only_what_eyes_may_read(viewer: Viewer) -> None:
    for topic, code in (
        ("nodes/+/assignment", "FORBIDDEN"),
        ("reply/portal/x", "FORBIDDEN"),
        ("nodes/reactor-1/journal/records", "FORBIDDEN"),
        ("nodes/+/estop/+", "FORBIDDEN"),
        ("hub/tokens", "FORBIDDEN"),
        ("hub/metrics", "FORBIDDEN"),
        ("hub/request/+/submit", "FORBIDDEN"),
        ("hub/admin/portal/cancel", "FORBIDDEN"),
        ("errors/portal", "FORBIDDEN"),
        ("notifications/failed", "FORBIDDEN"),
        ("portal/+/status", "FORBIDDEN"),
        ("#", "MALFORMED"),
        ("nodes/#", "MALFORMED"),
        ("nodes/Reactor 1/report", "MALFORMED"),
        ("../queue", "MALFORMED"),
        ("experiments/not-an-id", "MALFORMED"),
        ("x" * 50_000, "MALFORMED"),
    ):
        await viewer.say(subscribe=["queue", topic])
        frame = await viewer.next("error")
        assert frame["error"]["code"] == code, topic
        assert frame["error"]["hint"]


async def test_hostile_messages_are_answered_and_harm_nothing(viewer: Viewer) -> None:
    for text in ("", "nonsense", "[]", "null", '{"subscribe": "queue"}', '{"other": 1}', "{" * 500):
        await viewer.socket.send(text)
        assert (await viewer.next("error"))["error"]["code"] == "MALFORMED"
    await viewer.socket.send(b"\x00\xff")
    assert (await viewer.next("error"))["error"]["code"] == "MALFORMED"
    await viewer.say(subscribe=[f"nodes/n{n}/report" for n in range(100)])
    assert (await viewer.next("error"))["error"]["code"] == "TOO_LARGE"
    await viewer.say(ping=3)
    await viewer.next("pong", n=3)


async def test_floods_and_giants_are_cut_off(portal: Portal) -> None:
    flood, giant = ["{}"] * 1000, ["x" * 200 * 1024]
    for messages, code in ((flood, 1008), (giant, 1009)):
        async with connect(portal.ws) as open_socket:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await _send_all(open_socket, messages)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code


async def _send_all(open_socket: ClientConnection, messages: list[str]) -> None:
    for message in messages:
        await open_socket.send(message)
        await asyncio.sleep(0)
    while True:
        await open_socket.recv()


async def test_frames_of_200_kib_arrive_whole(viewer: Viewer, node: FakeNode) -> None:
    await viewer.say(subscribe=["nodes/+/report"])
    note = "ü" * 100 * 1024
    await node.report(1, note=note)
    frame = await viewer.next("change")
    assert frame["payload"]["isolation_note"] == note


async def test_other_pages_may_not_watch(portal: Portal) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connect(portal.ws, additional_headers=headers):
                pass
        assert refused.value.response.status_code == 403
        told = json.loads(refused.value.response.body or b"")
        assert told["error"]["code"] == "FORBIDDEN"
    for headers, status, code in (
        ({"X-Session-ID": "short"}, 400, "MALFORMED"),
        ({"X-Session-ID": "browser.abcdefgh"}, 400, "MALFORMED"),
        ({"Authorization": "Bearer bioreactor_forged"}, 401, "UNAUTHENTICATED"),
    ):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connect(portal.ws, additional_headers=headers):
                pass
        assert refused.value.response.status_code == status
        told = json.loads(refused.value.response.body or b"")
        assert told["error"]["code"] == code
        assert told["error"]["hint"]
    port = int(portal.url.rsplit(":", 1)[1])
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect("ws://evil.example/ws", host="127.0.0.1", port=port):
            pass
    assert refused.value.response.status_code == 421
    async with connect(portal.ws, origin=websockets.Origin(portal.url)):
        pass


async def test_one_session_cannot_take_all_places(portal: Portal) -> None:
    headers = {"X-Session-ID": "a secret of the tests"}
    async with AsyncExitStack() as stack:
        for _ in range(MAX_WINDOWS):
            await stack.enter_async_context(connect(portal.ws, additional_headers=headers))
        async with connect(portal.ws, additional_headers=headers) as one_more:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await one_more.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        async with connect(portal.ws) as another:
            assert json.loads(await another.recv())["type"] == "link"
    await eventually(_sockets(portal), lambda count: count == 0)
    async with connect(portal.ws, additional_headers=headers) as again:
        assert json.loads(await again.recv())["type"] == "link"


async def test_what_is_malformed_at_the_broker_is_not_shown(viewer: Viewer, node: FakeNode) -> None:
    await viewer.say(subscribe=["nodes/+/report", "nodes/+/telemetry"])
    for payload in (b"nonsense", b'{"node": "reactor-1"}', b'{"x": NaN}', b"\xff\xfe"):
        for kind in (Topic.NODE_REPORT, Topic.NODE_TELEMETRY):
            await node.connection.publish(node.topic(kind), payload)
    await node.report(9)
    frame = await viewer.next("change")
    assert frame["payload"]["seen_revision"] == 9


async def test_a_stalled_viewer_delays_nobody_and_is_dropped(
    portal: Portal, node: FakeNode
) -> None:
    url = portal.ws
    loop = asyncio.get_running_loop()
    host, port = "127.0.0.1", int(portal.url.rsplit(":", 1)[1])
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    async with AsyncExitStack() as stack:
        stack.callback(raw.close)
        await loop.sock_connect(raw, (host, port))
        stalled = await stack.enter_async_context(
            connect(url, sock=raw, max_queue=1, ping_interval=None, close_timeout=0.1)
        )
        await stalled.send('{"subscribe": ["nodes/+/report"]}')
        stalled.transport.pause_reading()
        healthy = Viewer(await stack.enter_async_context(connect(url)))
        await healthy.say(subscribe=["nodes/+/report"], ping=1)
        await healthy.next("pong")
        slowest = 0.0
        began = loop.time()
        revision = 0
        note = "x" * 200 * 1024
        while _figure(await _metrics(portal), "viewers_dropped_total") < 1:
            assert loop.time() - began < 60, "the stalled viewer was not dropped"
            revision += 1
            await node.report(revision, note=note)
            sent = loop.time()
            while (await healthy.next("change"))["payload"]["seen_revision"] < revision:
                pass
            slowest = max(slowest, loop.time() - sent)
        assert slowest < 1.0
        assert _figure(await _metrics(portal), "viewers") == 1
        await eventually(_sockets(portal), lambda count: count == 1)  # no socket lingers


def _sockets(portal: Portal) -> Callable[[], Awaitable[int]]:
    async def count() -> int:
        kept = portal.server.server_state.connections
        return sum(isinstance(connection, ViewerProtocol) for connection in kept)

    return count


async def _metrics(portal: Portal) -> str:
    async with portal.client() as client:
        return (await client.get("/metrics")).text


def _figure(text: str, name: str) -> float:
    for line in text.splitlines():
        if line.startswith(f"bioreactor_portal_{name} "):
            return float(line.split()[-1])
    raise AssertionError(f"no figure {name}")


async def test_hub_and_broker_away_are_told_and_come_back(
    viewer: Viewer, hub: FakeHub, portal: Portal
) -> None:
    await viewer.next("link", hub="online")
    await hub.say("offline")
    away = await viewer.next("link", hub="offline")
    assert away["since"]
    await hub.say("online")
    await viewer.next("link", hub="online")
