"""What must be refused: other sites, other names, floods, hostile input."""

import asyncio
import contextlib
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.embedded import EmbeddedBroker
from tests.support.brokers import Connector
from tests.support.fake_hub import FakeHub
from tests.support.portal import SESSION, Portal, eventually, portal_on, shows

START = "/api/experiments/start"
BODY = {"script_content": "print(1)"}


async def test_another_site_cannot_use_a_cookie(portal: Portal, hub: FakeHub) -> None:
    async with portal.client() as browser:
        await browser.get("/api/queue/status")
        assert browser.cookies
        for headers in (
            {},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": portal.url, "Sec-Fetch-Site": "cross-site"},
        ):
            answer = await browser.post(START, json=BODY, headers=headers)
            assert answer.status_code == 403, headers
            assert answer.json()["error"]["code"] == "FORBIDDEN"
        for headers in ({"Origin": portal.url}, {"Sec-Fetch-Site": "same-origin"}):
            assert (await browser.post(START, json=BODY, headers=headers)).status_code == 200
    assert len(hub.experiments) == 2


async def test_another_site_cannot_act_without_a_cookie_either(portal: Portal) -> None:
    async with portal.client() as stranger:
        answer = await stranger.post(START, json=BODY, headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403
        answer = await stranger.post("/queue/pause", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403
        form = {"Content-Type": "text/plain"}
        answer = await stranger.post(START, content='{"script_content": "1"}', headers=form)
        assert answer.status_code == 400, "a form of another site cannot pass as JSON"


async def test_no_answer_is_readable_across_origins(portal: Portal) -> None:
    async with portal.client(headers={"Origin": "https://evil.example"}) as stranger:
        for answer in (await stranger.get("/api/queue/status"), await stranger.options(START)):
            assert not any(name.startswith("access-control") for name in answer.headers)


async def test_what_any_cache_may_keep_makes_nobodys_cookie(portal: Portal) -> None:
    async with portal.client() as client:
        page = await client.get("/upload", headers={"Accept": "text/html"})
        sdk = re.search(r'data-sdk="([^"]+)"', page.text)
        style = re.search(r'href="(/static/style[^"]+)"', page.text)
    assert sdk is not None
    assert style is not None
    async with portal.client() as stranger:
        for address in (sdk[1], style[1]):
            answer = await stranger.get(address)
            assert "public" in answer.headers["cache-control"], address
            assert "set-cookie" not in answer.headers, address


async def test_other_names_are_refused(portal: Portal) -> None:
    async with portal.client() as client:
        for host in ("evil.example", "127.0.0.1.evil.example", "", "[", "a b", "localhost@evil"):
            answer = await client.get("/", headers={"Host": host})
            assert answer.status_code in {400, 421}, host
        for host in ("localhost:1234", "LOCALHOST", "[::1]:8000"):
            assert (await client.get("/queue", headers={"Host": host})).status_code == 200, host


async def test_a_forged_cookie_is_a_new_session(portal: Portal) -> None:
    async with portal.client() as client:
        first = await client.get("/api/experiments/user")
        good = client.cookies["bioreactor_session"]
        for value in (good[:-2] + "xx", "x", "a.b.c", good.replace(".", "", 1), "%00", "é" * 10):
            client.cookies.clear()
            raw = f"bioreactor_session={value}".encode()
            answer = await client.get("/api/experiments/user", headers=[(b"Cookie", raw)])
            assert answer.status_code == 200
            assert "set-cookie" in answer.headers, value
    assert first.status_code == 200


@pytest.mark.parametrize("value", ["short", "x" * 129, ""])
async def test_session_ids_of_wrong_length(portal: Portal, value: str) -> None:
    async with portal.client(headers={"X-Session-ID": value}) as client:
        answer = await client.get("/api/experiments/user")
    assert answer.status_code == 400
    assert "8 to 128" in answer.json()["detail"]


async def test_who_asks_too_often_is_told_to_wait(
    connect: Connector, hub: FakeHub, tmp_path: Path
) -> None:
    connection = await connect("portal")
    async with (
        portal_on(
            connection, tmp_path / "p", reads_per_second=1.0, writes_per_second=1.0
        ) as portal,
        portal.client(headers=SESSION) as client,
    ):
        await eventually(lambda: client.get("/health/ready"), lambda a: a.status_code == 200)
        answers = [await client.get("/api/queue/status") for _ in range(20)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(answers) - len(refused) >= 4
        assert refused
        assert int(refused[0].headers["Retry-After"]) >= 1
        assert refused[0].json()["error"]["code"] == "RATE_LIMIT"
        assert (await client.post(START, json=BODY)).status_code == 200, "writes count apart"
        assert refused[0].headers["RateLimit-Policy"] == '"reads";q=4;w=4'
        assert refused[0].headers["RateLimit"].startswith('"reads";r=0;t=')
        assert answers[0].headers["RateLimit"].startswith('"reads";r=')
        other = await client.get("/api/queue/status", headers={"X-Session-ID": "another one"})
        assert other.status_code == 200
        assert other.headers["RateLimit"].startswith('"reads";r=3;')
        changes = [(await client.post(START, json=BODY)).status_code for _ in range(10)]
        assert 429 in changes
        stop = await client.post("/api/nodes/nobody/estop")
        assert stop.status_code == 404, "what else was asked delays no emergency stop"
        with pytest.raises(websockets.InvalidStatus) as handshake:
            async with websockets.connect(portal.ws, additional_headers=SESSION):
                pass
        assert handshake.value.response.status_code == 429
        assert int(handshake.value.response.headers["Retry-After"]) >= 1
        assert (await client.get("/health")).status_code == 200
        invented = [
            (await client.get("/api/nodes", headers={"X-Session-ID": f"invented {n}"})).status_code
            for n in range(100)
        ]
        assert 429 in invented, "inventing sessions does not help one address"


async def test_login(connect: Connector, hub: FakeHub, tmp_path: Path) -> None:
    connection = await connect("portal")
    async with portal_on(
        connection, tmp_path / "p", admin="login", admin_password="correct horse"
    ) as portal:
        headers = {"Origin": portal.url, "Accept": "text/html"}
        async with portal.client(headers=headers) as browser:
            await eventually(lambda: browser.get("/health/ready"), lambda a: a.status_code == 200)
            assert (await browser.post("/queue/pause")).status_code == 403
            wrong = await browser.post("/login", data={"password": "wrong"})
            assert wrong.status_code == 403
            assert shows(wrong, "not the administrator")
            right = await browser.post("/login", data={"password": "correct horse"})
            assert right.status_code == 303
            assert (await browser.post("/queue/pause")).status_code == 303
            assert hub.asked[-1].admin
            assert (await browser.post("/logout")).status_code == 303
            assert (await browser.post("/queue/resume")).status_code == 403
            guesses = [await browser.post("/login", data={"password": "no"}) for _ in range(10)]
            assert guesses[-1].status_code == 429
            assert int(guesses[-1].headers["Retry-After"]) >= 1


async def test_a_login_gives_another_cookie_and_a_logout_ends_it(
    connect: Connector, hub: FakeHub, tmp_path: Path
) -> None:
    connection = await connect("portal")
    options = {"admin": "login", "admin_password": "correct horse"}
    async with portal_on(connection, tmp_path / "p", **options) as portal:
        headers = {"Origin": portal.url, "Accept": "text/html"}
        async with (
            portal.client(headers=headers) as browser,
            portal.client(headers=headers) as copy,
        ):
            await eventually(lambda: browser.get("/health/ready"), lambda a: a.status_code == 200)
            await browser.get("/")
            before = browser.cookies["bioreactor_session"]
            await browser.post("/login", data={"password": "correct horse"})
            as_admin = browser.cookies["bioreactor_session"]
            assert as_admin != before
            assert (await browser.post("/queue/pause")).status_code == 303
            copy.cookies.set("bioreactor_session", before)
            assert (await copy.post("/queue/pause")).status_code == 403, "rights are the cookie's"
            await browser.post("/logout")
            assert browser.cookies["bioreactor_session"] not in {before, as_admin}
            copy.cookies.set("bioreactor_session", as_admin)
            assert (await copy.post("/queue/pause")).status_code == 403, "a copy is worth nothing"


async def test_what_a_proxy_says_counts_if_it_is_ours(
    connect: Connector, hub: FakeHub, tmp_path: Path
) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    connection = await connect("portal")
    for name, trusted in (("a", ()), ("b", ("127.0.0.1",))):
        async with (
            portal_on(connection, tmp_path / name, trusted_proxies=trusted) as portal,
            portal.client(headers=forwarded) as client,
        ):
            answer = await client.get("/login")
            secure = bool(trusted)
            assert ("Secure" in answer.headers["set-cookie"]) is secure
            assert ("strict-transport-security" in answer.headers) is secure
            host = portal.url.removeprefix("http://")
            plain = await client.post("/logout", headers={"Origin": f"http://{host}"})
            assert (plain.status_code == 403) is secure, "a page that came without TLS"
            tls = await client.post("/logout", headers={"Origin": f"https://{host}"})
            assert tls.status_code == 303


async def test_every_answer_has_the_headers_that_protect_it(portal: Portal) -> None:
    async with portal.client(headers={"Accept": "text/html"}) as client:
        answers = [
            await client.get(path)
            for path in ("/", "/docs", "/login", "/nope", "/api/nope", "/health", "/openapi.json")
        ]
        answers.append(
            await client.post("/queue/pause", headers={"Origin": "https://evil.example"})
        )
        answers.append(await client.get("/", headers={"Host": "evil.example"}))
        answers.append(await client.get("/static/nope"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in answer.headers["permissions-policy"]
        assert "server" not in answer.headers


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
CALLS = st.sampled_from(
    [
        START,
        "/api/experiments/check",
        "/api/experiments/01JM9ZQ8E6Y7W5V4T3S2R1Q0P9/run-now",
        "/api/experiments/01JM9ZQ8E6Y7W5V4T3S2R1Q0P9/parameters",
        "/api/nodes/reactor-1/estop",
        "/api/nodes/reactor-1/estop-release",
    ]
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "script_content": st.text(max_size=50) | JSON,
        "name": st.text() | JSON,
        "parameters": st.dictionaries(st.text(), JSON, max_size=3) | JSON,
        "filename": st.text() | JSON,
        "node": st.text() | JSON,
        "stop_running": JSON,
        "latch": st.text() | JSON,
        "reason": st.text() | JSON,
        "other": JSON,
    },
)


async def test_whatever_is_sent_gets_a_typed_answer(portal: Portal) -> None:
    """Run Hypothesis in a thread of its own: its examples share one portal in this loop."""
    loop = asyncio.get_running_loop()
    bodies = FIELDS | JSON

    @settings(
        max_examples=100,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(call=CALLS, body=bodies, raw=st.none() | st.binary(max_size=60))
    def ask(call: str, body: Any, raw: bytes | None) -> None:
        asyncio.run_coroutine_threadsafe(_ask(portal, call, body, raw), loop).result(30)

    await asyncio.to_thread(ask)


async def _ask(portal: Portal, call: str, body: Any, raw: bytes | None) -> None:
    async with portal.client(headers=SESSION) as client:
        if raw is not None:
            headers = {"Content-Type": "application/json"}
            answer = await client.post(call, content=raw, headers=headers)
        else:
            text = json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            answer = await client.post(call, content=text, headers=headers)
    assert answer.status_code < 500, (call, body, raw, answer.text)
    if answer.status_code >= 400:
        told = answer.json()
        assert told["detail"] == told["error"]["message"]
        assert told["error"]["code"] != "INTERNAL"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", b"garbage without parts"),
        ("multipart/form-data", b"--x"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="f"'),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno headers\r\n--x--\r\n"),
        ("application/x-www-form-urlencoded", b"script=" + b"%ff" * 100),
        ("application/x-www-form-urlencoded", b"&" * 5000),
        ("text/html", b"<p>"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n' * 300 + b"--x--\r\n",
        ),
        (
            "multipart/form-data; boundary=x",
            (
                b'--x\r\nContent-Disposition: form-data; name="file"; filename="\xff\x00.py"'
                b"\r\n\r\n1\r\n--x--\r\n"
            ),
        ),
    ],
)
async def test_hostile_uploads(portal: Portal, content_type: str, body: bytes) -> None:
    headers = {
        "Content-Type": content_type,
        "Origin": portal.url,
        "Accept": "text/html",
    }
    async with portal.client(headers=headers) as client:
        answer = await client.post("/upload", content=body)
        assert answer.status_code in {303, 400, 413}, answer.text
        assert (await client.get("/health")).status_code == 200


async def test_slow_and_endless_bodies_end_at_the_limit(portal: Portal, hub: FakeHub) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 64 * 1024 * 1024:
            sent += 65536
            yield b"x" * 65536

    async with portal.client(headers=SESSION) as client:
        answer = None
        with contextlib.suppress(httpx.TransportError):  # the portal has stopped reading
            answer = await client.post(
                START, content=endless(), headers={"Content-Type": "application/json"}
            )
    assert answer is None or answer.status_code == 413
    assert sent < 32 * 1024 * 1024
    assert hub.asked == []


@pytest.mark.parametrize("broker_kind", ["nats"])
async def test_two_portals_of_one_site_know_the_same_session(
    broker: EmbeddedBroker, connect: Connector, hub: FakeHub, tmp_path: Path
) -> None:
    connection = await connect("portal")
    async with portal_on(connection, tmp_path / "p") as first, first.client() as client:
        await eventually(lambda: client.get("/health/ready"), lambda a: a.status_code == 200)
        await client.post(START, json=BODY)
        cookies = client.cookies
    again = await connect("portal")
    async with (
        portal_on(again, tmp_path / "p") as second,
        second.client(cookies=cookies) as client,
    ):
        await eventually(lambda: client.get("/health/ready"), lambda a: a.status_code == 200)
        mine = (await client.get("/api/experiments/user")).json()
    assert len(mine["experiments"]) == 1
