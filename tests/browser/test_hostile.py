"""Whatever people, scripts and devices write is shown as what they wrote, and does nothing.

All of it is planted through the real doors: REST, the upload form, and a script that runs. Then
every page is visited. The fixture `visit` fails a test whose console says anything, so a breach of
the Content-Security-Policy is one too.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser.conftest import Visit
from tests.support.system import System, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(300)]

TAG: Final = '"><img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
END: Final = "</title></textarea></script><svg onload=window.pwned=1>"
RIGHT_TO_LEFT: Final = "\u05d0\u05d1\u05d2 \u0627\u0644\u0645\u062e\u062a\u0628\u0631"
OVERRIDE: Final = "\u202eevil\u2066\u200b\ufeff\u0007"
TEMPLATE: Final = "{{ 7 * 7 }}${7*7}"
NAME: Final = f"{TAG}{RIGHT_TO_LEFT}"[:120]
NOTE: Final = f"{END}\n{TEMPLATE}\njavascript:alert(1)\n{RIGHT_TO_LEFT}\n" + "w" * 3000
PARAMETERS: Final = {"label": f"{END}{TEMPLATE}", "gain": 1.0}
SCRIPT: Final = f"""\
# /// script
# [tool.bioreactor]
# name = "hostile"
# needs = ["od"]
# [tool.bioreactor.parameters]
# label = {{default = "x", description = "<b onmouseover=window.pwned=1>bold</b>"}}
# gain = {{default = 1.0, unit = "<script>"}}
# ///
import sys
from bioreactor import experiment

TAG = {TAG!r}
print(TAG)
print({END!r})
print("\\x1b[31mred\\x1b[0m \\x1b]8;;javascript:window.pwned=1\\x07click\\x1b]8;;\\x07 \\x1b[2J")
print({OVERRIDE!r} + "turned")
print("a\\x00b\\rc\\x08d\\x7fe")
print("w" * 100_000)
print(TAG, file=sys.stderr)
experiment.record(**{{TAG[:60]: 1.0, "=HYPERLINK(1)": 2.0, "@sum": 3.0}})
experiment.save("evil.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.pwned=1">'
                b'<script>window.pwned=1</script><rect width="9" height="9"/></svg>')
experiment.save("evil.html", b"<script>window.pwned=1</script>")
experiment.save("table.csv", b"=1+1,<script>window.pwned=1</script>\\n@a,-b\\n")
experiment.save("<img src=x onerror=window.pwned=1>.txt", b"x")
experiment.save('q"uo;te\\u202egnp.png', b"\\x89PNG no picture")
experiment.save("folder/\\u05d0\\u05d1.json", b'"</script><script>window.pwned=1</script>"')
raise ValueError({END!r} + {OVERRIDE!r})
"""
SAVED: Final = 6


@dataclass
class Planted:
    """What was planted."""

    system: System
    experiment: str
    uploaded: str
    files: tuple[str, ...]


@pytest.fixture(scope="module")
def planted(system: System) -> Iterator[Planted]:
    """Plant hostile text wherever text is taken, and take the reactors' part back at the end."""
    http = system.http
    mine = system.start_experiment(SCRIPT, name=NAME, parameters=PARAMETERS)
    answer = http.patch(f"/api/experiments/{mine}", json={"note": NOTE})
    assert answer.status_code == 200, answer.text
    ended = system.wait_status(mine, "failed")
    wait_for("all files", lambda: len(system.status(mine)["results"]) == SAVED)
    files = tuple(file["name"] for file in system.status(mine)["results"])
    assert END in ended["error_message"]
    http.post("/api/queue/pause", json={"reason": f"{TAG}{RIGHT_TO_LEFT}"})
    form = http.post(
        "/upload",
        files={"file": (f"../../{END}.py", b"print(1)\n")},
        data={"name": ""},
        follow_redirects=False,
    )
    assert form.status_code == 303, form.text
    uploaded = form.headers["location"].rsplit("/", 1)[-1]
    http.post("/api/nodes/reactor-2/estop", json={"reason": TAG})
    try:
        yield Planted(system, mine, uploaded, files)
    finally:
        http.post("/api/nodes/reactor-2/estop-release", json={})
        http.post(f"/api/experiments/{uploaded}/cancel")
        http.post("/api/queue/resume")


def pages(planted: Planted) -> tuple[str, ...]:
    one, other = planted.experiment, planted.uploaded
    return (
        "/",
        "/upload",
        f"/upload?from={one}",
        "/my-experiments?scope=all",
        "/my-experiments?search=%3Cscript%3Ewindow.pwned%3D1%3C%2Fscript%3E",
        f"/my-experiments?compare={one}&compare={other}",
        "/queue",
        "/queue?audit=1",
        f"/experiment/{one}",
        f"/experiment/{other}",
        "/nodes",
        "/nodes/reactor-1",
        "/nodes/reactor-2",
        "/admin",
        "/docs",
        "/login",
    )


def watch(page: Page) -> list[str]:
    """Return the list of dialogs that a page opens."""
    dialogs: list[str] = []

    def opened(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", opened)
    return dialogs


def harmless(page: Page, dialogs: list[str]) -> None:
    """Assert that nothing of what was planted became anything but text."""
    where = page.url
    assert page.evaluate("window.pwned") is None, where
    assert dialogs == [], where
    grown = page.evaluate(
        """() => [...document.querySelectorAll('*')]
            .filter((e) => [...e.attributes].some((a) =>
                a.name.startsWith('on') || /^\\s*javascript:/i.test(a.value))
                || (e.tagName === 'IMG' && e.getAttribute('src') === 'x')
                || (e.tagName === 'SCRIPT' && !e.src && e.type !== 'application/json'))
            .map((e) => e.outerHTML.slice(0, 200))"""
    )
    assert grown == [], where
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"{where} is {wide} px too wide"
    turned = page.evaluate(
        """() => [...document.querySelectorAll('body *')]
            .filter((e) => [...e.childNodes].some((n) =>
                n.nodeType === 3 && /[\\u0590-\\u07ff\\u202a-\\u202e\\u2066-\\u2069]/.test(n.data)))
            .filter((e) => !/isolate|plaintext/.test(getComputedStyle(e).unicodeBidi)
                && !['OPTION', 'TITLE', 'TEXTAREA', 'SCRIPT'].includes(e.tagName))
            .map((e) => e.outerHTML.slice(0, 200))"""
    )
    assert turned == [], f"{where}: text that may turn the words around it"


@pytest.mark.complaints("404")
@pytest.mark.parametrize("width", [1440, 390])
def test_no_page_obeys_what_people_wrote(planted: Planted, visit: Visit, width: int) -> None:
    page = visit(
        viewport={"width": width, "height": 900},
        extra_http_headers={"X-Session-ID": "the-user-of-this-test"},
    )
    dialogs = watch(page)
    missing = ("/experiment/%3Cscript%3Ewindow.pwned=1", "/%22%3E%3Cimg src=x%3E")
    for path in (*pages(planted), *missing):
        answer = page.goto(path)
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert "frame-ancestors 'none'" in policy, path
        page.wait_for_load_state("load")
        page.wait_for_function("document.readyState === 'complete'")
        harmless(page, dialogs)
    for path, text in (
        ("/my-experiments", NAME[:80]),
        ("/queue", TAG),
        ("/nodes/reactor-2", TAG),
        (f"/experiment/{planted.uploaded}", "<svg onload="),
        (f"/experiment/{planted.experiment}", TEMPLATE),
    ):
        page.goto(path)
        expect(page.locator("main"), "what was planted is shown").to_contain_text(text)
    expect(page.locator("h1").first).to_contain_text(TAG[:40])
    expect(page.locator("body")).to_contain_text("turned")
    page.get_by_text("turned").first.hover()
    harmless(page, dialogs)


def test_no_page_needs_scripts_to_be_harmless(planted: Planted, visit: Visit) -> None:
    page = visit(java_script_enabled=False)
    for path in pages(planted):
        page.goto(path)
        assert page.locator("img[src=x], svg[onload], b[onmouseover]").count() == 0, path


def test_results_are_downloads_whatever_they_say_they_are(planted: Planted, visit: Visit) -> None:
    http = planted.system.http
    base = f"/api/experiments/{planted.experiment}/files"
    assert len(planted.files) == SAVED
    for name in planted.files:
        answer = http.get(f"{base}/{httpx.URL(path='/' + name).raw_path.decode()[1:]}")
        assert answer.status_code == 200, name
        disposition = answer.headers["content-disposition"]
        assert disposition.startswith("attachment; "), name
        assert disposition.isascii(), name
        assert not re.search(r'[\r\n<>\\/]|filename="[^"]*"[^;]', disposition.split("*=")[0]), name
        assert "%E2%80%AE" not in disposition, "a mark that turns the name around"
        assert_sandboxed(answer.headers)
    for path in ("download", "script", "logs?format=text", "telemetry?format=csv"):
        answer = http.get(f"/api/experiments/{planted.experiment}/{path}")
        assert answer.headers["content-disposition"].startswith("attachment; "), path
        assert_sandboxed(answer.headers)
    bundle = http.get(f"/api/experiments/{planted.experiment}/download").content
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert all(not n.startswith("/") and ".." not in n.split("/") for n in archive.namelist())
        header = archive.read("series.csv").decode().splitlines()[0]
        assert "'=HYPERLINK(1)" in header
        assert "'@sum" in header
    page = visit()
    dialogs = watch(page)
    page.goto("/queue")
    for name in ("evil.svg", "evil.html"):
        with page.expect_download() as download:
            page.evaluate(f"location.href = '{base}/{name}'")
        assert download.value.suggested_filename == name
    harmless(page, dialogs)


def assert_sandboxed(headers: Mapping[str, Any]) -> None:
    policy = headers["content-security-policy"]
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
