"""The main job in a real browser, with and without JavaScript."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.support.system import EXAMPLES, System

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(600)]
Shot = Callable[[Page, str], None]


def test_upload_watch_download(visit: Visit, shot: Shot, tmp_path: Path) -> None:
    page = visit()
    page.goto("/")
    shot(page, "home")
    page.goto("/upload")
    page.locator("input[type=file]").set_input_files(EXAMPLES / "turbidostat.py")
    hours = page.locator("[name='param.hours']")
    expect(hours).to_be_visible()
    hours.fill("0.05")
    shot(page, "upload")
    page.get_by_role("button", name=re.compile("queue|submit|start", re.IGNORECASE)).first.click()
    page.wait_for_url(re.compile(r"/experiment/[0-9A-Z]{26}"))
    # Live, without a reload: it starts, charts grow, the console is written.
    expect(page.get_by_text("running").first).to_be_visible(timeout=120_000)
    expect(page.locator(".uplot").first).to_be_visible()
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


@pytest.mark.complaints("status of 400")
def test_upload_form_without_javascript(visit: Visit, shot: Shot) -> None:
    page = visit(java_script_enabled=False)
    page.goto("/upload")
    page.locator("input[type=file]").set_input_files(
        {"name": "bad.py", "mimeType": "text/x-python", "buffer": b"import requests\n"}
    )
    page.get_by_role("button", name="Queue the experiment").click()
    expect(page.locator("body")).to_contain_text("requests")
    expect(page.locator("body")).to_contain_text(re.compile("line 1", re.IGNORECASE))
    shot(page, "upload-refused-without-javascript")
    page.locator("input[type=file]").set_input_files(
        {"name": "ok.py", "mimeType": "text/x-python", "buffer": b"print('hello from the form')\n"}
    )
    page.get_by_role("button", name="Queue the experiment").click()
    page.wait_for_url(re.compile(r"/experiment/[0-9A-Z]{26}"))
    # No script runs: the page refreshes by itself, or by hand.
    for _ in range(120):
        if "completed" in page.content():
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.locator("body")).to_contain_text("completed")
    expect(page.locator("body")).to_contain_text("hello from the form")


def test_two_people_see_the_same_queue(system: System, visit: Visit, shot: Shot) -> None:
    script = "from bioreactor import experiment\nfor _ in experiment.every(seconds=60):\n    pass\n"
    running = system.start_experiment(script, name="the long one")
    system.wait_status(running, "running")
    page = visit()
    page.goto("/queue")
    expect(page.locator("body")).to_contain_text("the long one")
    second = system.start_experiment(script, name="came later")
    expect(page.locator("body")).to_contain_text("came later")
    shot(page, "queue-two")
    system.http.post(f"/api/experiments/{second}/cancel")
    expect(page.locator("#queue")).not_to_contain_text("came later")
    system.http.post(f"/api/experiments/{running}/cancel")
    system.wait_status(running, "cancelled")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_reference_shuts_nobody_out(
    visit: Visit, accessible: Callable[[Page], None], theme: str
) -> None:
    """The one page that no sample laboratory has; `test_accessible` looks at all others."""
    page = visit(color_scheme=theme)
    page.goto("/docs")
    expect(page.locator("h1").first).to_be_visible()
    accessible(page)
