"""The upload page: checked while one writes, kept through everything, queued once."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import Visit
from tests.support.system import System

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(300)]

SCRIPT = """\
# /// script
# [tool.bioreactor]
# name = "Held"
# duration = "10 h"
# needs = ["od"]
# [tool.bioreactor.parameters]
# target_od = {default = 0.5, unit = "OD600", min = 0.05, max = 4, description = "held density"}
# medium = {default = "LB", choices = ["LB", "M9"]}
# night = false
# ///
from bioreactor import experiment, reactor
for _ in experiment.every(seconds=60):
    experiment.record(od=reactor.read("od"))
"""
EXPERIMENT = re.compile(r"/experiment/[0-9A-Z]{26}$")


@pytest.fixture(autouse=True)
def emptied(system: System) -> Iterator[None]:
    """Leave the queue empty, whoever's experiments are in it."""
    yield
    queue = system.http.get("/api/queue/status").json()
    for entry in (*queue["running"], *queue["queue"]):
        system.http.post(f"/api/experiments/{entry['experiment_id']}/cancel")
        system.wait_status(entry["experiment_id"], "cancelled")


def editor(page: Page) -> Locator:
    """Return the editor, which is written in only when it is there."""
    content = page.locator(".cm-content")
    expect(content).to_be_visible()
    return content


def write(page: Page, text: str) -> None:
    """Paste a text in place of the editor's, as a person would."""
    content = editor(page)
    content.press("Control+a")
    content.evaluate(
        """(element, text) => {
             const data = new DataTransfer();
             data.setData('text/plain', text);
             element.dispatchEvent(new ClipboardEvent('paste',
               {clipboardData: data, bubbles: true, cancelable: true, composed: true}));
           }""",
        text,
    )


def mine(page: Page) -> int:
    """Return how many experiments the page's visitor has."""
    total: int = page.evaluate(
        "fetch('/api/experiments/user').then((a) => a.json()).then((b) => b.total)"
    )
    return total


def test_what_is_wrong_stands_where_it_is_wrong(
    visit: Visit, accessible: Callable[[Page], None], shot: Callable[[Page, str], None]
) -> None:
    page = visit()
    page.goto("/upload")
    write(page, SCRIPT.replace("import experiment", "import\nimport requests\nimport experiment"))
    problems = page.locator("#problems li")
    expect(problems.first).to_contain_text("Line 11")
    expect(page.locator(".cm-lintRange-error").first).to_be_visible()
    problems.first.get_by_role("link").click()
    expect(page.locator(".cm-activeLine")).to_contain_text("from bioreactor import")
    write(page, SCRIPT)
    target = page.get_by_label("target_od", exact=True)
    expect(target).to_have_value("0.5")
    expect(page.get_by_label("Name", exact=True)).to_have_attribute("placeholder", "Held")
    expect(page.locator("#problems li")).to_have_count(0)
    expect(page.locator("#fits")).to_contain_text("Can run on")
    expect(page.locator("#ahead")).to_contain_text("starts at once")
    expect(page.locator("#fits")).to_contain_text("expects 10:00 h")
    # The page says by itself what the hub, when it answers, says of it too.
    asked: list[Route] = []

    def keep(route: Route) -> None:  # a built-in function is none for Playwright
        asked.append(route)

    page.route("**/upload*", keep)
    target.fill("9")
    wrong = page.locator("#param-1-wrong")
    expect(wrong).to_have_text("9 is too large. Give at most 4 OD600.")
    page.unroute("**/upload*")
    for route in asked:
        route.continue_()
    expect(wrong.locator("[data-code=SCRIPT_PARAMETERS]")).to_be_visible()
    expect(wrong).to_contain_text("9 is too large. Give at most 4 OD600.")
    accessible(page)
    shot(page, "upload-checked")
    page.get_by_role("button", name="target_od: back to 0.5").click()
    expect(target).to_have_value("0.5")
    expect(wrong).to_have_text("")
    # What was typed is kept while the script does not declare it.
    target.fill("0.7")
    write(page, SCRIPT.replace("target_od", "density"))
    expect(page.get_by_label("density", exact=True)).to_have_value("0.5")
    write(page, SCRIPT)
    expect(target).to_have_value("0.7")


def test_the_editor_completes_the_sdk(visit: Visit) -> None:
    page = visit()
    page.goto("/upload")
    write(page, "from bioreactor import reactor\nreactor.do")
    editor(page).press("Control+End")
    editor(page).press("Control+Space")
    expect(page.locator(".cm-tooltip-autocomplete")).to_contain_text("dose")
    expect(page.locator(".cm-completionInfo")).to_contain_text("Pump a volume")
    write(page, 'from bioreactor import reactor\nreactor.read("')
    editor(page).press("Control+End")
    editor(page).press("Control+Space")
    expect(page.locator(".cm-tooltip-autocomplete")).to_contain_text("temperature")
    page.keyboard.press("Escape")
    page.locator(".cm-line", has_text="reactor.read").get_by_text("read", exact=True).hover()
    expect(page.locator(".cm-tooltip-hover")).to_contain_text("(channel: str) -> float")


def drop(page: Page, name: str, content: str, encoding: str = "utf-8") -> None:
    """Drop a file onto the page's heading: anywhere will do."""
    page.locator("h1").evaluate(
        """(element, [name, bytes]) => {
             const data = new DataTransfer();
             data.items.add(new File([new Uint8Array(bytes)], name));
             for (const type of ['dragenter', 'dragover', 'drop'])
               element.dispatchEvent(new DragEvent(type,
                 {dataTransfer: data, bubbles: true, cancelable: true}));
           }""",
        [name, list(content.encode(encoding))],
    )


def test_a_file_is_dropped_anywhere(visit: Visit) -> None:
    page = visit()
    page.goto("/upload")
    write(page, "mine = 1\n")
    drop(page, "large.py", "#" * (256 * 1024 + 1))
    expect(page.locator(".toast.bad")).to_contain_text("at most 256.0 kB")
    drop(page, "latin.py", "# café\n", "latin-1")
    expect(page.locator(".toast.bad").last).to_contain_text("is not text in UTF-8")
    expect(editor(page)).to_contain_text("mine = 1")
    drop(page, "held.py", SCRIPT)
    expect(editor(page)).to_contain_text("Held")
    expect(page.locator("#filename")).to_have_text("held.py")
    expect(page.get_by_label("target_od", exact=True)).to_have_value("0.5")
    page.get_by_role("button", name="Undo").click()
    expect(editor(page)).to_contain_text("mine = 1")


def test_a_draft_survives_and_goes_when_it_is_queued(visit: Visit) -> None:
    page = visit()
    page.goto("/upload")
    write(page, SCRIPT)
    page.get_by_label("Name", exact=True).fill("Kept through a reload")
    page.get_by_label("medium", exact=True).select_option("M9")
    page.get_by_label("night", exact=True).check()
    page.reload()
    expect(page.get_by_label("medium", exact=True)).to_have_value("M9")
    expect(page.get_by_label("night", exact=True)).to_be_checked()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Kept through a reload")
    # An example begins a draft of its own; the one before is one click away.
    page.locator("[data-example=growth_curve]").click()
    expect(editor(page)).to_contain_text("Growth curve")
    page.get_by_role("button", name="Undo").click()
    expect(editor(page)).to_contain_text("Held")
    expect(page.get_by_label("medium", exact=True)).to_have_value("M9")
    page.get_by_role("button", name="Queue the experiment").dblclick()
    page.wait_for_url(EXPERIMENT)
    assert mine(page) == 1
    told = page.evaluate("fetch(location.href.replace('/experiment/', '/api/experiments/'))"
                         ".then((a) => a.json()).then((b) => b.experiment.parameters)")  # fmt: skip
    assert told == {"target_od": 0.5, "medium": "M9", "night": True}
    again = page.locator("a[href^='/upload?from=']").first
    again.click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Kept through a reload")
    expect(page.get_by_label("medium", exact=True)).to_have_value("M9")
    expect(editor(page)).to_contain_text("Held")
    page.goto("/upload")
    expect(page.get_by_label("Name", exact=True)).to_have_value("")


@pytest.mark.complaints("ERR_FAILED")
def test_a_lost_answer_queues_once(visit: Visit) -> None:
    page = visit()
    page.goto("/upload")
    write(page, SCRIPT)
    expect(page.locator("#verdict")).to_contain_text("Nothing wrong")

    def lose(route: Route) -> None:
        if 'name="request_id"' in (route.request.post_data or "") and "check" not in (
            route.request.post_data or ""
        ):
            route.fetch(max_redirects=0)
            route.abort()
        else:
            route.fallback()

    page.route("**/upload", lose)
    page.get_by_role("button", name="Queue the experiment").click()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.unroute("**/upload")
    page.reload()
    expect(editor(page)).to_contain_text("Held")
    page.get_by_role("button", name="Queue the experiment").click()
    page.wait_for_url(EXPERIMENT)
    assert mine(page) == 1


def test_two_tabs_do_not_overwrite_one_another(visit: Visit) -> None:
    first = visit()
    first.goto("/upload")
    write(first, "first = 1\n")
    expect(first.locator("#verdict")).to_contain_text("Nothing wrong")
    second = first.context.new_page()
    second.goto("/upload")
    expect(second.locator("#drafts")).to_contain_text("first = 1")
    expect(second.locator("#drafts")).to_contain_text("open in another tab")
    second.get_by_role("button", name="first = 1").first.click()
    write(second, "second = 2\n")
    write(first, "first = 11\n")
    expect(first.locator("#draft-notice")).to_contain_text("open in another tab")
    expect(first.locator("#drafts")).to_contain_text("second = 2")
    first.reload()
    expect(editor(first)).to_contain_text("first = 11")


@pytest.mark.complaints("400")
def test_quota_and_no_reactor_are_said_before(visit: Visit, system: System) -> None:
    page = visit()
    page.goto("/upload")
    write(page, SCRIPT.replace('["od"]', '["xenon"]'))
    expect(page.locator("#problems")).to_contain_text("no reactor has the channel 'xenon'")
    expect(page.locator("#fits")).to_contain_text("No reactor here can run it.")
    expect(page.locator("#unsuitable summary")).to_have_text("Why not")
    expect(page.locator("#unsuitable")).to_contain_text("it does not have xenon")
    write(page, SCRIPT)
    page.evaluate(
        """async (script) => {
             for (let i = 0; i < 5; i += 1)
               await fetch('/api/experiments/start', {method: 'POST',
                 headers: {'Content-Type': 'application/json'},
                 body: JSON.stringify({script_content: script, name: `Number ${i}`})});
           }""",
        SCRIPT,
    )
    page.get_by_label("Name", exact=True).fill("One too many")
    expect(page.locator("#ahead")).to_contain_text("at most 5")
    expect(page.locator("#quota")).to_contain_text("5 of 5")
    page.get_by_role("button", name="Queue the experiment").click()
    expect(page.locator("#refused [data-code=USER_LIMIT]")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_enabled()
    expect(editor(page)).to_contain_text("Held")
    other = visit()
    other.goto("/upload")
    write(other, SCRIPT)
    expect(other.locator("#ahead")).to_contain_text("number 4 in the queue")
    expect(other.locator("#ahead")).to_contain_text("starts about")


@pytest.mark.complaints("400")  # the page that says what is wrong
def test_all_of_it_without_javascript(visit: Visit) -> None:
    page = visit(java_script_enabled=False)
    page.goto("/upload")
    page.locator("input[type=file]").set_input_files(
        {"name": "held.py", "mimeType": "text/x-python", "buffer": SCRIPT.encode()}
    )
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_label("target_od", exact=True)).to_have_value("0.5")
    expect(page.locator("#script")).to_have_value(SCRIPT)
    page.get_by_label("target_od", exact=True).fill("much")
    page.get_by_role("button", name="Queue the experiment").click()
    expect(page.locator(".parameter").first).to_contain_text("A number is wanted")
    page.get_by_label("target_od", exact=True).fill("0.7")
    page.get_by_label("night", exact=True).check()
    page.get_by_role("button", name="Queue the experiment").click()
    page.wait_for_url(EXPERIMENT)
    expect(page.locator("body")).to_contain_text("Held")
