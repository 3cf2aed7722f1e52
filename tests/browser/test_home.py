"""Home, and what every page has: the tab, keys, what is said without a connection."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.support.system import System, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(300)]

FOREVER = """\
# /// script
# [tool.bioreactor]
# duration = "20 h"
# ///
from bioreactor import experiment
for _ in experiment.every(seconds=60):
    pass
"""


@pytest.fixture(autouse=True)
def emptied(system: System) -> Iterator[None]:
    """Leave the queue empty."""
    yield
    queue = system.http.get("/api/queue/status").json()
    for entry in (*queue["running"], *queue["queue"]):
        system.http.post(f"/api/experiments/{entry['experiment_id']}/cancel")
        system.wait_status(entry["experiment_id"], "cancelled")


def stopped(system: System, node: str) -> bool:
    return bool(system.http.get(f"/api/nodes/{node}").json()["report"]["estop"])


def test_the_first_experiment_takes_one_click_each_step(
    visit: Visit, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    page.goto("/")
    expect(page.get_by_role("heading", name="Your first experiment")).to_be_visible()
    accessible(page)
    page.get_by_role("link", name="Growth curve").click()
    expect(page.locator("#verdict")).to_contain_text(re.compile("Nothing wrong|It can run"))
    page.get_by_label("hours", exact=True).fill("0.1")
    page.get_by_role("button", name="Queue the experiment").click()
    page.wait_for_url(re.compile(r"/experiment/[0-9A-Z]{26}$"))
    page.goto("/")
    expect(page.locator("#mine")).to_contain_text("Growth curve")
    expect(page.get_by_role("heading", name="Your first experiment")).to_have_count(0)


def test_a_first_experiment_of_mine_appears_by_itself(visit: Visit) -> None:
    page = visit()
    page.goto("/")
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator("#mine")).to_be_hidden()
    page.evaluate(
        """script => fetch('/api/experiments/start', {method: 'POST',
            headers: {'Content-Type': 'application/json'},
            body: JSON.stringify({script_content: script, name: 'the first of mine'})})""",
        FOREVER,
    )
    expect(page.locator("#mine")).to_contain_text("the first of mine")
    expect(page.locator("#first")).to_be_hidden()


def test_nothing_is_called_free_where_nothing_starts(visit: Visit, system: System) -> None:
    page = visit()
    page.goto("/")
    expect(page.locator("#queue-short")).to_contain_text("is free: what it can run starts at once")
    for node in ("reactor-1", "reactor-2"):
        system.http.post(f"/api/nodes/{node}/estop", json={"reason": "a test"})
    try:
        expect(page.locator("#queue-short")).to_contain_text("An emergency stop is engaged")
        expect(page.locator("#reactors")).not_to_contain_text("free")
        expect(page).to_have_title(re.compile("^⚠"))
        icon = page.locator("link[rel=icon][type='image/svg+xml']")
        expect(icon).to_have_attribute("href", re.compile("favicon-alarm"))
    finally:
        for node in ("reactor-1", "reactor-2"):
            wait_for("the stop", lambda: stopped(system, node))  # noqa: B023 - awaited here
            system.http.post(f"/api/nodes/{node}/estop-release")
    expect(page.locator("#queue-short")).to_contain_text("is free")
    system.http.post("/api/queue/pause")
    try:
        expect(page.locator("#queue-short")).to_contain_text("The queue is paused")
        expect(page.locator("#reactors")).not_to_contain_text("free")
    finally:
        system.http.post("/api/queue/resume")
    expect(page.locator("#queue-short")).to_contain_text("is free")


def test_what_runs_and_what_waits(
    visit: Visit, system: System, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    page.goto("/")
    for n in range(3):
        system.start_experiment(FOREVER, name=f"Number {n}")
    expect(page.locator("#reactors")).to_contain_text("Number 0")
    expect(page.locator("#reactors")).to_contain_text("simulated")
    expect(page.locator("#queue-short")).to_contain_text("Number 2")
    expect(page.locator("#queue-short")).to_contain_text("starts about")
    expect(page).to_have_title("2 running · Bioreactor")
    accessible(page)


def test_keys_lead_from_page_to_page(visit: Visit, accessible: Callable[[Page], None]) -> None:
    page = visit()
    page.goto("/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    accessible(page)
    page.keyboard.press("Escape")
    page.keyboard.type("gm")
    page.wait_for_url("**/my-experiments")
    page.keyboard.press("/")
    page.keyboard.type("gq?")  # in a field they are letters
    expect(page.get_by_role("searchbox").first).to_have_value("gq?")
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Single keys do something").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.type("gq")
    page.keyboard.press("?")  # help is always there
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert "/queue" not in page.url


@pytest.mark.complaints("ERR_", "WebSocket", "Failed to load", "Failed to fetch")
def test_no_connection_is_said_and_mends_itself(
    visit: Visit, shot: Callable[[Page, str], None]
) -> None:
    page = visit()
    page.goto("/queue")
    page.evaluate("navigator.serviceWorker.ready.then(() => null)")
    kept = page.evaluate(
        "caches.keys().then((names) => Promise.all(names.map((n) => caches.open(n))))"
        ".then(([c]) => c.keys()).then((k) => k.map((r) => new URL(r.url).pathname))"
    )
    assert "/offline" in kept
    assert [path for path in kept if not path.startswith("/static/")] == ["/offline"]
    page.context.set_offline(True)
    page.goto("/nodes")
    expect(page.get_by_role("heading")).to_have_text("The portal does not answer")
    shot(page, "no-connection")
    page.context.set_offline(False)
    expect(page.locator("h1")).to_have_text("Reactors")


def test_an_experiment_is_printed_without_what_is_pressed(visit: Visit, system: System) -> None:
    one = system.start_experiment(FOREVER, name="On paper")
    system.wait_status(one, "running")
    page = visit()
    page.goto(f"/experiment/{one}")
    page.emulate_media(media="print")
    expect(page.locator("h1")).to_be_visible()
    expect(page).to_have_title("running · On paper · Bioreactor")
    for what in (".top", ".foot", "main .btn >> nth=0"):
        expect(page.locator(what)).to_be_hidden()
