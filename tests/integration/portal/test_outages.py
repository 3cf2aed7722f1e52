"""Broker or hub away: reads answer with their age, writes say no at once, everything recovers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from ulid import ULID
from websockets.asyncio.client import ClientConnection, connect

from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.settings import BrokerSettings
from tests.support.brokers import ROLES
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import SESSION, Portal, eventually, hub_on, portal_on, shows

START = "/api/experiments/start"
BODY = {"script_content": "print(1)"}
HTML = {"Accept": "text/html"}


async def test_without_a_hub_reads_go_on_and_writes_are_refused(
    client: httpx.AsyncClient, hub: FakeHub
) -> None:
    one = (await client.post(START, json=BODY)).json()["experiment_id"]
    await hub.say("offline")
    await eventually(lambda: client.get("/health/ready"), lambda answer: answer.status_code == 503)
    await eventually(
        lambda: client.get("/api/queue/status"),
        lambda answer: answer.json()["freshness"]["age_seconds"] > 2,
    )
    queue = (await client.get("/api/queue/status")).json()
    assert queue["total_queued"] == 1
    assert queue["freshness"]["hub"] == "offline"
    status = (await client.get(f"/api/experiments/{one}/status")).json()
    assert status["experiment"]["status"] == "queued"
    mine = (await client.get("/api/experiments/user")).json()
    assert [e["experiment_id"] for e in mine["experiments"]] == [one]
    for query, found in (("status=queued", [one]), ("status=failed", []), ("search=none", [])):
        some = (await client.get(f"/api/experiments/user?{query}")).json()
        assert [e["experiment_id"] for e in some["experiments"]] == found, query
    following = await client.get("/api/experiments/user?before=abc")
    assert following.status_code == 503, "no page twice"
    for path in ("/", "/my-experiments", "/queue", f"/experiment/{one}", "/upload", "/nodes"):
        page = await client.get(path, headers=HTML)
        assert page.status_code == 200, path
        assert shows(page, "The hub is offline")
    asked = len(hub.asked)
    refused = await client.post(START, json=BODY)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "UNAVAILABLE"
    assert refused.json()["error"]["hint"]
    came = {**HTML, "Referer": f"{client.base_url}/queue?all=true"}
    posted = await client.post(f"/experiment/{one}/pause", headers=came)
    assert posted.status_code == 503
    assert 'href="/queue?all=true">Back' in posted.text  # the address of a form cannot be reloaded
    assert "data-still" in posted.text
    assert 'http-equiv="refresh"' not in posted.text
    assert refused.headers["retry-after"]
    assert refused.elapsed.total_seconds() < 5  # it is not asked for 10 s
    for path in (f"/api/experiments/{one}/cancel", "/api/queue/pause"):
        assert (await client.post(path)).status_code == 503
    form = {"script": (None, "kept = 1\n"), "request_id": (None, "the-same-again")}
    form["param.target_od"] = (None, "0.7")
    kept = await client.post("/upload", files=form, headers=HTML)
    assert kept.status_code == 503
    for words in ("kept = 1", 'value="the-same-again"', 'name="param.target_od" value="0.7"'):
        assert words in kept.text
    assert shows(kept, "Your draft is kept")
    example = await client.get("/upload?example=growth", headers=HTML)
    assert example.status_code == 200
    assert shows(example, "Not checked: The hub does not answer")
    assert shows(example, "nothing can be uploaded until it is back")
    assert len(hub.asked) == asked
    await hub.say("online")
    await eventually(lambda: client.post(START, json=BODY), lambda a: a.status_code == 200)
    first, again = [await client.post("/upload", files=form, headers=HTML) for _ in range(2)]
    assert first.status_code == 303
    assert first.headers["location"] == again.headers["location"]


async def test_a_page_says_of_itself_that_something_is_missing(
    client: httpx.AsyncClient, hub: FakeHub, node: FakeNode
) -> None:
    """Nothing else would have it fetched again: a hub that is slow for once tells nobody."""
    await node.report(1)
    one = (await client.post(START, json=BODY)).json()["experiment_id"]
    paths = ("/", "/my-experiments", "/queue", f"/experiment/{one}", "/nodes/reactor-1")
    await eventually(lambda: client.get(paths[-1], headers=HTML), lambda a: a.status_code == 200)
    for busy in (True, False):
        hub.busy = busy
        for path in paths:
            page = await client.get(path, headers=HTML)
            assert page.status_code == 200, path
            assert (" data-partial" in page.text) is busy, path
    hub.busy = True
    lost = await client.get(f"/compare?ids={one}&ids={ULID()}", headers=HTML)
    assert lost.status_code == 504
    assert " data-partial" in lost.text
    await hub.say("offline")
    await eventually(lambda: client.get("/health/ready"), lambda answer: answer.status_code == 503)
    page = await client.get("/queue", headers=HTML)
    assert " data-partial" not in page.text, "that it is back is told"


@asynccontextmanager
async def system(data: Path) -> AsyncIterator[tuple[AsyncExitStack, Portal, FakeHub]]:
    """Run broker, hub and portal; the inner stack holds the broker alone and may be closed."""
    async with AsyncExitStack() as stack:
        inner = await stack.enter_async_context(AsyncExitStack())
        broker = EmbeddedBroker(data / "broker", roles=ROLES, kind="mosquitto")
        await inner.enter_async_context(broker)
        connections = {
            name: Connection(broker.settings_for(name), client_id=f"test-{name}")
            for name in ("hub", "portal")
        }
        for connection in connections.values():
            await stack.enter_async_context(connection)
            await connection.wait_connected(10)
        hub = await stack.enter_async_context(hub_on(connections["hub"]))
        portal = await stack.enter_async_context(portal_on(connections["portal"], data / "portal"))
        yield inner, portal, hub


async def test_without_a_broker(tmp_path: Path) -> None:
    async with (
        system(tmp_path) as (broker, portal, hub),
        portal.client(headers=SESSION) as client,
    ):
        await eventually(lambda: client.get("/health/ready"), lambda a: a.status_code == 200)
        one = (await client.post(START, json=BODY)).json()["experiment_id"]
        await broker.aclose()
        await eventually(lambda: client.get("/health"), lambda a: not a.json()["broker_connected"])
        await eventually(lambda: client.get("/health"), lambda a: a.json()["age_seconds"] > 2)
        status = (await client.get(f"/api/experiments/{one}/status")).json()
        assert status["freshness"]["broker_connected"] is False
        assert status["experiment"]["status"] == "queued"
        refused = await client.post(START, json=BODY)
        assert refused.status_code == 503
        assert "broker" in refused.json()["detail"]
        assert refused.elapsed.total_seconds() < 5  # it is not asked for 10 s
        for path in ("/", "/my-experiments", "/queue", f"/experiment/{one}", "/upload"):
            page = await client.get(path, headers=HTML)
            assert page.status_code == 200, path
            assert shows(page, "The message broker is not reachable")
        assert (await client.get("/health/live")).status_code == 200
        assert len(hub.asked) == 1


async def test_a_broker_that_comes_back(tmp_path: Path) -> None:
    async with (
        system(tmp_path) as (broker, portal, hub),
        portal.client(headers=SESSION) as client,
        connect(portal.ws) as viewer,
    ):
        await eventually(lambda: client.get("/health/ready"), lambda a: a.status_code == 200)
        await viewer.send('{"subscribe": ["queue"]}')
        await frame_of(viewer, "snapshot")
        port = int(hub.connection._settings.url.rsplit(":", 1)[1])
        await broker.aclose()
        assert (await frame_of(viewer, "link", broker=False))["hub"] == "unknown"
        again = EmbeddedBroker(tmp_path / "broker", roles=ROLES, kind="mosquitto", port=port)
        await broker.enter_async_context(again)
        await hub.connection.wait_connected(20)
        await hub.say("online")
        await frame_of(viewer, "link", broker=True, hub="online")
        assert (await client.post(START, json=BODY)).status_code == 200
        changed = await frame_of(viewer, "change", topic="queue")
        while changed["payload"]["total_queued"] == 0:
            changed = await frame_of(viewer, "change", topic="queue")


async def frame_of(viewer: ClientConnection, kind: str, **fields: object) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            frame: dict[str, Any] = json.loads(await viewer.recv())
            if frame["type"] == kind and fields.items() <= frame.items():
                return frame


async def test_a_portal_that_starts_alone(tmp_path: Path) -> None:
    """No broker, no hub: pages and health are served all the same, nothing waits."""
    broker = BrokerSettings(url=f"unix://{tmp_path}/nobody")
    async with (
        Connection(broker, client_id="alone") as connection,
        portal_on(connection, tmp_path / "portal") as portal,
        portal.client(headers=SESSION) as client,
    ):
        for path in ("/", "/upload", "/my-experiments", "/queue", "/nodes"):
            page = await client.get(path, headers=HTML)
            assert page.status_code == 200, path
        assert (await client.get("/api/queue/status")).status_code == 503
        assert (await client.get("/api/nodes")).json()["nodes"] == []
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503
