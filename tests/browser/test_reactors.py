"""Reactors: emergency stop, manual control and the past, as people use them."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.support.system import System, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(300)]
NODE = "/nodes/reactor-2"


@pytest.fixture(autouse=True)
def free(system: System) -> Iterator[None]:
    """Leave the reactors as they were: released, and held by nobody."""
    yield
    for name in ("reactor-1", "reactor-2"):
        report = system.http.get(f"/api/nodes/{name}").json()["report"]
        if report["estop"]:
            system.http.post(f"/api/nodes/{name}/estop-release")
        if report["manual"]:
            system.http.post(f"/api/nodes/{name}/manual-end")
        wait_for("a free reactor", partial(accepts, system, name))


def accepts(system: System, node: str) -> bool:
    return bool(system.http.get(f"/api/nodes/{node}").json()["report"]["accepts"])


UNCHECKED: Final = """(form, value) => {
    form.noValidate = true;
    form.elements.value.value = value;
    form.requestSubmit();
}"""
"""Sends a form with what the browser itself would refuse, before news can replace the form."""


def by_hand(page: Page, channel: str, value: float) -> None:
    field = page.locator(f"form[data-api$='/command/{channel}'] input[name=value]")
    field.fill(str(value))
    field.press("Enter")


@pytest.mark.complaints("422")
def test_a_reactor_is_set_by_hand_and_made_safe(
    system: System, visit: Visit, accessible: Callable[[Page], None]
) -> None:
    page, other = visit(), visit()
    page.goto(NODE)
    other.goto(NODE)
    manual = page.locator("#manual")
    expect(manual).to_contain_text("Nobody holds the reactor")
    accessible(page)
    by_hand(page, "stirring", 300)
    for seen in (page, other):
        expect(seen.locator("#manual")).to_contain_text("Everything goes to its safe state in")
        expect(seen.locator("#manual [data-until]")).to_have_text(re.compile(r"^\d+:\d\d$"))
        expect(seen.locator("#node-head")).to_contain_text("held by hand")
    expect(page.locator("[data-value='reactor-2/stirring']")).to_have_text(re.compile("^300"))
    accessible(page)
    # Another administrator may go on, and everybody sees who holds it now.
    by_hand(other, "stirring", 500)
    someone = other.locator(".who bdi").text_content() or "nobody"
    expect(page.locator("#manual header")).to_contain_text(someone)
    # What goes beyond the limits is refused by the node, in its own words.
    beyond = page.locator("form[data-api$='/command/stirring']")
    beyond.evaluate(UNCHECKED, "1000000")
    expect(page.locator(".toast.bad")).to_contain_text("Stirring")
    manual.get_by_role("button", name="End and make safe").click()
    expect(manual).to_contain_text("Nobody holds the reactor")
    expect(page.locator("[data-value='reactor-2/stirring']")).to_have_text(re.compile(r"^0(\.0)?$"))


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[System]:
    """A system whose reactor takes its real time: a dose lasts."""
    with System.start(tmp_path, "--runner", "docker", "--speed", "1") as running:
        yield running


def test_a_command_that_fails_after_it_was_accepted_is_told(
    slow: System, visit: Visit, accessible: Callable[[Page], None]
) -> None:
    page = visit(slow.ready["portal"])
    page.goto("/nodes/reactor-1")
    elsewhere = page.context.new_page()
    elsewhere.goto("/queue")
    expect(elsewhere.locator("#link")).to_have_text("Live")
    field = page.locator("form[data-api$='/command/media'] input[name=dose_ml]")
    field.fill("2")
    field.press("Enter")
    expect(page.locator(".toast")).to_contain_text("is dosing")
    assert slow.http.post("/api/nodes/reactor-1/estop").status_code == 200
    for place in (page.locator("#manual"), elsewhere.locator("#banners")):
        expect(place).to_contain_text(re.compile("Fresh medium on .*: your command failed"))
    expect(page.locator("#banners")).not_to_contain_text("your command failed")
    for seen in (page, elsewhere):
        expect(seen.locator(".toast.bad")).to_contain_text("Fresh medium on ")
        expect(seen.locator(".toast.bad .hint")).not_to_be_empty()
    accessible(page)
    accessible(elsewhere)
    # Whoever has no scripts sees it on the next page.
    cookies = page.context.storage_state()
    plain = visit(slow.ready["portal"], java_script_enabled=False, storage_state=cookies)
    plain.goto("/")
    expect(plain.locator("#banners")).to_contain_text("your command failed")
    elsewhere.get_by_role("button", name=re.compile("^Read: ")).click()
    expect(elsewhere.locator("#banners")).not_to_contain_text("your command failed")
    page.reload()
    expect(page.locator("#manual")).not_to_contain_text("your command failed")
    plain.reload()
    expect(plain.locator("#banners")).not_to_contain_text("your command failed")


def test_an_emergency_stop_is_unmistakable_and_released_with_a_reason(
    system: System, visit: Visit, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    page.goto(NODE)
    page.locator("#estop").get_by_role("button", name="Emergency stop").click()
    page.keyboard.press("Enter")  # the button that stops has the focus
    band = page.locator("#estop.latched")
    expect(band).to_contain_text("Emergency stop is latched")
    expect(page.locator("#banners")).to_contain_text("Emergency stop on")
    expect(page.locator("#manual")).to_contain_text("Nothing can be set")
    accessible(page)
    band.get_by_label("Why it is safe again").fill("only a drill")
    band.get_by_role("button", name="Release").click()
    page.get_by_role("button", name="Release it").click()
    expect(page.locator("#estop.latched")).to_have_count(0)
    expect(page.locator("#banners")).not_to_contain_text("Emergency stop on")
    # The record says so, as soon as the hub has it.
    wait_for("the record", lambda: page.reload() and "released by" in page.content())
    expect(page.locator("#alarm-log")).to_contain_text("only a drill")


def test_all_reactors_stop_without_javascript(system: System, visit: Visit) -> None:
    page = visit(java_script_enabled=False)
    page.goto("/nodes")
    page.get_by_role("button", name="Stop all reactors").click()
    expect(page.locator("body")).to_contain_text("all 2 reactors are stopped")
    expect(page.locator("#reactors")).to_contain_text("emergency stop")
    for name in ("reactor-1", "reactor-2"):
        assert system.http.get(f"/api/nodes/{name}").json()["report"]["estop"]


def test_the_past_of_a_reactor_is_charted(system: System, visit: Visit) -> None:
    page = visit()
    page.goto(NODE)
    page.locator("#history").scroll_into_view_if_needed()
    expect(page.locator("#board .uplot").first).to_be_visible()
    page.locator("#windows").get_by_role("button", name="7 d").click()
    expect(page.locator("#windows [aria-pressed=true]")).to_have_text("7 d")
    expect(page.locator("#board .uplot").first).to_be_visible()
