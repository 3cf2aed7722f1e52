"""Setting and dosing by hand: said to the node, and its answer to the person."""

import json
from pathlib import Path

import httpx
import websockets

from broker.messages import Command, Error, ErrorCode
from tests.support.brokers import Connector
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import OTHER_SESSION, SESSION, Portal, eventually, portal_on, shows

HTML = {"Accept": "text/html"}
STIRRING = "/api/nodes/reactor-1/command/stirring"


async def ready(client: httpx.AsyncClient, node: FakeNode) -> None:
    await node.report(1)
    await eventually(
        lambda: client.get("/api/nodes/reactor-1"),
        lambda a: a.status_code == 200 and a.json()["report"] and a.json()["channels"],
    )


async def test_an_administrator_sets_and_ends_without_the_hub(
    client: httpx.AsyncClient, node: FakeNode, hub: FakeHub
) -> None:
    await ready(client, node)
    await hub.say("offline")
    key = {"Idempotency-Key": "set-it-once-only"}
    answer = await client.post(STIRRING, json={"value": 400}, headers=key)
    assert answer.status_code == 200, answer.text
    assert answer.json()["message"] == "set"
    channel, order = node.orders[-1]
    assert isinstance(order, Command)
    assert (channel, order.value, order.id) == ("stirring", 400, "set-it-once-only")
    assert order.actor is not None
    assert order.actor.admin
    held = (await client.get("/api/nodes/reactor-1")).json()["report"]["manual"]
    assert held["by"] == order.actor.name
    page = await client.get("/nodes/reactor-1", headers=HTML)
    assert shows(page, "End and make safe")
    assert shows(page, order.actor.name)
    ended = await client.post("/api/nodes/reactor-1/manual-end")
    assert ended.status_code == 200, ended.text
    assert (await client.get("/api/nodes/reactor-1")).json()["report"]["manual"] is None


async def test_the_nodes_refusal_reaches_the_person(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    await ready(client, node)
    node.refusal = Error(code=ErrorCode.REACTOR_BUSY, message="bob holds it", hint="wait for bob")
    answer = await client.post(STIRRING, json={"value": 400})
    assert answer.status_code == 409
    assert answer.json()["error"] == {
        "code": "REACTOR_BUSY", "message": "bob holds it", "hint": "wait for bob", "details": {},
    }  # fmt: skip


async def test_what_cannot_be_is_refused_before_it_is_sent(
    client: httpx.AsyncClient, node: FakeNode
) -> None:
    await ready(client, node)
    for path, body, status in (
        ("/api/nodes/nobody/command/stirring", {"value": 1}, 404),
        ("/api/nodes/reactor-1/command/laser", {"value": 1}, 404),
        (STIRRING, {"value": "fast"}, 400),
        (STIRRING, {"dose_ml": -1}, 400),
    ):
        answer = await client.post(path, json=body)
        assert answer.status_code == status, (path, answer.text)
        assert answer.json()["error"]["hint"]
    assert node.orders == []


async def test_silence_is_told_as_such(client: httpx.AsyncClient, node: FakeNode) -> None:
    await ready(client, node)
    node.mute = True
    answer = await client.post(STIRRING, json={"value": 1})
    assert answer.status_code == 504
    assert "look at the reactor" in answer.json()["error"]["hint"]


async def test_what_fails_after_it_was_accepted_is_told_to_who_sent_it(
    portal: Portal, node: FakeNode
) -> None:
    told = Error(code=ErrorCode.ESTOP, message="the dose was cut short", hint="release the stop")
    async with (
        portal.client(headers={**HTML, "Origin": portal.url}) as ada,
        portal.client(headers=HTML) as ben,
    ):
        await ready(ada, node)
        await ben.get("/")
        cookie = "; ".join(f"{name}={value}" for name, value in ada.cookies.items())
        opened = {"Cookie": cookie, "Origin": portal.url}
        async with (
            websockets.connect(portal.ws, additional_headers=opened) as hers,
            websockets.connect(portal.ws, additional_headers=OTHER_SESSION) as others,
        ):
            assert (await ada.post(STIRRING, json={"value": 400})).status_code == 200
            await node.fail(told)
            frames = [json.loads(await hers.recv()) for _ in range(2)]
            failed = next(frame for frame in frames if frame["type"] == "failed")
            assert failed["id"] == node.orders[-1][1].id
            assert failed["what"] == "Stirring on Reactor 1"
            assert failed["error"]["hint"] == "release the stop"
            await others.send('{"ping": 1}')
            heard = [json.loads(await others.recv())["type"] for _ in range(2)]
            assert heard == ["link", "pong"]
        for page in ("/", "/queue", "/nodes/reactor-1"):
            seen = await ada.get(page)
            assert seen.text.count("your command failed") == 1
            assert shows(seen, "Stirring on Reactor 1")
            assert shows(seen, "the dose was cut short")
            assert shows(seen, "release the stop")
            assert not shows(await ben.get(page), "your command failed")
        one = {"id": failed["id"]}
        assert (await ben.post("/nodes/reactor-1/read", data=one)).status_code == 403
        read = await ada.post("/nodes/reactor-1/read", data=one)
        assert (read.status_code, read.headers["location"]) == (303, "/nodes/reactor-1")
        assert not shows(await ada.get("/"), "your command failed")
        # Given again, it has not failed yet.
        await ada.post(STIRRING, json={"value": 400})
        await node.fail(told)
        await eventually(lambda: ada.get("/"), lambda seen: shows(seen, "your command failed"))
        await ada.post(STIRRING, json={"value": 500})
        assert not shows(await ada.get("/"), "your command failed")


async def test_what_a_node_says_of_a_failure_is_kept_short(portal: Portal, node: FakeNode) -> None:
    long = "<b>" + "x" * 100_000
    told = Error(code=ErrorCode.ESTOP, message=long, hint=long, details={"why": long})
    async with portal.client(headers={**HTML, "Origin": portal.url}) as browser:
        await ready(browser, node)
        assert (await browser.post(STIRRING, json={"value": 400})).status_code == 200
        await node.fail(told)
        seen = await eventually(
            lambda: browser.get("/"), lambda page: shows(page, "your command failed")
        )
        assert "&lt;b&gt;xxx" in seen.text
        assert seen.text.count("x") < 10_000


async def test_the_form_does_the_same(portal: Portal, node: FakeNode) -> None:
    async with portal.client(headers={**HTML, "Origin": portal.url}) as browser:
        await ready(browser, node)
        page = await browser.get("/nodes/reactor-1")
        assert shows(page, "Nobody holds the reactor")
        fields = {"channel": "stirring", "value": "250", "request_id": "a-form-sent-once"}
        answer = await browser.post("/nodes/reactor-1/command", data=fields)
        assert answer.status_code == 303
        assert node.orders[-1][0] == "stirring"
        assert (await browser.post("/nodes/reactor-1/manual-end")).status_code == 303
        assert node.manual is None


async def test_only_administrators_control_by_hand(
    connect: Connector, hub: FakeHub, node: FakeNode, tmp_path: Path
) -> None:
    async with (
        portal_on(
            await connect("portal"), tmp_path / "p", admin="login", admin_password="correct horse"
        ) as portal,
        portal.client(headers=SESSION) as client,
    ):
        await ready(client, node)
        for path in (STIRRING, "/api/nodes/reactor-1/manual-end"):
            answer = await client.post(path, json={"value": 1})
            assert answer.status_code == 403, path
        page = await client.get("/nodes/reactor-1", headers=HTML)
        assert "Manual control" not in page.text
        assert shows(page, "Emergency stop")
    assert node.orders == []
