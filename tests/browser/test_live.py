"""Pages that stay open while the broker, the hub, a reactor or the portal itself comes and goes.

No page is ever reloaded here: a mark in its window would be gone.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from tests.browser.conftest import Visit
from tests.support.system import System, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(300)]
SCRIPT = "from bioreactor import experiment\nfor _ in experiment.every(seconds=60):\n    pass\n"
SOON = 60_000
"""Milliseconds for what a restarted process brings back, on a busy machine too."""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of its own, whose parts may die."""
    data = tmp_path_factory.mktemp("mortal")
    with System.start(data, "--runner", "docker", "--speed", "10", "--reactors", "2") as running:
        yield running


def opened(page: Page, address: str) -> Page:
    """Open a page, wait until it is live, and mark it."""
    page.goto(address)
    expect(page.locator("#link")).to_contain_text("Live", timeout=SOON)
    page.evaluate("window.mark = 'the same page'")
    return page


def same(page: Page) -> None:
    assert page.evaluate("window.mark") == "the same page"


def density(page: Page) -> str:
    """Return what never stands still: an idle reactor's temperature does, for minutes."""
    found = page.locator("[data-value='reactor-1/od']").first.text_content()
    assert found
    return found


def moves(page: Page) -> None:
    """Wait until a value changes."""
    before = density(page)
    wait_for(f"another value than {before}", lambda: density(page) != before)


@contextmanager
def running(system: System, page: Page) -> Iterator[tuple[str, str]]:
    """Have the page's visitor run an experiment; yields its id and its reactor."""
    own = {"Origin": system.ready["portal"].rstrip("/")}
    body = {"script_content": SCRIPT}
    answer = page.request.post("/api/experiments/start", data=body, headers=own)
    assert answer.ok, answer.text()
    name = str(answer.json()["experiment_id"])
    try:
        system.wait_status(name, "running")
        wait_for("its script runs", lambda: system.status(name).get("phase") == "executing")
        yield name, str(system.status(name)["node"])
    finally:
        system.http.post(f"/api/experiments/{name}/cancel")
        system.wait_status(name, "cancelled")


@pytest.mark.complaints("503", "WebSocket", "ERR_")
def test_the_broker_stops_and_starts(system: System, visit: Visit) -> None:
    home, reactor = opened(visit(), "/"), opened(visit(), "/nodes/reactor-1")
    for page in (home, reactor):
        moves(page)
    with system.without("mosquitto"):
        for page in (home, reactor):
            banner = page.locator("[data-broker='down']").first
            expect(banner).to_contain_text("The message broker is not reachable since")
            expect(banner.locator("time")).to_have_text(re.compile(r"^\d\d:\d\d$"))
            expect(page.locator("html")).to_have_attribute("data-link", "down")
            expect(page.locator("#link")).to_contain_text("Not live")
            assert re.match(r"^\d+\.\d", density(page))  # the last one, greyed
    for page in (home, reactor):
        expect(page.locator("#banners [data-broker]")).to_have_count(0, timeout=SOON)
        expect(page.locator("#banners [data-hub]")).to_have_count(0, timeout=SOON)
        expect(page.locator("html")).to_have_attribute("data-link", "up", timeout=SOON)
        moves(page)
        same(page)


@pytest.mark.complaints("503")
def test_the_hub_is_killed_and_comes_back(system: System, visit: Visit) -> None:
    page = opened(visit(), "/")
    with system.without("-m", "hub_service"):
        expect(page.locator("#banners")).to_contain_text("The hub is offline since")
        moves(page)  # reactors need no hub to be seen
    expect(page.locator("#banners [data-hub]")).to_have_count(0, timeout=SOON)
    same(page)


@pytest.mark.complaints("503")
def test_a_reactor_dies_under_an_experiment(system: System, visit: Visit) -> None:
    experiment = visit()
    experiment.goto("/")
    home = experiment.context.new_page()
    with running(system, experiment) as (name, node):
        opened(home, "/")
        opened(experiment, f"/experiment/{name}")
        with system.without("-m", "node_service", node):
            expect(experiment.locator("#head")).to_contain_text("unreachable since", timeout=SOON)
            expect(experiment.locator("#link")).to_contain_text("Reactor away")
            expect(home.locator(f"#card-{node}")).to_contain_text("offline since")
            expect(home.locator("#mine")).to_contain_text("unreachable since")
            expect(home.locator(f"#card-{node}.stale")).to_have_count(1)
        expect(experiment.locator("#link")).to_contain_text("Live", timeout=SOON)
        expect(experiment.locator("#head")).not_to_contain_text("unreachable")
        expect(home.locator("#mine")).not_to_contain_text("unreachable")
        expect(home.locator(f"#card-{node}")).not_to_contain_text("offline")
        for page in (experiment, home):
            same(page)


@pytest.mark.complaints("WebSocket", "ERR_", "503", "when fetching the script")
def test_the_portal_is_restarted_under_an_open_page(system: System, visit: Visit) -> None:
    page = opened(visit(), "/nodes/reactor-1")
    with system.without("-m", "portal"):
        expect(page.locator("#portal-lost")).to_be_visible(timeout=SOON)
        expect(page.locator("#portal-lost time")).to_have_text(re.compile(r"^\d\d:\d\d$"))
        expect(page.locator("html")).to_have_attribute("data-link", "down")
    expect(page.locator("#portal-lost")).to_be_hidden(timeout=SOON)
    expect(page.locator("#link")).to_contain_text("Live", timeout=SOON)
    moves(page)
    same(page)


@pytest.mark.complaints("WebSocket")
def test_without_websockets_the_page_is_refreshed(system: System, visit: Visit) -> None:
    page = visit()

    def refuse(socket: WebSocketRoute) -> None:
        socket.close(code=1011)

    page.route_web_socket("**/ws", refuse)
    page.clock.install()
    page.goto("/queue")
    page.evaluate("window.mark = 'the same page'")
    for _ in range(4):
        page.clock.run_for(8_000)
    expect(page.locator("#no-live")).to_be_visible()
    expect(page.locator("#link")).to_contain_text("Every 30 s")
    system.http.post("/api/queue/pause")
    try:
        page.clock.run_for(31_000)
        expect(page.locator("#banners")).to_contain_text("The queue is paused")
    finally:
        system.http.post("/api/queue/resume")
    page.clock.run_for(31_000)
    expect(page.locator("#banners")).not_to_contain_text("The queue is paused")
    same(page)


HIDE = """hidden => {
    Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
    document.dispatchEvent(new Event('visibilitychange'));
}"""


def test_a_hidden_tab_costs_nothing_and_is_right_when_it_is_seen_again(
    system: System, visit: Visit
) -> None:
    page = visit()
    page.clock.install()
    with page.expect_websocket() as connecting:
        opened(page, "/queue")
    socket = connecting.value
    page.evaluate(HIDE, True)
    page.clock.run_for(50_000)
    assert not socket.is_closed()
    with socket.expect_event("close"):
        page.clock.run_for(12_000)
    asked: list[str] = []

    def count(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_()

    page.route("**/*", count)
    system.http.post("/api/queue/pause")
    try:
        page.clock.run_for(3_600_000)
        assert asked == []
        page.evaluate(HIDE, False)
        page.clock.run_for(1_000)
        expect(page.locator("#banners")).to_contain_text("The queue is paused")
        expect(page.locator("#link")).to_contain_text("Live")
    finally:
        system.http.post("/api/queue/resume")
    page.clock.run_for(1_000)
    expect(page.locator("#banners")).not_to_contain_text("The queue is paused")
    same(page)


@pytest.mark.complaints("ERR_FAILED")
def test_a_refresh_that_fails_is_tried_again(system: System, visit: Visit) -> None:
    """The live connection stands all the time: only the page itself could not be fetched."""
    page = opened(visit(), "/queue")

    def fail(route: Route) -> None:
        if route.request.resource_type == "fetch":
            route.abort()
        else:
            route.continue_()

    page.route("**/queue", fail)
    system.http.post("/api/queue/pause")
    try:
        page.wait_for_timeout(1_000)
        expect(page.locator("#banners")).not_to_contain_text("The queue is paused")
        page.unroute("**/queue")
        expect(page.locator("#banners")).to_contain_text("The queue is paused")
    finally:
        system.http.post("/api/queue/resume")
    same(page)


def test_without_javascript_the_page_refreshes_itself(system: System, visit: Visit) -> None:
    page = visit(java_script_enabled=False)
    for place in ("/", "/queue", "/nodes", "/nodes/reactor-1"):
        page.goto(place)
        if place in {"/", "/nodes"}:
            assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "30"
        else:  # where it would take what is ticked or typed, one asks for it
            expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)
            page.get_by_role("link", name="Show it as it is now").click()
            expect(page).to_have_url(re.compile(f"{place}$"))
        assert not page.locator("#portal-lost").is_visible()
