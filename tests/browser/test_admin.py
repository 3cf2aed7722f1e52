"""The administrators' pages on a running system."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.support.system import System

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(300)]


def test_the_laboratory_is_looked_after(
    visit: Visit, system: System, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    page.goto("/admin")
    expect(page.locator("#health")).to_contain_text("Both are there and answer")
    expect(page.locator("#health")).to_contain_text(re.compile(r"are free on the hub's disk"))
    accessible(page)
    page.get_by_role("button", name=re.compile("^Drain .*2")).click()
    expect(page.locator("#admin-nodes")).to_contain_text("Drained by")
    page.get_by_role("button", name=re.compile("^Give .* back")).click()
    expect(page.locator("#admin-nodes")).not_to_contain_text("Drained by")

    page.get_by_role("link", name="People and limits").click()
    limit = page.get_by_label("Unfinished experiments of a person")
    before = limit.input_value()
    limit.fill("4")
    page.get_by_role("button", name="Change limits").click()
    expect(page.locator(".banner.good")).to_contain_text("4 experiments a user")
    assert system.http.get("/api/queue/status").json()["limits"]["per_user"] == 4
    limit.fill(before)
    page.get_by_role("button", name="Change limits").click()
    expect(limit).to_have_value(before)
    accessible(page)

    page.get_by_role("link", name="Keeping").click()
    accessible(page)
    page.get_by_label("Delete them after so many days").fill("365")
    page.get_by_role("button", name="Look what that means").click()
    expect(page.locator("main")).to_contain_text("nothing is deleted now")
    page.get_by_role("link", name="Back").click()
    assert system.http.get("/api/queue/status").json()["limits"]["keep_days"] is None

    page.get_by_role("link", name="Audit").click()
    page.get_by_label("What", exact=True).select_option("limits")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#audit li").first).to_contain_text("changed limits")
    expect(page.locator("#audit")).to_contain_text("per user: 4")
    accessible(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.path().read_text().splitlines()[1].split(",")[3] == "limits"


def test_a_script_is_admitted_by_a_token(
    visit: Visit, system: System, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/admin/tokens")
    page.get_by_label("What it is for").fill("Plate reader")
    page.get_by_role("button", name="Make it").click()
    token = page.locator("#token-text").inner_text()
    accessible(page)
    page.get_by_role("button", name="Copy").first.click()
    expect(page.locator("#toasts")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == token
    bearer = {"Authorization": f"Bearer {token}"}
    assert system.http.get("/api/experiments/user", headers=bearer).status_code == 200
    page.goto("/admin/tokens")
    assert token not in page.content()
    page.get_by_role("button", name="Revoke Plate reader").click()
    page.get_by_role("button", name="Revoke it").click()
    expect(page.locator("main")).to_contain_text("There are none")
    assert system.http.get("/api/experiments/user", headers=bearer).status_code == 401


def test_the_pages_work_without_javascript_on_a_phone(visit: Visit) -> None:
    page = visit(java_script_enabled=False, viewport={"width": 390, "height": 844})
    for path in ("/admin", "/admin/users", "/admin/retention", "/admin/tokens", "/admin/audit"):
        page.goto(path)
        expect(page.locator("h1")).to_have_text("Administration")
        width = page.locator("main").bounding_box()
        assert width is not None
        assert width["width"] <= 390, path
    page.goto("/admin/users")
    page.goto("/admin/tokens")
    page.get_by_label("What it is for").fill("Night watch")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("#token-text")).to_contain_text("bioreactor_")
    page.get_by_role("button", name="Revoke Night watch").click()
    page.get_by_role("button", name="Revoke it").click()
    expect(page.locator("main")).to_contain_text("There are none")
