"""The main job in a real browser, with and without JavaScript."""

import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.system import EXAMPLES, System

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(600)]
SHOTS = Path(__file__).parents[1] / "artifacts"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    data = tmp_path_factory.mktemp("system")
    with System.start(data, "--runner", "docker", "--speed", "600") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def test_upload_watch_download(system: System, browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(base_url=system.ready["portal"], accept_downloads=True)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: problems.append(message.text) if message.type == "error" else None,
    )
    page.goto("/")
    shot(page, "home")
    page.goto("/upload")
    page.locator("input[type=file]").set_input_files(EXAMPLES / "turbidostat.py")
    hours = page.locator("[name='param.hours']")
    expect(hours).to_be_visible()
    hours.fill("3")
    shot(page, "upload")
    page.get_by_role("button", name=re.compile("queue|submit|start", re.IGNORECASE)).first.click()
    page.wait_for_url(re.compile(r"/experiment/[0-9A-Z]{26}"))
    # Live, without a reload: it starts, charts grow, the console is written.
    expect(page.get_by_text("running").first).to_be_visible(timeout=120_000)
    expect(page.locator(".uplot").first).to_be_visible(timeout=30_000)
    shot(page, "experiment-running")
    expect(page.get_by_text("completed").first).to_be_visible(timeout=120_000)
    shot(page, "experiment-completed")
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("download|results", re.IGNORECASE)).first.click()
    path = tmp_path / "results.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        assert "telemetry.csv" in archive.namelist()
    for place in ("queue", "my-experiments", "nodes", "nodes/reactor-1"):
        page.goto(f"/{place}")
        expect(page.locator("h1").first).to_be_visible()
        shot(page, place.replace("/", "-"))
    assert problems == []
    context.close()


def test_upload_form_without_javascript(system: System, browser: Browser) -> None:
    context = browser.new_context(base_url=system.ready["portal"], java_script_enabled=False)
    page = context.new_page()
    page.goto("/upload")
    page.locator("input[type=file]").set_input_files(
        {"name": "bad.py", "mimeType": "text/x-python", "buffer": b"import requests\n"}
    )
    page.locator("form[action='/upload'] button[type=submit]").first.click()
    expect(page.locator("body")).to_contain_text("requests")
    expect(page.locator("body")).to_contain_text(re.compile("line 1", re.IGNORECASE))
    shot(page, "upload-refused-without-javascript")
    page.locator("input[type=file]").set_input_files(
        {"name": "ok.py", "mimeType": "text/x-python", "buffer": b"print('hello from the form')\n"}
    )
    page.locator("form[action='/upload'] button[type=submit]").first.click()
    page.wait_for_url(re.compile(r"/experiment/[0-9A-Z]{26}"))
    # No script runs: the page refreshes by itself, or by hand.
    for _ in range(120):
        if "completed" in page.content():
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.locator("body")).to_contain_text("completed")
    expect(page.locator("body")).to_contain_text("hello from the form")
    context.close()


def test_two_people_see_the_same_queue(system: System, browser: Browser) -> None:
    script = "from bioreactor import experiment\nfor _ in experiment.every(seconds=60):\n    pass\n"
    running = system.start_experiment(script, name="the long one")
    system.wait_status(running, "running")
    context = browser.new_context(base_url=system.ready["portal"])
    page = context.new_page()
    page.goto("/queue")
    expect(page.locator("body")).to_contain_text("the long one")
    second = system.start_experiment(script, name="came later")
    expect(page.locator("body")).to_contain_text("came later", timeout=5_000)
    shot(page, "queue-two")
    system.http.post(f"/api/experiments/{second}/cancel")
    expect(page.locator("body")).not_to_contain_text("came later", timeout=5_000)
    system.http.post(f"/api/experiments/{running}/cancel")
    system.wait_status(running, "cancelled")
    context.close()
