"""Two portals of one site behind each balancer of the guide: a session is valid at either.

One of them is killed, and people go on with the other.
"""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from ulid import ULID
from websockets.asyncio.client import ClientConnection
from websockets.protocol import State

from broker.access import Principal
from broker.embedded import EmbeddedBroker
from broker.listening import free_port
from hub_service.settings import HubSettings
from tests.integration.portal.test_process import process
from tests.support.brokers import ROLES
from tests.support.hub import SCRIPT, running_hub
from tests.support.portal import eventually
from tests.support.reverse_proxy import KINDS, NAME, ReverseProxy, proxy_before

THERE = ("10.0.0.21:8000", "10.0.0.22:8000")
"""The portals, as the guide calls them."""
PORTALS = ("portal", "portal-2")


@asynccontextmanager
async def two_portals(
    broker: EmbeddedBroker, path: Path
) -> AsyncIterator[dict[int, asyncio.subprocess.Process]]:
    """Run both as processes with the settings of the guide; each serves when this returns."""
    more = f'allowed_hosts = ["{NAME}"]\ntrusted_proxies = ["127.0.0.1"]\n'
    running: dict[int, asyncio.subprocess.Process] = {}
    async with AsyncExitStack() as stack:
        for principal in PORTALS:
            data, port = path / principal, free_port()
            (data / "portal").mkdir(parents=True)
            if running:  # the key of the site is what they share
                shutil.copy(path / PORTALS[0] / "portal" / "site.key", data / "portal")
            running[port] = await stack.enter_async_context(
                process(broker, data, port, more, principal)
            )
            url = f"http://127.0.0.1:{port}"
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=url))
            await eventually(lambda c=client: status(c, "/health/ready"), lambda it: it == 200, 60)  # type: ignore[misc]
        yield running


async def status(client: httpx.AsyncClient, path: str) -> int:
    try:
        return (await client.get(path)).status_code
    except httpx.TransportError:
        return 0


async def answered(ports: Iterable[int]) -> Counter[int]:
    """Return how many calls each portal has answered."""
    counted: Counter[int] = Counter()
    async with httpx.AsyncClient() as client:
        for port in ports:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            for line in text.splitlines():
                if line.startswith("bioreactor_portal_requests_total") and "/api/" in line:
                    counted[port] += int(float(line.rpartition(" ")[2]))
    return counted


async def test_people_go_on_when_one_of_two_portals_dies(tmp_path: Path) -> None:
    roles = (*ROLES, Principal("portal-2", "portal"))
    settings = HubSettings(data_dir=tmp_path / "hub", portals=PORTALS)
    async with (
        EmbeddedBroker(tmp_path / "broker", roles=roles, kind="nats") as broker,
        running_hub(broker.settings_for("hub"), tmp_path / "hub", settings=settings),
        two_portals(broker, tmp_path) as portals,
        AsyncExitStack() as stack,
    ):
        people = []
        for kind in KINDS:
            there = dict(zip(THERE, portals, strict=True))
            person = Person(await stack.enter_async_context(
                proxy_before(kind, "growing.md", there, tmp_path / kind)
            ))  # fmt: skip
            await stack.enter_async_context(person.browser)
            people.append(person)
        for person in people:
            await person.arrives()
            before = await answered(portals)
            for _ in range(4):
                await person.submits()
            new = await answered(portals) - before
            assert set(new) == set(portals), f"{person.kind}: one had nothing to do: {new}"
            await person.opens(stack)
            await person.opens(stack)  # one window at each
            await person.sees_what_it_does()

        victim = next(iter(portals.values()))
        victim.kill()
        await victim.wait()
        for person in people:
            await person.submits()
            await person.loses_a_window()
            await person.opens(stack)
            await person.sees_what_it_does()


class Person:
    """Somebody with a browser, who knows the balancer alone."""

    def __init__(self, proxy: ReverseProxy) -> None:
        self.kind = proxy.kind
        self.browser = proxy.client(headers={"Origin": proxy.url})
        self._proxy = proxy
        self._cookie: dict[str, str] = {}
        self._ids: list[str] = []
        self._windows: list[ClientConnection] = []

    async def arrives(self) -> None:
        # the balancer asks the portals first whether they are there
        await eventually(lambda: status(self.browser, "/health"), lambda it: it == 200, 30)
        assert (await self.browser.get("/", headers={"Accept": "text/html"})).status_code == 200
        self._cookie = dict(self.browser.cookies)

    async def submits(self) -> None:
        """Whichever portal it comes to, it is the same person, who sees all that is theirs."""
        key = {"Idempotency-Key": str(ULID())}
        body = {"script_content": SCRIPT, "name": "mine"}
        answer = await self.browser.post("/api/experiments/start", json=body, headers=key)
        if answer.status_code == 502 and self.kind == "caddy":
            # It does not send to the second portal what the first did not take, but knows of that
            # one now. As programs and forms do: again, with the same key.
            answer = await self.browser.post("/api/experiments/start", json=body, headers=key)
        assert answer.status_code == 200, f"{self.kind}: {answer.text} {self._proxy.said[-1:]}"
        self._ids.append(answer.json()["experiment_id"])
        listed = (await self.browser.get("/api/experiments/user")).json()["experiments"]
        assert {one["experiment_id"] for one in listed} == set(self._ids)
        assert dict(self.browser.cookies) == self._cookie

    async def opens(self, stack: AsyncExitStack) -> None:
        socket = await stack.enter_async_context(self._proxy.websocket(self._cookie))
        await socket.send(json.dumps({"subscribe": ["experiments/+"]}))
        self._windows.append(socket)

    async def sees_what_it_does(self) -> None:
        """Cancel an experiment through one portal; every window shows it, at whichever it is."""
        cancelled = self._ids.pop()
        answer = await self.browser.post(f"/api/experiments/{cancelled}/cancel")
        assert answer.status_code == 200, f"{self.kind}: {answer.text}"
        for window in self._windows:
            async with asyncio.timeout(20):
                while not said_cancelled(json.loads(await window.recv()), cancelled):
                    pass
        self._ids.append(cancelled)

    async def loses_a_window(self) -> None:
        """That at the portal which died ends, and no other."""

        async def left() -> list[ClientConnection]:
            return [window for window in self._windows if window.state is State.OPEN]

        await eventually(left, lambda open_: len(open_) == len(self._windows) - 1, 20)
        self._windows = await left()


def said_cancelled(frame: dict[str, object], experiment_id: str) -> bool:
    return frame.get("topic") == f"experiments/{experiment_id}" and "cancelled" in str(frame)
