"""Who was refused stands in the portal's log, without what they tried it with."""

import time
from pathlib import Path

import httpx
import pytest
import websockets

from portal.refusals import BURST, LINES_PER_SECOND, Refusals
from tests.support.brokers import Connector
from tests.support.fake_hub import FakeHub
from tests.support.portal import SESSION, Portal, eventually, portal_on

PASSWORD = "correct horse"


def refused(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines about refusals, and forget them."""
    lines = [r.getMessage() for r in caplog.records if r.name == "portal.refusals"]
    caplog.clear()
    return lines


async def test_each_refusal_is_logged_without_secrets(
    connect: Connector, hub: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"admin": "login", "admin_password": PASSWORD}
    async with portal_on(await connect("portal"), tmp_path / "p", **options) as portal:
        async with portal.client(headers={"Origin": portal.url, "Accept": "text/html"}) as browser:
            await eventually(lambda: browser.get("/health/ready"), lambda a: a.status_code == 200)
            assert (await browser.get("/")).status_code == 200
            assert refused(caplog) == []
            await browser.post("/login", data={"password": "guessed-password"})
            (line,) = refused(caplog)
            assert "POST '/login', asked by 127.0.0.1" in line
            assert "guessed-password" not in line
            await browser.post("/queue/pause")
            assert "POST '/queue/pause'" in refused(caplog)[0], "for administrators"
            await browser.post("/login", data={"password": PASSWORD})
            assert refused(caplog) == []
            cookie = browser.cookies["bioreactor_session"]
            evil = {"Origin": "https://evil.example"}
            await browser.post("/queue/pause", headers=evil)
            (line,) = refused(caplog)
            assert "'https://evil.example'" in line
            assert cookie not in line
        async with portal.client() as stranger:
            token = "bio_" + "x" * 40
            await stranger.get("/api/queue/status", headers={"Authorization": f"Bearer {token}"})
            (line,) = refused(caplog)
            assert "GET '/api/queue/status'" in line
            assert token not in line
            await stranger.get("/", headers={"Host": "evil.example"})
            assert "for 'evil.example'" in refused(caplog)[0]
            await stranger.get("/a%0Ab", headers=[(b"Host", "evil.example\u2028".encode())])
            assert not set("\n\u2028") & set(refused(caplog)[0])
        with pytest.raises(websockets.InvalidStatus):
            async with websockets.connect(portal.ws, origin="https://evil.example"):  # type: ignore[arg-type]
                pass
        assert "WebSocket '/ws'" in refused(caplog)[0]


async def test_who_asks_again_and_again_does_not_fill_the_disk(
    portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = 0.0
    app = Refusals(portal.app, now=lambda: seconds)
    transport = httpx.ASGITransport(app)
    url = "http://evil.example"
    async with httpx.AsyncClient(transport=transport, base_url=url, headers=SESSION) as client:
        caplog.clear()
        begun = time.monotonic()
        for _ in range(200):
            assert (await client.get("/")).status_code == 421
        took = time.monotonic() - begun
        ours = [line for line in refused(caplog) if "'evil.example'" in line]
        seconds = 10.0
        await client.get("/")
        last = refused(caplog)
    # This one's, and those of the portal around which it stands, whose time goes on meanwhile.
    assert len(ours) <= 2 * BURST + took * LINES_PER_SECOND
    assert any(f"and {200 - BURST:.0f} more" in line for line in last)
