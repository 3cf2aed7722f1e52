"""Through the portal of a real hub: names and notes, undo, the audit, tokens for scripts."""

import html as html_module
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from broker.embedded import Kind
from broker.messages import Status
from hub_service.settings import HubSettings
from tests.integration.hub.conftest import Site, unknown_id
from tests.integration.hub.doors import CommandLineDoor
from tests.support.portal import OTHER_SESSION, SESSION, Portal, portal_on
from tests.support.waiting import eventually

SCRIPT = "print('hello')\n"
PASSWORD = "long enough"


@pytest.fixture
def broker_kind() -> Kind:
    """Nothing here depends on the broker."""
    return "mosquitto"


@pytest.fixture
async def portal(site: Site) -> AsyncIterator[Portal]:
    await site.start_hub(settings=HubSettings(data_dir=site.path / "hub", open=False))
    connection = await site.connect("portal")
    async with portal_on(
        connection, site.path / "portal", admin="login", admin_password=PASSWORD
    ) as running:
        yield running


@pytest.fixture
async def people(portal: Portal) -> AsyncIterator[tuple[httpx.AsyncClient, ...]]:
    """Yield an owner, somebody else, and an administrator."""
    async with AsyncExitStack() as stack:
        own = {"Origin": portal.url}
        owner, other, admin = [
            await stack.enter_async_context(portal.client(headers=headers))
            for headers in (SESSION, OTHER_SESSION, own)
        ]
        await eventually_ready(owner)
        await admin.get("/login")
        logged_in = await admin.post("/login", data={"password": PASSWORD})
        assert logged_in.status_code == 303
        yield owner, other, admin


async def eventually_ready(client: httpx.AsyncClient) -> None:
    for _ in range(1000):
        if (await client.get("/health/ready")).status_code == 200:
            return
    raise AssertionError("the portal does not become ready")


async def said(answer: httpx.Response, code: int = 200) -> Any:
    assert answer.status_code == code, answer.text
    return answer.json()


async def test_a_name_a_note_a_deletion_and_its_undo(
    site: Site, people: tuple[httpx.AsyncClient, ...]
) -> None:
    owner, other, admin = people
    watcher = await site.watcher()
    started = await owner.post("/api/experiments/start", json={"script_content": SCRIPT})
    one = (await said(started))["experiment_id"]
    path = f"/api/experiments/{one}"

    await said(await owner.patch(path, json={"name": "Flask 7", "note": "the blue one"}))
    shown = await watcher.until(one, lambda e: e.name == "Flask 7")
    assert (shown.status, shown.edition, shown.note) == (Status.QUEUED, 1, "")
    assert (await said(await owner.get(path)))["experiment"]["note"] == "the blue one"
    crossed = await said(await owner.patch(path, json={"note": "unseen", "edition": 0}), 409)
    assert crossed["error"]["details"]["note"] == "the blue one"
    await said(await other.patch(path, json={"name": "mine"}), 403)
    await said(await owner.patch(path, json={"name": "\u202ea"}), 400)
    await said(await owner.patch(path, json={"note": "a\x00b"}), 400)

    await said(await owner.delete(path), 409)
    await said(await owner.post(f"{path}/cancel"))
    assert site.hub is not None
    hub = site.hub
    await eventually(lambda: one not in hub.store.state.entries)
    await said(await admin.patch(path, json={"note": "contaminated", "edition": 1}))
    await watcher.until(one, lambda e: e.edition == 2 and e.status.finished)
    found = await said(await owner.get("/api/experiments/user?search=CONTAMIN&sort=name"))
    assert [e["experiment_id"] for e in found["experiments"]] == [one]

    await said(await other.delete(path), 403)
    deleted = await said(await owner.delete(path))
    assert deleted["undo_seconds"] >= 60
    await said(await owner.get(path), 404)
    assert (await said(await owner.get("/api/experiments/user")))["total"] == 0
    await eventually(lambda: watcher.experiments[one] is None)
    await site.stop_hub()
    await site.start_hub(settings=HubSettings(data_dir=site.path / "hub", open=False))
    await said(await owner.post(f"{path}/restore"))
    assert (await said(await owner.get(path)))["experiment"]["note"] == "contaminated"
    assert (await watcher.until(one, lambda e: e.edition == 2)).note == "", "as it is not open"

    told = await said(await owner.get(f"/api/audit?experiment={one}"))
    verbs = [(e["verb"], e["outcome"]) for e in told["entries"]]
    assert verbs[0] == ("restore", "done")
    assert verbs[-1] == ("submit", "done")
    verbs_crossed = ("annotate", "CHANGED_MEANWHILE")
    assert {e["name"] for e in told["entries"]} == {"Flask 7"}
    mine = next(e for e in told["entries"] if (e["verb"], e["outcome"]) == verbs_crossed)
    assert "meanwhile" in mine["message"]
    everybody = await said(await other.get("/api/audit?limit=2"))
    assert everybody["next"] is not None
    assert all(not e["details"] and e["user"] is None for e in everybody["entries"])
    following = await said(await other.get(f"/api/audit?before={everybody['next']}"))
    assert following["entries"][0]["n"] < everybody["entries"][-1]["n"]
    full = await said(await admin.get(f"/api/audit?experiment={one}"))
    assert full["entries"][-1]["details"]["plan"]["experiment_id"] == one


async def test_a_token_admits_until_it_is_revoked(
    site: Site, portal: Portal, people: tuple[httpx.AsyncClient, ...], caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    owner, _, admin = people
    await said(await owner.post("/api/tokens", json={"name": "mine"}), 403)
    await said(await owner.get("/api/tokens"), 403)
    made = await said(await admin.post("/api/tokens", json={"name": "Plate reader"}))
    strong = await said(
        await admin.post("/api/tokens", json={"name": "Robot", "role": "administrator"})
    )
    past = {"name": "Late", "expires_on": "2020-01-01T00:00:00Z"}
    await said(await admin.post("/api/tokens", json=past), 400)
    async with portal.client(headers={"Authorization": f"Bearer {made['token']}"}) as script:
        started = await script.post("/api/experiments/start", json={"script_content": SCRIPT})
        one = (await said(started))["experiment_id"]
        experiment = (await said(await script.get(f"/api/experiments/{one}/status")))["experiment"]
        assert experiment["owner"] == "Plate reader"
        await said(await script.post("/api/queue/pause"), 403)
        headers = {"Authorization": f"Bearer {strong['token']}"}
        await said(await script.post("/api/queue/pause", headers=headers))
        listed = await said(await admin.get("/api/tokens"))
        assert [t["name"] for t in listed["tokens"]] == ["Plate reader", "Robot"]
        await said(await admin.delete(f"/api/tokens/{made['token_id']}"))
        refused = await script.get("/api/experiments/user")
        assert (await said(refused, 401))["error"]["code"] == "UNAUTHENTICATED"
        assert refused.headers["www-authenticate"] == "Bearer"
        await said(await script.get("/api/queue/status", headers=headers))
    forged = made["token"][:-2] + "xx"
    for text in ("nonsense", forged):
        answer = await owner.get("/api/queue/status", headers={"Authorization": f"Bearer {text}"})
        await said(answer, 401)
    basic = await owner.get("/api/queue/status", headers={"Authorization": "Basic eDp5"})
    await said(basic)  # a proxy's: not for us
    kept = b"".join(p.read_bytes() for p in (site.path / "hub").rglob("*") if p.is_file())
    for text in (made["token"], strong["token"]):
        assert text not in caplog.text
        assert text.encode() not in kept
    audited = await said(await admin.get("/api/audit"))
    assert {"create-token", "revoke-token"} <= {e["verb"] for e in audited["entries"]}
    public = await said(await owner.get("/api/audit"))
    assert not {"create-token", "revoke-token"} & {e["verb"] for e in public["entries"]}


async def test_my_experiments_without_scripts(
    site: Site, people: tuple[httpx.AsyncClient, ...]
) -> None:
    """All of it as forms and links: order, pages, name and note, undo, compare, run again."""
    owner, other, admin = people
    assert site.hub is not None
    hub = site.hub
    html = {"Accept": "text/html"}
    script = (
        '# /// script\n# [tool.bioreactor.parameters]\n# target = {default = 1}\n# ///\n"<&>"\n'
    )
    ids = []
    for name, target in (("Beta", 2), ("alpha", 3), ("Gamma", 3)):
        body = {"script_content": script, "name": name, "parameters": {"target": target}}
        started = await owner.post("/api/experiments/start", json=body)
        ids.append((await said(started))["experiment_id"])
        await said(await owner.post(f"/api/experiments/{ids[-1]}/cancel"))
    await eventually(lambda: not hub.store.state.entries)

    async def page(path: str, code: int = 200, by: httpx.AsyncClient = owner) -> str:
        answer = await by.get(path, headers=html)
        assert answer.status_code == code, answer.text
        return answer.text

    def order(text: str) -> list[str]:
        return re.findall(r'id="run-(\w+)"', text)

    first, second, third = ids
    assert order(await page("/my-experiments")) == [third, second, first]
    sorted_link = re.search(r'href="([^"]*sort=name[^"]*)"', await page("/my-experiments"))
    assert sorted_link is not None
    by_name = html_module.unescape(sorted_link[1])
    assert order(await page(by_name)) == [second, first, third]
    assert order(await page("/my-experiments", by=other)) == []
    assert order(await page("/my-experiments?scope=all&search=amm", by=other)) == []
    assert order(await page("/my-experiments?scope=all&search=amm", by=admin)) == [third]
    assert "Nothing matches" in await page("/my-experiments?period=day&node=reactor-9")
    await page("/my-experiments?before=nonsense", 400)

    edit = await page(f"/experiment/{first}/annotate")
    assert 'name="edition" value="0"' in edit
    path = f"/experiment/{first}/annotate"
    fields = {"name": "Beta", "note": "<b>blue</b>\r\nflask", "edition": "0", "back": by_name}
    saved = await owner.post(path, data=fields, headers=html)
    assert (saved.status_code, saved.headers["location"]) == (303, by_name)
    assert "&lt;b&gt;blue&lt;/b&gt;\nflask" in await page("/my-experiments")
    crossed = await owner.post(path, data={**fields, "name": "Mine"}, headers=html)
    assert crossed.status_code == 409
    assert 'value="Mine"' in crossed.text
    assert 'name="edition" value="1"' in crossed.text
    came = {**html, "Referer": f"{owner.base_url}/experiment/{first}"}
    from_there = await owner.get(path, headers=came)
    assert f'name="back" value="/experiment/{first}"' in from_there.text
    elsewhere = {**fields, "edition": "1", "back": "https://elsewhere.example/"}
    saved = await owner.post(path, data=elsewhere, headers=html)
    assert saved.headers["location"] == "/my-experiments"
    bad = await owner.post(path, data={**fields, "name": ""}, headers=html)
    assert bad.status_code == 400

    both = await page(f"/compare?ids={first},{second}&ids={third}")
    assert re.findall(r'data-run="(\w+)"', both) == [first, second, third]
    assert '<tr class="differs">' in both
    assert "Choose two or more" in await page(f"/compare?ids={first}")
    assert "does not exist any more" in await page(f"/compare?ids={first},{unknown_id()},{second}")
    theirs = await page(f"/compare?ids={first},{second}", by=other)
    assert "2 of the experiments belong to somebody else" in theirs
    assert "data-run" not in theirs, "it would ask for their curves again and again"
    again = await page(f"/upload?from={second}")
    assert 'name="param.target" value="3"' in again
    assert 'value="alpha"' in again
    assert "&#34;&lt;&amp;&gt;&#34;" in again
    await page(f"/upload?from={second}", 403, by=other)

    gone = await owner.post("/my-experiments/delete", data={"ids": [first, second]}, headers=html)
    assert gone.headers["location"] == f"/my-experiments?deleted={first}&deleted={second}"
    left = await page(gone.headers["location"])
    assert order(left) == [third]
    assert 'id="undo"' in left
    back = await owner.post("/my-experiments/restore", data={"ids": [first, second]}, headers=html)
    assert back.status_code == 303
    assert order(await page("/my-experiments")) == [third, second, first]
    foreign = await other.post("/my-experiments/delete", data={"ids": [first]}, headers=html)
    assert foreign.headers["location"] == "/my-experiments"
    assert order(await page("/my-experiments")) == [third, second, first]


async def test_the_command_line_tells_who_did_what(site: Site) -> None:
    await site.start_hub()
    alice = await site.person("alice")
    one = (await alice.submit()).experiment_id
    door = CommandLineDoor(site.broker.settings_for("admin"), site.path)
    assert await door.run(["annotate", one]) == ("MALFORMED", {})
    code, done = await door.run(["annotate", one, "--note", "seen by admin", "--admin"])
    assert (code, done["edition"]) == ("", 1)
    code, told = await door.run(["audit", one, "--admin"])
    assert [(e["verb"], e["by"]) for e in told["entries"]] == [
        ("annotate", "admin"),
        ("submit", "alice"),
    ]
    assert told["entries"][0]["details"]["request"]["note"] == "seen by admin"
    _, public = await door.run(["audit", one])
    assert not public["entries"][1].get("principal")
    shown = await door.text(["audit"])
    assert "annotate" in shown
    assert "alice" in shown
