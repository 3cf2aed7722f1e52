"""The administrators' pages and what they post, before a small hub."""

import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from broker.messages import (
    AuditEntry,
    Due,
    Limits,
    ReadAudit,
    Retention,
    UserInfo,
    utc_now,
)
from tests.support.brokers import Connector
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import Portal, eventually, portal_on, shows

HTML = {"Accept": "text/html"}
PATHS = ("/admin", "/admin/users", "/admin/retention", "/admin/tokens", "/admin/audit")
PASSWORD = "correct horse"


@pytest.fixture
async def browser(portal: Portal) -> AsyncIterator[httpx.AsyncClient]:
    headers = {**HTML, "Origin": portal.url, "Sec-Fetch-Site": "same-origin"}
    async with portal.client(headers=headers) as client:
        yield client


@pytest.fixture
async def locked(connect: Connector, hub: FakeHub, tmp_path: Path) -> AsyncIterator[Portal]:
    """A portal whose administrators log in."""
    connection = await connect("portal")
    async with portal_on(
        connection, tmp_path / "locked", admin="login", admin_password=PASSWORD
    ) as running:
        async with running.client() as client:
            await eventually(
                lambda: client.get("/health/ready"), lambda answer: answer.status_code == 200
            )
        yield running


async def test_everybody_may_look_where_that_is_the_setting(
    browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    for path in PATHS:
        page = await browser.get(path)
        assert page.status_code == 200, path
        assert "Everybody here may do this" in page.text
        assert "Log out" not in page.text


async def test_only_who_logged_in_sees_and_does_anything(locked: Portal, hub: FakeHub) -> None:
    headers = {**HTML, "Origin": locked.url, "Sec-Fetch-Site": "same-origin"}
    async with locked.client(headers=headers) as browser:
        for path in PATHS:
            answer = await browser.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/login"), path
        for path in ("/admin/limits", "/admin/users", "/admin/retention", "/admin/tokens"):
            answer = await browser.post(path, data={"name": "x", "days": "3", "user": "mqtt:ada"})
            assert answer.status_code == 403, path
        for path in ("/api/admin/users", "/api/admin/storage", "/api/admin/retention?days=3"):
            assert (await browser.get(path)).status_code == 403, path
        assert hub.asked == []
        before = browser.cookies["bioreactor_session"]
        assert (await browser.post("/login", data={"password": "wrong"})).status_code == 403
        answer = await browser.post("/login", data={"password": PASSWORD})
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin")
        rights = browser.cookies["bioreactor_session"]
        assert rights != before
        assert "Log out" in (await browser.get("/admin")).text
        assert (await browser.post("/logout")).status_code == 303
        assert (await browser.get("/admin")).status_code == 303
    # The session of before the login, which somebody may have planted, has no rights.
    async with locked.client(headers=headers, cookies={"bioreactor_session": before}) as planted:
        assert (await planted.get("/admin")).status_code == 303


async def test_guessing_passwords_is_slow(locked: Portal, hub: FakeHub) -> None:
    headers = {**HTML, "Origin": locked.url}
    async with locked.client(headers=headers) as browser:
        codes = [
            (await browser.post("/login", data={"password": f"guess {n}"})).status_code
            for n in range(8)
        ]
        assert codes[:5] == [403] * 5
        assert codes[-1] == 429
        assert (await browser.post("/login", data={"password": PASSWORD})).status_code == 429


async def test_limits_of_all_and_of_one(browser: httpx.AsyncClient, hub: FakeHub) -> None:
    hub.users = (
        UserInfo(
            user="web:abcdefgh", owner="<b>heron</b>", queued=1, running=2, paused=0, completed=31,
            failed=4, cancelled=5, limit=7, excepted=True, last_submitted=utc_now(),
        ),
    )  # fmt: skip
    page = await browser.get("/admin/users")
    assert "&lt;b&gt;heron&lt;/b&gt;" in page.text
    assert "31" in page.text
    assert "As everybody" in page.text
    for path, fields in (
        ("/admin/limits", {"per_user": "3", "max_hours": "24", "max_pause_hours": "12"}),
        ("/admin/users", {"user": "web:abcdefgh", "per_user": "9"}),
        ("/admin/users", {"user": "web:abcdefgh"}),
    ):
        assert (await browser.post(path, data=fields)).status_code == 303
    asked = [a.request for a in hub.asked if isinstance(a.request, Limits)]
    said = [(r.user, r.per_user, r.max_duration, r.max_pause) for r in asked]
    assert said == [
        (None, 3, 86400.0, 43200.0),
        ("web:abcdefgh", 9, None, None),
        ("web:abcdefgh", None, None, None),
    ]
    for fields in ({"user": "x", "per_user": "9"}, {"user": "mqtt:ada", "per_user": "0"}):
        assert (await browser.post("/admin/users", data=fields)).status_code == 400
    assert (await browser.post("/admin/limits", data={"per_user": "many"})).status_code == 400


async def test_retention_says_what_it_deletes_before_it_does(
    browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    hub.due = (12, datetime(2025, 1, 2, tzinfo=UTC))
    asked = await browser.post("/admin/retention", data={"days": "30"})
    assert asked.status_code == 200
    assert "12 experiments are deleted now" in asked.text
    assert "2025-01-02" in asked.text
    assert [type(a.request) for a in hub.asked] == [Due]
    sure = {"days": "30", "sure": "yes"}
    assert (await browser.post("/admin/retention", data=sure)).status_code == 303
    assert (await browser.post("/admin/retention", data={"days": ""})).status_code == 303
    said = [a.request.days for a in hub.asked if isinstance(a.request, Retention)]
    assert said == [30, None]


async def test_a_token_is_shown_once_and_works_until_it_is_revoked(
    portal: Portal, browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    fields = {"name": "Plate <reader>", "role": "administrator", "days": "30"}
    made = await browser.post("/admin/tokens", data=fields)
    assert made.status_code == 201
    text = re.search(r'id="token-text">([^<]+)<', made.text)
    assert text is not None
    assert f"Authorization: Bearer {text[1]}" in made.text.replace("&#34;", '"')
    (token,) = hub.tokens
    assert "data-still" in made.text  # a reload would make another one
    listed = await browser.get("/admin/tokens")
    assert "data-still" not in listed.text
    assert text[1] not in listed.text
    assert "Plate &lt;reader&gt;" in listed.text
    bearer = {"Authorization": f"Bearer {text[1]}"}
    async with portal.client(headers=bearer) as script:
        assert (await script.get("/api/admin/storage")).status_code == 200
        path = f"/admin/tokens/{token.token_id}/revoke"
        assert "Revoke the token" in (await browser.post(path)).text
        assert (await browser.post(path, data={"sure": "yes"})).status_code == 303
        assert (await script.get("/api/admin/storage")).status_code == 401
    assert (await browser.post(path)).status_code == 404
    for wrong in ({"name": ""}, {"name": "x", "days": "99999999999"}, {"name": "x", "days": "x"}):
        assert (await browser.post("/admin/tokens", data=wrong)).status_code == 400


async def test_the_audit_is_filtered_and_exported(browser: httpx.AsyncClient, hub: FakeHub) -> None:
    hub.audit = tuple(
        AuditEntry(
            n=n, at=utc_now(), by="=cmd()" if n == 250 else "ada", verb="move", outcome="done",
            message="two\nlines", user="mqtt:ada", details={"request": {"before": "B" * 500}},
        )
        for n in range(250, 0, -1)
    )  # fmt: skip
    page = await browser.get("/admin/audit?who=ada&verb=move")
    assert "ada</bdi> moved" in page.text
    assert "before=201" in page.text
    (asked,) = [a.request for a in hub.asked if isinstance(a.request, ReadAudit)]
    assert (asked.who, asked.verb) == ("ada", "move")
    assert shows(await browser.get("/queue"), "Who did what")
    assert shows(await browser.get("/admin/audit?experiment=nonsense"), "does not exist")
    export = await browser.get("/admin/audit.csv?who=ada")
    assert export.headers["content-type"].startswith("text/csv")
    assert "attachment" in export.headers["content-disposition"]
    lines = list(csv.DictReader(io.StringIO(export.text, newline="")))
    assert [line["number"] for line in lines] == [str(n) for n in range(250, 0, -1)]
    assert lines[0]["who"] == "'=cmd()"
    assert lines[1]["message"] == "two\nlines"


async def test_how_it_is_in_plain_words(
    browser: httpx.AsyncClient, hub: FakeHub, node: FakeNode
) -> None:
    page = await eventually(
        lambda: browser.get("/admin"), lambda answer: "1 of 1 are online" in answer.text
    )
    assert "Both are there and answer" in page.text
    assert "They differ: portal" in page.text  # the small hub is of version "test"
    await browser.post("/queue/pause")
    assert re.search(r"It is paused(: [^.<]+)?\.<", (await browser.get("/admin")).text)
    hub.free = 1000
    page = await browser.get("/admin")
    assert "disk is full: nothing new is queued" in page.text
    await hub.say("offline")
    page = await eventually(
        lambda: browser.get("/admin"), lambda answer: "The hub is offline since" in answer.text
    )
    assert page.status_code == 200
    for path in PATHS:
        assert (await browser.get(path)).status_code == 200, path
