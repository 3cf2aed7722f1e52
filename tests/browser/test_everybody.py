"""A user, a second user and an administrator at once, where administrators log in."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from broker.listening import free_port
from tests.browser.conftest import Visit
from tests.support.system import System, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(400)]

SCRIPT = "from bioreactor import experiment\nfor _ in experiment.every(seconds=60):\n    pass\n"
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def guarded(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a second portal of the same system: administrators log in at this one."""
    port = free_port()
    environment = {
        **os.environ,
        "BIOREACTOR_PORTAL_PORT": str(port),
        "BIOREACTOR_PORTAL_DATA_DIR": str(tmp_path_factory.mktemp("guarded")),
        "BIOREACTOR_PORTAL_ADMIN": "login",
        "BIOREACTOR_PORTAL_ADMIN_PASSWORD": PASSWORD,
    }
    config = next(Path(system.data).rglob("portal.toml"))
    command = [sys.executable, "-m", "portal", "--config", str(config)]
    address = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{address}/health/ready").is_success
        except httpx.TransportError:
            return False

    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_for("the guarded portal", lambda: process.poll() is None and ready())
            yield address
        finally:
            process.terminate()


def upload(page: Page, name: str) -> str:
    page.goto("/upload")
    page.locator("input[type=file]").set_input_files(
        {"name": "mine.py", "mimeType": "text/x-python", "buffer": SCRIPT.encode()}
    )
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Queue the experiment").click()
    page.wait_for_url(re.compile(r"/experiment/[0-9A-Z]{26}"))
    return page.url.rpartition("/")[2]


def test_what_one_does_the_others_see(visit: Visit, system: System, guarded: str) -> None:
    ada, ben, boss = (visit(guarded) for _ in range(3))
    boss.goto("/login")
    boss.get_by_label("Password").fill(PASSWORD)
    boss.get_by_role("button", name="Log in").click()
    expect(boss.locator(".foot")).to_contain_text("Administration")
    assert system.http.post("/api/queue/pause").status_code == 200
    for page in (ada, ben, boss):
        page.goto("/queue")
        expect(page.locator("#banners")).to_contain_text("The queue is paused")
    # Who has not logged in sees nothing of what he may not do, on any page.
    one = upload(ada, "the one of Ada")
    for page in (ben, boss):
        expect(page.locator("#waiting")).to_contain_text("the one of Ada")
    for path in ("/", "/queue", f"/experiment/{one}", "/nodes", "/nodes/reactor-1"):
        ben.goto(path)
        expect(ben.locator("h1").first).to_be_attached()
        for control in (
            "#queue-admin *",
            "#manual *",
            "[data-sheet='run-now']",
            "a[href='/admin']",
        ):
            expect(ben.locator(control)).to_have_count(0)
        expect(ben.get_by_role("button", name=re.compile("^(Cancel|Pause)"))).to_have_count(0)
    ben.goto("/queue")
    boss.goto("/queue")
    ada.goto(f"/experiment/{one}")
    # The administrator pauses it; its owner and the other see it where they are.
    boss.get_by_role("button", name="Pause: the one of Ada").click()
    expect(ben.locator("#waiting .chip.paused")).to_have_count(1)
    expect(ada.get_by_role("button", name="Resume", exact=True)).to_be_visible()
    # Its owner cancels it; it leaves the queue of both.
    ada.get_by_role("button", name="Cancel", exact=True).click()
    ada.get_by_role("dialog").get_by_role("button", name="Cancel the experiment").click()
    for page in (ben, boss):
        expect(page.locator("#queue")).not_to_contain_text("the one of Ada")
    # The administrator resumes the queue.
    boss.get_by_role("button", name="Resume queue").click()
    for page in (ada, ben, boss):
        expect(page.locator("#banners")).not_to_contain_text("The queue is paused")


def test_a_login_begins_and_ends_in_every_tab(visit: Visit, guarded: str) -> None:
    first = visit(guarded)
    first.goto("/nodes/reactor-1")
    second = first.context.new_page()
    second.goto("/login")
    expect(first.locator("#link")).to_have_text("Live")
    expect(first.locator("#manual")).to_be_hidden()
    second.get_by_label("Password").fill(PASSWORD)
    second.get_by_role("button", name="Log in").click()
    expect(first.locator("#manual")).to_contain_text("Nobody holds the reactor")
    expect(first.locator(".foot")).to_contain_text("Administration")
    third = first.context.new_page()
    third.goto("/admin")
    expect(third.locator("#link")).to_have_text("Live")
    second.goto("/admin")
    second.get_by_role("button", name="Log out").click()
    expect(first.locator("#manual")).to_be_hidden()
    third.wait_for_url("**/login")  # of the whole page nothing is left for him


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until what is meant has the focus, as everybody without a mouse does."""
    for _ in range(120):
        if page.evaluate("s => !!document.activeElement?.closest(s)", selector):
            return
        if page.evaluate("!!document.activeElement?.shadowRoot"):
            page.keyboard.press("Escape")  # as the list of keys says: the editor takes Tab
        page.keyboard.press("Tab")
    pytest.fail(f"Tab never reaches {selector}")


def test_the_main_job_by_keyboard_alone(visit: Visit, system: System) -> None:
    assert system.http.post("/api/queue/pause").status_code == 200
    try:
        page = visit()
        page.goto("/")
        page.keyboard.press("Tab")  # the first stop skips what every page begins with
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        tab_to(page, "a[href*='example=']")
        page.keyboard.press("Enter")
        page.wait_for_url("**/upload?example=*")
        queue = page.get_by_role("button", name="Queue the experiment")
        expect(queue).to_be_enabled()
        tab_to(page, "#submit")
        expect(queue).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/experiment/[0-9A-Z]{26}"))
        tab_to(page, "form[action$='/cancel'] button")
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        tab_to(page, "#ask-ok")
        page.keyboard.press("Enter")
        expect(page.locator(".chip.cancelled").first).to_be_visible()
    finally:
        system.http.post("/api/queue/resume")
