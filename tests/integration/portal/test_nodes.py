"""Reactors: what is shown of them, and their emergency stop without the hub's help."""

import httpx
from ulid import ULID

from broker.messages import EventRecord, History, List, utc_now
from tests.support.brokers import Connector
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import Portal, eventually, shows

HTML = {"Accept": "text/html"}


def latched(node: FakeNode) -> bool:
    return node.estop is not None


async def test_reactors_are_listed_with_their_last_readings(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    await node.report(3)
    await node.measure(od=0.25, ph=None)
    body = await eventually(
        lambda: client.get("/api/nodes/reactor-1"),
        lambda answer: answer.status_code == 200 and bool(answer.json()["readings"]),
    )
    shown = body.json()
    assert shown["readings"] == {"od": 0.25, "ph": None}
    assert shown["online"] is True
    assert shown["report"]["seen_revision"] == 3
    assert shown["channels"]["channels"][0]["name"] == "od"
    listed = (await client.get("/api/nodes")).json()
    assert [one["id"] for one in listed["nodes"]] == ["reactor-1"]
    history = await client.get("/api/nodes/reactor-1/history?channel=od&points=10")
    assert history.json()["traces"]["od"]
    assert (await client.get("/api/nodes/reactor-9")).status_code == 404
    assert (await client.get("/api/nodes/reactor-9/history")).status_code == 404
    for path in ("/nodes", "/nodes/reactor-1", "/"):
        page = await client.get(path, headers=HTML)
        assert page.status_code == 200
        assert shows(page, "Reactor 1")
        assert shows(page, "0.250")


async def test_emergency_stop_without_the_hub(
    client: httpx.AsyncClient, node: FakeNode, hub: FakeHub
) -> None:
    await node.report(1)
    await eventually(lambda: client.get("/api/nodes"), lambda a: bool(a.json()["nodes"]))
    await hub.say("offline")
    answer = await client.post("/api/nodes/reactor-1/estop", json={"reason": "foam"})
    assert answer.status_code == 200, answer.text
    assert "is stopped" in answer.json()["message"]
    assert node.estop is not None
    assert "foam" in node.estop.reason
    wrong = await client.post("/api/nodes/reactor-1/estop-release", json={"latch": str(ULID())})
    assert wrong.status_code == 409
    assert node.estop is not None
    page = await client.get("/nodes/reactor-1", headers=HTML)
    assert node.estop.latch in page.text
    right = await client.post(
        "/api/nodes/reactor-1/estop-release",
        json={"latch": node.estop.latch, "reason": "the foam is gone"},
    )
    assert node.released_because.endswith(": the foam is gone")
    assert right.status_code == 200, right.text
    assert not latched(node)
    nothing = await client.post("/api/nodes/reactor-1/estop-release")
    assert nothing.status_code == 409
    assert (await client.post("/api/nodes/nobody/estop")).status_code == 404


async def test_the_forms_do_the_same(portal: Portal, node: FakeNode) -> None:
    await node.report(1)
    headers = {**HTML, "Origin": portal.url}
    async with portal.client(headers=headers) as browser:
        await eventually(lambda: browser.get("/nodes/reactor-1"), lambda a: a.status_code == 200)
        answer = await browser.post("/nodes/reactor-1/estop", data={"reason": "smoke"})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/nodes/reactor-1"
        assert node.estop is not None
        page = await browser.get("/nodes/reactor-1")
        assert shows(page, "is stopped")
        fields = {"latch": node.estop.latch}
        answer = await browser.post("/nodes/reactor-1/estop-release", data=fields)
        assert answer.status_code == 303
        assert not latched(node)
        assert (await browser.post("/nodes/reactor-1/dance")).status_code == 404


async def test_all_reactors_stop_at_once_without_the_hub(
    client: httpx.AsyncClient, node: FakeNode, hub: FakeHub, connect: Connector
) -> None:
    second = FakeNode(await connect("reactor-2"), "reactor-2")
    await second.announce()
    for one in (node, second):
        await one.report(1)
    await eventually(lambda: client.get("/api/nodes"), lambda a: len(a.json()["nodes"]) > 1)
    await hub.say("offline")
    answer = await client.post("/api/nodes/estop", json={"reason": "fire"})
    assert answer.status_code == 200, answer.text
    assert "all 2 reactors are stopped" in answer.json()["message"]
    for one in (node, second):
        assert one.estop is not None
        assert "fire" in one.estop.reason


async def test_a_reactors_past(client: httpx.AsyncClient, node: FakeNode, hub: FakeHub) -> None:
    await node.report(1)
    latch = str(ULID())
    hub.events = (
        EventRecord(
            t=utc_now(), event="estop", data={"latch": latch, "by": "ada", "reason": "foam"}
        ),
    )
    ran = (await client.post("/api/experiments/start", json={"script_content": "print(1)"})).json()
    page = await eventually(
        lambda: client.get("/nodes/reactor-1", headers=HTML), lambda a: a.status_code == 200
    )
    assert shows(page, "Emergency stop by ada: foam.")
    assert shows(page, ran["experiment_id"])
    alarms = (await client.get("/api/nodes/reactor-1/alarms?days=3")).json()["alarms"]
    assert [a["message"] for a in alarms] == ["emergency stop by ada: foam"]
    asked = [a.request for a in hub.asked if isinstance(a.request, History)][-1]
    assert asked.node == "reactor-1"
    assert asked.events is not None
    assert "alarm-cleared" in asked.events
    listed = [a.request for a in hub.asked if isinstance(a.request, List)][-1]
    assert (listed.node, listed.mine) == ("reactor-1", False)
    await hub.say("offline")
    page = await eventually(
        lambda: client.get("/nodes/reactor-1", headers=HTML),
        lambda a: shows(a, "The hub is offline"),
    )
    assert shows(page, "Not known now")
    assert (await client.get("/api/nodes/reactor-1/alarms")).status_code == 503


async def test_reduced_isolation_is_said_on_every_page(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    said = "Reduced isolation on"
    await node.report(3)
    await eventually(
        lambda: client.get("/api/nodes/reactor-1"), lambda answer: answer.status_code == 200
    )
    assert not shows(await client.get("/", headers=HTML), said)
    await node.report(4, isolation="bubblewrap", note="Reduced isolation: …")
    await eventually(lambda: client.get("/", headers=HTML), lambda page: shows(page, said))
    for path in ("/upload", "/my-experiments", "/queue", "/nodes", "/nodes/reactor-1"):
        assert shows(await client.get(path, headers=HTML), said), path


async def test_what_a_device_is_called_is_text_on_every_page(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    label = '"><script>alert(1)</script>\u202e'
    await node.announce(label=label, channel=label)
    await node.report(1, note=label)
    await node.measure(od=0.5)
    await eventually(
        lambda: client.get("/api/nodes/reactor-1"),
        lambda answer: answer.status_code == 200 and answer.json()["label"] == label,
    )
    for path in ("/", "/upload", "/queue", "/nodes", "/nodes/reactor-1"):
        page = (await client.get(path, headers=HTML)).text
        assert "<script>alert" not in page, path
    assert "&lt;script&gt;alert(1)" in (await client.get("/nodes/reactor-1", headers=HTML)).text
