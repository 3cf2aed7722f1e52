"""Each reverse proxy of the guide to encryption, for real, before a portal on loopback.

Clients come from 127.0.0.2 and 127.0.0.3, the proxy comes to the portal from 127.0.0.1.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from portal.security import MAX_BODY_BYTES
from tests.support.brokers import Connector
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import Portal, eventually, hub_on, portal_on
from tests.support.reverse_proxy import KINDS, NAME, ReverseProxy, proxy_before

pytestmark = pytest.mark.parametrize("broker_kind", ["mosquitto"], indirect=True)

START = "/api/experiments/start"
HTML = {"Accept": "text/html"}


@asynccontextmanager
async def proxied(
    kind: str, connect: Connector, folder: Path, **settings: Any
) -> AsyncIterator[tuple[ReverseProxy, Portal]]:
    """A portal with the settings of the guide, and the proxy before it."""
    there = {"allowed_hosts": (NAME,), "trusted_proxies": ("127.0.0.1",)}
    async with portal_on(await connect("portal"), folder / "p", **there, **settings) as portal:
        port = int(portal.url.rpartition(":")[2])
        async with proxy_before(
            kind, "tls.md", {"127.0.0.1:8000": port}, folder / "proxy"
        ) as proxy:
            yield proxy, portal


@pytest.fixture
async def hub(connect: Connector) -> AsyncIterator[FakeHub]:
    async with hub_on(await connect("hub")) as fake:
        yield fake


@pytest.mark.parametrize("kind", KINDS)
async def test_people_work_through_a_proxy(
    connect: Connector, hub: FakeHub, tmp_path: Path, kind: str
) -> None:
    node = FakeNode(await connect("reactor-1"))
    await node.announce()
    login = {"admin": "login", "admin_password": "correct horse"}
    async with proxied(kind, connect, tmp_path, **login) as (proxy, _):
        headers = {**HTML, "Origin": proxy.url}
        async with proxy.client(headers=headers) as browser:
            await eventually(lambda: browser.get("/health/ready"), lambda a: a.status_code == 200)
            page = await browser.get("/")
            assert page.status_code == 200
            assert "strict-transport-security" in page.headers, "the portal knows of the TLS"
            await logs_in(browser)
            await uploads(browser, hub)
            await others_are_refused(browser, proxy)
            await watches(browser, proxy, node)


async def logs_in(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/login", data={"password": "correct horse"})
    assert answer.status_code == 303, answer.text
    assert httpx.URL(answer.headers["location"]).is_relative_url
    cookie = answer.headers["set-cookie"]
    for word in ("Secure", "HttpOnly", "SameSite=Lax"):
        assert f"; {word}" in cookie
    assert (await browser.post("/queue/pause")).status_code == 303, "an administrator now"
    assert (await browser.post("/queue/resume")).status_code == 303


async def uploads(browser: httpx.AsyncClient, hub: FakeHub) -> None:
    script = b"# " + b"x" * 250_000
    before = len(hub.experiments)
    answer = await browser.post("/upload", files={"file": ("long.py", script)})
    assert answer.status_code == 303, answer.text
    assert len(hub.experiments) == before + 1
    answer = await browser.post("/upload", files={"file": ("long.py", b"x" * 1_500_000)})
    assert answer.status_code == 413
    assert f"{MAX_BODY_BYTES // 1024} KiB" in answer.text, "said by the portal, with what to do"


async def others_are_refused(browser: httpx.AsyncClient, proxy: ReverseProxy) -> None:
    plain = proxy.url.replace("https", "http")
    for origin in ("https://evil.example", f"https://{NAME}", plain, "null"):
        answer = await browser.post("/queue/pause", headers={"Origin": origin})
        assert answer.status_code == 403, origin
        with pytest.raises(InvalidStatus) as handshake:
            async with proxy.websocket(browser.cookies, origin):
                pass
        assert handshake.value.response.status_code == 403, origin
    answer = await browser.get("/", headers={"Host": "evil.example"})
    # Caddy has nothing by other names: it says nothing, with 200.
    assert answer.status_code == 421 or not answer.content


async def watches(browser: httpx.AsyncClient, proxy: ReverseProxy, node: FakeNode) -> None:
    async with proxy.websocket(browser.cookies) as socket:
        await socket.send(json.dumps({"subscribe": ["nodes/+/telemetry"], "ping": 1}))
        while json.loads(await socket.recv())["type"] != "pong":
            pass
        await node.measure(od=0.42)
        assert '"od"' in str(await socket.recv())


@pytest.mark.parametrize("kind", KINDS)
async def test_each_address_is_counted_for_itself(
    connect: Connector, hub: FakeHub, tmp_path: Path, kind: str
) -> None:
    """One change, then no other for minutes: from an address, whatever it says of itself."""
    async with proxied(kind, connect, tmp_path, writes_per_second=0.0001) as (proxy, portal):
        async with proxy.client("127.0.0.2") as one, proxy.client("127.0.0.3") as another:
            await eventually(lambda: one.get("/health/ready"), lambda a: a.status_code == 200)
            assert await changes(one) == 200
            assert await changes(one) == 429
            for forged in ("203.0.113.9", "127.0.0.1", "203.0.113.9, 127.0.0.1"):
                assert await changes(one, {"X-Forwarded-For": forged}) == 429, forged
            assert await changes(another) == 200, "the proxy's address is not what is counted"
        # Who does not come through the proxy is believed nothing.
        direct = httpx.AsyncHTTPTransport(local_address="127.0.0.4")
        claims = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        async with httpx.AsyncClient(base_url=portal.url, transport=direct) as stranger:
            assert await changes(stranger, claims) == 200
            assert await changes(stranger, {"X-Forwarded-For": "203.0.113.10"}) == 429
            stranger.cookies.clear()
            page = await stranger.get("/", headers={**HTML, **claims})
            assert "Secure" not in page.headers["set-cookie"]


async def changes(client: httpx.AsyncClient, headers: dict[str, str] | None = None) -> int:
    """Submit as somebody who has no session yet; return the answer's status."""
    client.cookies.clear()
    answer = await client.post(START, json={"script_content": "print(1)"}, headers=headers)
    return answer.status_code
