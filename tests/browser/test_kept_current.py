"""Pages show what is known in the end, whichever word of it was lost. The portal is a sample."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route, WebSocketRoute, expect

from portal.frontend.dev import samples
from tests.support.system import wait_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

EXPERIMENT = f"/experiment/{samples.RUNNING.experiment_id}"
LOOK = 11_000
"""Milliseconds after which a page has looked for events again."""


@pytest.fixture
def page(browser: Browser, preview: str) -> Iterator[Page]:
    context = browser.new_context(base_url=preview, service_workers="block")
    page = context.new_page()
    page.clock.install()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def opened(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#link")).to_have_text("Live")
    page.evaluate("window.mark = 'the same page'")


def refreshed(page: Page, change: Callable[[str], str]) -> None:
    """Have the page fetch itself with a change from now on."""

    def answer(route: Route) -> None:
        if not is_refresh(route.request):
            route.fallback()
            return
        response = route.fetch()
        route.fulfill(response=response, body=change(response.text()))

    page.route(f"**{EXPERIMENT}", answer)


def is_refresh(request: Request) -> bool:
    return "x-refresh" in request.headers


def with_milestone(text: str, **fields: Any) -> str:
    """Add a milestone to those that the page tells its scripts."""
    more = json.dumps({"attempt": 1, "elapsed": 9000.0, "detail": "", **fields})
    changed, count = re.subn(
        r'(id="milestones"[^>]*>\[.*?)\]</script>', rf"\1,{more}]</script>", text
    )
    assert count == 1
    return changed


def test_a_milestone_that_came_with_the_charts_is_shown(page: Page) -> None:
    """It was put on record after the page was made, and before it asked for events."""
    seen = {"event": "parameters-seen", "t": "2027-03-17T14:19:00Z", "elapsed": 9000.0}
    later = {"event": "dose", "channel": "media", "value": 1, "t": "2027-03-17T14:19:30Z"}

    def history(route: Route) -> None:
        start = float((re.search(r"start=([\d.]+)", route.request.url) or ["", "0"])[1])
        body = route.fetch().json()
        events = [*body["events"], seen, {**later, "elapsed": 9400.0}]
        body["events"] = [event for event in events if event.get("elapsed", 0) >= start]
        route.fulfill(json=body)

    shown = False

    def change(text: str) -> str:
        told = with_milestone(text, what="parameters-seen", t="2027-03-17T14:19:00+00:00")
        return told if shown else text

    page.route("**/history?*", history)
    refreshed(page, change)
    with page.expect_request(is_refresh):
        opened(page, EXPERIMENT)
    with page.expect_request(is_refresh):  # the hub did not have it at once
        page.clock.run_for(LOOK)
    shown = True
    page.clock.run_for(LOOK)
    milestones = page.locator("#milestones")
    wait_for("the milestone", lambda: "9000" in (milestones.text_content() or ""))


def test_another_attempt_begins_on_a_page_of_its_own(page: Page) -> None:
    """Its log and its charts begin at one and at zero: behind those of the attempt before."""
    opened(page, EXPERIMENT)
    refreshed(
        page,
        lambda text: with_milestone(text, what="accepted", t="2027-03-17T14:19:00Z", attempt=2),
    )
    with page.expect_navigation():
        page.get_by_label("target_od").fill("0.7")
        page.get_by_role("button", name="Send to the script").click()
    assert page.evaluate("window.mark") is None


def test_what_a_form_missed_while_somebody_typed_comes_afterwards(page: Page) -> None:
    opened(page, EXPERIMENT)
    field = page.get_by_label("target_od")
    before = field.input_value()
    refreshed(page, lambda text: text.replace("held density", "the density that is held"))
    field.fill("0.7")
    field.fill(before)
    expect(page.get_by_text("the density that is held")).to_be_visible()


class Portal:
    """The portal's end of live connections: says what a test has it say, or lets nobody in."""

    def __init__(self, page: Page) -> None:
        self.socket: WebSocketRoute | None = None
        self.shut = False
        page.route_web_socket("**/ws", self._take)

    def _take(self, socket: WebSocketRoute) -> None:
        if self.shut:
            socket.close(code=1011)
            return
        self.socket = socket
        socket.on_message(lambda _: None)
        self.say(type="link", broker=True, hub="online", since="2027-03-17T14:00:00Z")

    def say(self, **frame: Any) -> None:
        assert self.socket is not None
        self.socket.send(json.dumps(frame))

    def leave(self, *, back: bool = False) -> None:
        """End the connection; take no other one, unless it comes back."""
        self.shut = not back
        assert self.socket is not None
        self.socket.close(code=1011)


def without_live(page: Page, portal: Portal) -> None:
    """Have the page see that it is not live any more."""
    portal.leave()
    for _ in range(3):
        page.clock.run_for(5_000)
    expect(page.locator("#no-live")).to_be_visible()


def test_without_a_live_connection_readings_are_the_servers(page: Page) -> None:
    """What came last over the connection is older than what comes with the page each time."""
    portal = Portal(page)
    opened(page, "/nodes/reactor-1")
    reading = page.locator("[data-value='reactor-1/od']").first
    known = reading.text_content()
    values = {"od": 9.87}
    live = {"t": "2027-03-17T14:19:59Z", "values": values, "series": {}}
    portal.say(type="telemetry", topic="nodes/reactor-1/telemetry", seq=1, payloads=[live])
    expect(reading).to_contain_text("9.87")
    without_live(page, portal)
    expect(reading).to_have_text(known or "")


def test_without_a_live_connection_charts_and_log_are_asked_for(page: Page) -> None:
    portal = Portal(page)
    opened(page, EXPERIMENT)
    without_live(page, portal)
    with page.expect_request("**/history?points=800"), page.expect_request("**/logs?*"):
        page.clock.run_for(31_000)


def test_what_somebody_else_set_is_said_as_long_as_it_is_so(page: Page) -> None:
    portal = Portal(page)
    opened(page, EXPERIMENT)
    field = page.get_by_label("target_od")
    before = float(field.input_value())

    def tell(target: float) -> None:
        state = json.loads(samples.RUNNING.encode())
        state["parameters"] = {**state["parameters"], "target_od": target}
        topic = f"experiments/{samples.RUNNING.experiment_id}"
        portal.say(type="change", topic=topic, seq=1, payload=state)

    field.fill("0.7")
    tell(0.9)
    mine = page.get_by_role("button", name="Keep mine")
    mine.focus()
    tell(0.9)
    page.clock.run_for(1_000)
    expect(mine).to_be_focused()  # said once
    tell(before)
    expect(page.locator(".clash").first).to_be_empty()


def test_why_something_waits_is_told_though_the_queue_is_of_one_revision(page: Page) -> None:
    """A reactor that goes away changes nothing durable, and the hub tells of it a moment later."""
    told: list[tuple[WebSocketRoute, dict[str, Any]]] = []

    def pass_on(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def hear(message: str | bytes) -> None:
            frame = json.loads(message)
            if frame.get("topic") == "queue":
                told.append((socket, frame))
            socket.send(message)

        server.on_message(hear)

    page.route_web_socket("**/ws", pass_on)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if is_refresh(request) else None)
    opened(page, "/queue")
    wait_for("the queue", lambda: page.title() and told)
    page.clock.run_for(2_000)
    assert asked == []
    socket, frame = told[0]
    frame["payload"]["waiting"][0]["detail"] = "its reactor is offline"
    with page.expect_request(is_refresh):
        socket.send(json.dumps({**frame, "type": "change", "seq": 2}))


def test_a_log_that_began_while_the_connection_was_lost_is_shown(page: Page) -> None:
    portal = Portal(page)
    opened(page, f"/experiment/{samples.QUEUED.experiment_id}")
    expect(page.locator("#lines")).to_contain_text("Nothing written yet.")
    portal.leave(back=True)
    page.clock.run_for(2_000)
    expect(page.locator("#lines .block > div")).to_have_count(60)
