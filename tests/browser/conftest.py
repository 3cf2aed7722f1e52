"""One running laboratory, one Chromium, and visitors whose pages must not complain.

The fixtures last for this folder only: Playwright keeps an event loop in the test's thread, which
the asynchronous tests elsewhere could not share.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from broker.listening import free_port
from tests.support.system import System, wait_for

expect.set_options(timeout=25_000)
"""Milliseconds that a busy machine may take. A page that is not live is fetched anew after 30 s:
what came before has come by itself."""

ARTIFACTS: Final = Path(__file__).parents[1] / "artifacts"
RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""What axe checks: WCAG 2.2 AA, and what its authors advise beyond."""

SETTLED: Final = """Promise.race([
    Promise.all(document.getAnimations()
        .filter((a) => Number.isFinite(Number(a.effect?.getComputedTiming().endTime)))
        .map((a) => a.finished.catch(() => null))),
    new Promise((resolve) => setTimeout(resolve, 5000)),
])"""
"""Ends with what moves, or after 5 s: what the page took away meanwhile may never end."""


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A whole system with two simulated reactors at 20 times real time; shared by all pages.

    Two reactors at 600 times real time keep a quarter of a processor busy while nothing runs.
    A test leaves the queue as it found it: empty, resumed, nothing running.
    """
    data = tmp_path_factory.mktemp("system")
    with System.start(data, "--runner", "docker", "--speed", "20", "--reactors", "2") as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, started once."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def preview() -> Iterator[str]:
    """The address of sample laboratories, in every state, at which time stands still."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "portal.frontend.dev.preview", str(port)]
    environment = {**os.environ, "PREVIEW_FROZEN": "1"}
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_for("the samples", lambda: process.poll() is None and _answers(address))
            yield address
        finally:
            process.terminate()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/offline").is_success
    except httpx.TransportError:
        return False


class Visit(Protocol):
    """Opens a page as a new visitor; keywords go to Playwright's `new_context`."""

    def __call__(self, base_url: str | None = None, **options: Any) -> Page:
        """Return a page of a context of its own, with cookies of its own."""


@pytest.fixture
def visit(system: System, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Open pages as different people; whatever a page complains of fails the test at its end.

    Without `base_url` a visitor looks at the shared system. A test that provokes complaints on
    purpose (a broker that is stopped, a refused request) says so:
    ``@pytest.mark.complaints("503", "WebSocket")``: lines with one of these texts are expected.
    """
    expected = tuple(text for mark in request.node.iter_markers("complaints") for text in mark.args)
    complaints: list[str] = []

    def heard(text: str) -> None:
        if not any(part in text for part in expected):
            complaints.append(text)

    def console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            heard(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    with ExitStack() as stack:

        def visit(base_url: str | None = None, **options: Any) -> Page:
            options = {"viewport": {"width": 1440, "height": 900}, **options}
            context = browser.new_context(base_url=base_url or system.ready["portal"], **options)
            stack.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: heard(str(error)))
            page.on("console", console)
            return page

        yield visit
    assert complaints == []


@pytest.fixture
def shot() -> Callable[[Page, str], None]:
    """Keep a picture of a page below `tests/artifacts`, for whoever looks into a failure."""

    def shot(page: Page, name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)

    return shot


@pytest.fixture
def accessible() -> Callable[[Page], None]:
    """Check a page, as it is now, against WCAG 2.2 AA with axe."""

    def accessible(page: Page) -> None:
        assert violations(page, {"type": "tag", "values": RULES}) == [], page.url

    return accessible


def violations(page: Page, rules: Mapping[str, Any]) -> Sequence[str]:
    """Return what axe says against a page as it is now; `rules` is its option `runOnly`."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)  # it is paler until the answer comes
    page.evaluate(SETTLED)  # what fades in is judged where it ends
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    options = {"runOnly": rules, "resultTypes": ["violations"]}
    found = page.evaluate("options => axe.run(options).then((it) => it.violations)", options)
    wrong: list[str] = []
    for one in found:
        nodes = [f"{node['target']} {node['failureSummary']}" for node in one["nodes"][:4]]
        wrong.append(f"{one['id']}: {nodes}")
    return wrong
