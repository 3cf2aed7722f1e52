"""Several portals of one site behind a balancer: a session is valid at each, live data come by any.

The balancer knows connections, not requests: each new one goes to the next portal, as HAProxy does
it in TCP mode and round robin.
"""

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect as connect_websocket

from broker.embedded import EmbeddedBroker
from tests.support.brokers import Connector
from tests.support.hub import SCRIPT, running_hub
from tests.support.portal import Portal, portal_on
from tests.support.waiting import eventually

pytestmark = pytest.mark.parametrize("broker_kind", ["nats"], indirect=True)


@dataclass
class Balancer:
    """Use `balancer_before`.

    Attributes:
        carried: How many connections each portal got.
        away: Portals that are taken out, as a failed health check does.
    """

    ports: Sequence[int]
    port: int = 0
    carried: dict[int, int] = field(default_factory=dict)
    away: set[int] = field(default_factory=set)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = next(p for p in self._turns if p not in self.away)
        self.carried[target] = self.carried.get(target, 0) + 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    def __post_init__(self) -> None:
        self._turns = itertools.cycle(self.ports)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def balancer_before(portals: Sequence[Portal]) -> AsyncIterator[Balancer]:
    balancer = Balancer([int(portal.url.rpartition(":")[2]) for portal in portals])
    async with asyncio.TaskGroup() as tasks:

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.create_task(balancer.carry(reader, writer))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        balancer.port = server.sockets[0].getsockname()[1]
        try:
            yield balancer
        finally:
            server.close()


async def test_a_session_is_valid_at_every_portal_of_the_site(
    broker: EmbeddedBroker, connect: Connector, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running_hub(broker.settings_for("hub"), tmp_path / "hub"))
        portals = []
        for number in range(2):
            data = tmp_path / f"portal-{number}"
            if number:  # the key of the site is what they share
                data.mkdir()
                shutil.copy(tmp_path / "portal-0" / "site.key", data)
            link = await connect("portal")
            portals.append(await stack.enter_async_context(portal_on(link, data)))
        balancer = await stack.enter_async_context(balancer_before(portals))
        url = f"http://127.0.0.1:{balancer.port}"
        once = httpx.Limits(max_keepalive_connections=0)  # each request by a connection of its own
        browser = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, limits=once, timeout=20)
        )
        assert (await browser.get("/")).status_code == 200
        secret = dict(browser.cookies)
        headers = {"Origin": url}
        ids = []
        for number in range(4):
            answer = await browser.post(
                "/api/experiments/start",
                json={"script_content": SCRIPT, "name": f"number {number}"},
                headers=headers,
            )
            assert answer.status_code == 200, answer.text
            ids.append(answer.json()["experiment_id"])
        assert dict(browser.cookies) == secret
        mine = (await browser.get("/api/experiments/user")).json()["experiments"]
        assert {e["experiment_id"] for e in mine} == set(ids)
        assert sorted(balancer.carried) == sorted(balancer.ports)

        cookie = "; ".join(f"{name}={value}" for name, value in secret.items())
        told = []
        for _ in range(2):  # one at each portal
            socket = await stack.enter_async_context(
                connect_websocket(
                    f"ws://127.0.0.1:{balancer.port}/ws",
                    additional_headers={"Cookie": cookie},
                    origin=url,  # type: ignore[arg-type]
                )
            )
            await socket.send(json.dumps({"subscribe": [f"experiments/{ids[0]}"]}))
            told.append(socket)
        answer = await browser.post(f"/api/experiments/{ids[0]}/cancel", headers=headers)
        assert answer.status_code == 200, answer.text
        for socket in told:
            async with asyncio.timeout(10):
                while "cancelled" not in str(await socket.recv()):
                    pass

        balancer.away.add(balancer.ports[0])
        before = balancer.carried[balancer.ports[1]]
        assert (await browser.get("/api/experiments/user")).status_code == 200
        assert (await browser.get("/my-experiments")).text.count("number 1") >= 1
        assert balancer.carried[balancer.ports[1]] == before + 2
        await eventually(lambda: dict(browser.cookies) == secret)
