"""Whose experiment may be changed and read by whom: every call, every role, both settings.

The hub decides, with its setting `open`; the portal tells it who asks. Nothing here guesses an id:
everybody knows all of them, since the queue shows them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from broker.embedded import EmbeddedBroker
from hub_service.settings import HubSettings
from tests.support.brokers import Connector
from tests.support.fake_node import FakeNode
from tests.support.hub import running_hub
from tests.support.portal import Portal, eventually, portal_on

SCRIPT = "from bioreactor import experiment\n"
PASSWORD = "correct horse"
ONE = "01JM9ZQ8E6Y7W5V4T3S2R1Q0P9"

Call = tuple[str, str, Mapping[str, Any] | None]
WAITING: Mapping[str, Call] = {
    "cancel": ("POST", "/cancel", None),
    "pause": ("POST", "/pause", None),
    "reorder": ("POST", "/reorder?new_position=1", None),
    "annotate": ("PATCH", "", {"name": "another name"}),
    "parameters": ("POST", "/parameters", {"parameters": {"x": 1}}),
}
"""Calls about an experiment that waits."""
FINISHED: Mapping[str, Call] = {
    "script": ("GET", "/script", None),
    "download": ("GET", "/download", None),
    "telemetry as CSV": ("GET", "/telemetry?format=csv", None),
    "telemetry as Parquet": ("GET", "/telemetry?format=parquet", None),
    "whole log": ("GET", "/logs?format=text", None),
    "file": ("GET", "/files/none.txt", None),
}
"""Calls about one that has ended: its script and results."""
_REFUSED_EXPORT = ("export", "FORBIDDEN")
RECORDED = ("/history", "/telemetry", "/logs")
"""What is read of it for charts and the console."""
OUTLINE = ("", "/status")
"""Where it is: for everybody, as the queue says it."""
GOVERNING: tuple[Call, ...] = (
    ("POST", f"/api/experiments/{ONE}/run-now", None),
    ("POST", "/api/queue/pause", None),
    ("POST", "/api/queue/resume", None),
    ("POST", "/api/queue/drain", None),
    ("POST", "/api/queue/limits", {"per_user": 5}),
    ("POST", "/api/queue/retention", {"days": 100}),
    ("POST", "/api/nodes/reactor-1/drain", None),
    ("POST", "/api/nodes/reactor-1/resume", None),
    ("POST", "/api/nodes/reactor-1/declare-dead", None),
    ("POST", "/api/nodes/reactor-1/estop-release", None),
    ("POST", "/api/nodes/reactor-1/command/stirring", {"value": 1.0}),
    ("POST", "/api/nodes/reactor-1/manual-end", None),
    ("GET", "/api/tokens", None),
    ("POST", "/api/tokens", {"name": "x"}),
    ("DELETE", f"/api/tokens/{ONE}", None),
)
"""What administrators alone may do."""


@dataclass
class Laboratory:
    """A hub, a portal, and people with sessions of their own."""

    portal: Portal
    owner: httpx.AsyncClient
    other: httpx.AsyncClient
    token: httpx.AsyncClient
    admin: httpx.AsyncClient
    admin_token: httpx.AsyncClient

    async def submit(self) -> str:
        """Queue an experiment of the owner's."""
        answer = await self.owner.post(
            "/api/experiments/start", json={"script_content": SCRIPT, "name": "mine"}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["experiment_id"])

    async def finished(self) -> str:
        """Queue one and cancel it."""
        one = await self.submit()
        assert (await self.owner.post(f"/api/experiments/{one}/cancel")).status_code == 200
        await eventually(lambda: self.status(one), lambda status: status == "cancelled")
        return one

    async def left_the_queue(self, one: str) -> None:
        await eventually(lambda: self.status(one), lambda status: status != "queued")

    async def status(self, one: str) -> str:
        got = (await self.owner.get(f"/api/experiments/{one}")).json()["experiment"]
        assert got["name"] == "mine"
        return str(got["status"])


async def admitted(client: httpx.AsyncClient) -> None:
    """Wait until the portal has heard that the hub admits a token."""
    await eventually(lambda: client.get("/api/queue/status"), lambda got: got.status_code == 200)


Opened = Callable[[bool], Awaitable[Laboratory]]


@pytest.fixture
async def laboratory(
    broker: EmbeddedBroker, connect: Connector, tmp_path: Path
) -> AsyncIterator[Opened]:
    async with AsyncExitStack() as stack:

        async def client(portal: Portal, **options: Any) -> httpx.AsyncClient:
            made: httpx.AsyncClient = await stack.enter_async_context(portal.client(**options))
            return made

        async def opened(everybody: bool) -> Laboratory:
            directory = tmp_path / "hub"
            directory.mkdir()
            settings = HubSettings(data_dir=directory, open=everybody)
            await stack.enter_async_context(
                running_hub(broker.settings_for("hub"), directory, settings=settings)
            )
            node = FakeNode(await connect("reactor-1"))
            await node.announce()
            await node.report(1)
            portal = await stack.enter_async_context(
                portal_on(
                    await connect("portal"),
                    tmp_path / "portal",
                    admin="login",
                    admin_password=PASSWORD,
                )
            )
            admin = await client(portal, headers={"Origin": portal.url})
            await eventually(
                lambda: admin.get("/api/nodes/reactor-1"), lambda answer: answer.status_code == 200
            )
            login = await admin.post("/login", data={"password": PASSWORD})
            assert login.status_code == 303
            assert (await admin.post("/api/queue/pause")).status_code == 200
            tokens = []
            for role in ("user", "administrator"):
                made = await admin.post("/api/tokens", json={"name": role, "role": role})
                assert made.headers["cache-control"] == "no-store, no-transform"
                bearer = await client(
                    portal, headers={"Authorization": f"Bearer {made.json()['token']}"}
                )
                await admitted(bearer)
                tokens.append(bearer)
            owner = await client(portal, headers={"X-Session-ID": "the secret of the owner"})
            other = await client(portal, headers={"X-Session-ID": "the secret of another"})
            return Laboratory(portal, owner, other, tokens[0], admin, tokens[1])

        yield opened


async def call(client: httpx.AsyncClient, call: Call, one: str) -> int:
    method, path, body = call
    answer = await client.request(method, f"/api/experiments/{one}{path}", json=body)
    if answer.status_code == 403:
        assert answer.json()["error"]["code"] == "FORBIDDEN"
        assert answer.json()["error"]["hint"]
    assert answer.status_code < 500, (call, answer.text)
    return answer.status_code


@pytest.mark.timeout(300)
@pytest.mark.parametrize("everybody", [False, True], ids=["closed", "open"])
async def test_who_may_change_and_read_an_experiment(
    laboratory: Opened, broker: EmbeddedBroker, everybody: bool
) -> None:
    people = await laboratory(everybody)
    strangers = (people.other, people.token)
    entitled = (people.owner, people.admin, people.admin_token)
    for verb, wish in WAITING.items():
        one = await people.submit()
        if not everybody:
            for stranger in strangers:
                assert await call(stranger, wish, one) == 403, verb
            assert await people.status(one) == "queued", verb
        for number, person in enumerate(strangers if everybody else entitled):
            assert await call(person, wish, one) != 403, (verb, number)
            if verb in {"cancel", "pause"}:
                await people.left_the_queue(one)
                await people.owner.post(f"/api/experiments/{one}/cancel")
                one = await people.submit()
        await people.owner.post(f"/api/experiments/{one}/cancel")
    one = await people.finished()
    for what, wish in FINISHED.items():
        for person in strangers:
            assert (await call(person, wish, one) == 403) is not everybody, what
        for person in entitled:
            assert await call(person, wish, one) != 403, what
    noted = (await people.admin.get(f"/api/audit?experiment={one}&limit=50")).json()["entries"]
    refused = [entry for entry in noted if (entry["verb"], entry["outcome"]) == _REFUSED_EXPORT]
    assert bool(refused) is not everybody, "who asked for what is not theirs is on record"
    await people.owner.patch(f"/api/experiments/{one}", json={"note": "my idea"})
    for person, sees in (*((p, everybody) for p in strangers), *((p, True) for p in entitled)):
        for path in RECORDED:
            answer = await person.get(f"/api/experiments/{one}{path}")
            assert answer.status_code == (200 if sees else 403), path
        for path in OUTLINE:
            seen = (await person.get(f"/api/experiments/{one}{path}")).json()["experiment"]
            assert (seen["name"], seen["status"]) == ("mine", "cancelled")
        got = (await person.get(f"/api/experiments/{one}")).json()
        assert (got["experiment"]["note"] == "my idea") is sees
        assert (got["script"] == SCRIPT) is sees
        page = (await person.get(f"/experiment/{one}", headers={"Accept": "text/html"})).text
        assert ("my idea" in page) is sees
        # Neither found by its note nor listed among everybody's.
        wanted = {"scope": "all", "search": "my idea"}
        found = (await person.get("/api/experiments/user", params=wanted)).json()
        assert [e["experiment_id"] for e in found["experiments"]] == ([one] if sees else [])
    # To look at what is shown of it is no refusal that everybody reads of in the queue's record.
    before = (await people.admin.get("/api/audit?limit=1")).json()["entries"][0]["n"]
    for stranger in strangers:
        await stranger.get(f"/experiment/{one}", headers={"Accept": "text/html"})
    after = (await people.admin.get("/api/audit?limit=1")).json()["entries"][0]["n"]
    assert after == before
    published = await people.admin.get("/api/queue/status")
    assert published.json()["open"] is everybody
    # Deleting is for owners and administrators, whatever the setting.
    for stranger in strangers:
        assert await call(stranger, ("DELETE", "", None), one) == 403
    for person in entitled:
        assert await call(person, ("DELETE", "", None), one) == 200
        for stranger in strangers:
            assert await call(stranger, ("POST", "/restore", None), one) in {403, 404}
        assert await call(person, ("POST", "/restore", None), one) == 200


async def test_who_may_govern(laboratory: Opened) -> None:
    """The setting `open` is about experiments; queue, reactors and tokens are another matter."""
    people = await laboratory(True)
    for method, path, body in GOVERNING:
        for person in (people.owner, people.other, people.token):
            answer = await person.request(method, path, json=body)
            assert answer.status_code == 403, (method, path, answer.text)
        answer = await people.admin_token.request(method, path, json=body)
        assert answer.status_code != 403, (method, path)
    forms = {
        f"/experiment/{ONE}/run-now",
        "/queue/pause",
        "/nodes/reactor-1/drain",
        "/nodes/reactor-1/estop-release",
    }
    shown = await people.admin.post("/admin/tokens", data={"name": "x"})
    assert "bioreactor_" in shown.text
    assert shown.headers["cache-control"] == "no-store, no-transform"
    assert "content-encoding" not in shown.headers
    page = {"Origin": people.portal.url, "Accept": "text/html"}
    async with people.portal.client(headers=page) as browser:
        await browser.get("/")
        for path in forms:
            assert (await browser.post(path)).status_code == 403, path


async def test_no_route_that_changes_something_obeys_another_site(portal: Portal) -> None:
    """Each of them, found by itself: one that is added later is tested too."""
    routes = [
        (method, route.path)
        for route in portal.app.routes
        if isinstance(route, APIRoute)
        for method in (route.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    ]
    assert len(routes) > 30
    names = {"experiment_id": ONE, "node": "reactor-1", "verb": "pause", "token_id": ONE}
    async with portal.client() as browser, portal.client() as stranger:
        await browser.get("/")
        assert browser.cookies
        for method, pattern in routes:
            path = pattern.format(**names, channel="stirring", user=ONE)
            for headers in (
                {},
                {"Origin": "null"},
                {"Origin": "https://evil.example"},
                {"Origin": portal.url, "Sec-Fetch-Site": "cross-site"},
            ):
                answer = await browser.request(method, path, headers=headers)
                assert answer.status_code == 403, (method, path, headers)
                assert answer.json()["error"]["code"] == "FORBIDDEN"
                if headers:
                    answer = await stranger.request(method, path, headers=headers)
                    assert answer.status_code == 403, (method, path, headers)
