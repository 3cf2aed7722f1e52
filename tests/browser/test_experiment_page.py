"""The page of an experiment: charts, log, parameters and results of one that really runs."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.support.system import System, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(600)]

LINES = 4000
SCRIPT = f'''# /// script
# [tool.bioreactor]
# name = "watched"
# needs = ["od", "stirring"]
# [tool.bioreactor.parameters]
# target = {{default = 0.5, unit = "OD600", min = 0.05, max = 4, description = "held density"}}
# strain = "MG1655"
# done = false
# ///
import sys
from bioreactor import experiment, reactor

print("\\x1b[31mred alert\\x1b[0m <b id='injected'>not bold</b>")
for n in range({LINES}):
    print(f"line {{n}} needle" if n % 1000 == 7 else f"line {{n}}")
print("careful", file=sys.stderr)
print("long " + "x" * 5000)
reactor.set("stirring", 500)
experiment.save("evil.svg", """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20">
<script>parent.document.title = "taken over"; alert(1)</script>
<rect width="40" height="20"/></svg>""")
experiment.save("table.csv", "time,what\\n1,<i id='cell'>x</i>\\n2,y\\n")
for _ in experiment.every(seconds=60):
    experiment.record(twice=2 * experiment.parameters["target"])
    if experiment.parameters["done"]:
        break
'''


@pytest.fixture(scope="module")
def running(system: System) -> Iterator[str]:
    """One experiment that runs until a test tells it to end."""
    experiment_id = system.start_experiment(SCRIPT)
    system.wait_status(experiment_id, "running")

    def written() -> bool:
        logs = system.http.get(f"/api/experiments/{experiment_id}/logs?search=long").json()
        return bool(logs["found"])

    wait_for("the whole log", written, 120)
    yield experiment_id
    system.http.post(f"/api/experiments/{experiment_id}/cancel")


def open_page(page: Page, experiment_id: str) -> Locator:
    """Go to the page and return its first chart, drawn."""
    page.goto(f"/experiment/{experiment_id}")
    expect(page.locator("#board .uplot").first).to_be_visible()
    return page.locator("#board .panel").first


def choose(page: Page, panel: Locator, item: str) -> None:
    panel.locator("summary").click()
    panel.get_by_role("button", name=item).click()


def test_charts_are_zoomed_chosen_and_taken_home(
    running: str, visit: Visit, accessible: Callable[[Page], None], tmp_path: Path
) -> None:
    page = visit()
    chart = open_page(page, running)
    expect(page.get_by_text(re.compile("simulated, 20 . real time"))).to_be_visible()
    accessible(page)
    chart.get_by_role("button", name="log").click()
    chart.locator(".plot").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#board-voice")).to_have_text(re.compile(r"\d+:\d\d:\d\d: Optical density"))
    page.keyboard.press("+")
    expect(page.locator("#reset-zoom")).to_be_visible()
    page.keyboard.press("0")
    expect(page.locator("#reset-zoom")).to_be_hidden()
    page.select_option("#axis", "clock")
    chart.locator(".u-over").hover()
    expect(page.locator("#board-at")).to_have_text(
        re.compile(r"simulated · \w+ \d+, \d+:\d\d:\d\d")
    )
    with page.expect_download() as picture:
        choose(page, chart, "Picture (PNG)")
    picture.value.save_as(tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG\r\n")
    with page.expect_download() as values:
        choose(page, chart, "What is shown (CSV)")
    values.value.save_as(tmp_path / "chart.csv")
    head, first = (tmp_path / "chart.csv").read_text().splitlines()[:2]
    assert head == "elapsed_s,time,od"
    assert re.fullmatch(r"[\d.]+,\d{4}-\d\d-\d\dT[\d:.]+Z,[\d.]+", first)
    choose(page, chart, "Table")
    expect(chart.get_by_role("columnheader", name="Optical density")).to_be_visible()
    page.locator("#marks summary").click()
    expect(page.locator("#marks td", has_text="stirring → 500")).to_be_visible()
    accessible(page)
    choose(page, chart, "Hide")
    expect(chart).to_be_hidden()
    open_page(page, running)
    chart = page.locator(".panel[aria-label^='Optical density']")
    expect(chart).to_be_hidden()  # remembered
    page.locator("summary", has_text="Lines").click()
    page.get_by_role("checkbox", name="Optical density").check()
    page.keyboard.press("Escape")
    expect(chart.get_by_role("button", name="log")).to_have_attribute("aria-pressed", "true")


def test_the_log_is_searched_as_a_whole_and_shown_harmlessly(
    running: str, visit: Visit, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    open_page(page, running)
    lines = page.locator("#lines")
    expect(lines.get_by_text(re.compile("^long x"))).to_be_visible()
    page.fill("#find", "needle")
    expect(page.locator("#found")).to_have_text("4 lines")  # three are not in the browser yet
    page.keyboard.press("Enter")
    page.locator("#find-previous").click()
    expect(page.locator("#found")).to_have_text(re.compile("^[1-4] of 4$"))
    for _ in range(4):
        page.locator("#find-next").click()
    expect(lines.locator(".current mark")).to_have_text("needle")
    page.fill("#find", "red alert")
    expect(page.locator("#found")).to_have_text("1 line")
    page.locator("#find-next").click()
    expect(lines.locator(".current .ansi-red")).to_have_text("red alert")
    expect(lines).to_contain_text("<b id='injected'>not bold</b>")
    assert page.locator("#injected").count() == 0
    assert lines.locator(".block > div").count() < 1500
    page.fill("#find", "")
    page.locator("#streams").get_by_role("button", name="Errors").click()
    expect(lines.locator(".block > div")).to_have_text([re.compile("careful")])
    page.locator("#streams").get_by_role("button", name="All").click()
    page.get_by_role("button", name="Follow").click()
    page.get_by_role("button", name=re.compile("characters more")).click()
    accessible(page)


def test_the_history_is_on_its_way_before_the_module_and_only_for_it(
    running: str, visit: Visit
) -> None:
    page = visit()
    open_page(page, running)
    expect(page.locator(".panel .uplot").first).to_be_visible()
    asked = page.evaluate(
        "performance.getEntriesByType('resource')"
        ".filter(({name}) => name.endsWith('/history?points=800')).map((e) => e.initiatorType)"
    )
    assert asked == ["link"]
    plain = visit(java_script_enabled=False)
    requests: list[str] = []
    plain.on("request", lambda request: requests.append(request.url))
    plain.goto(f"/experiment/{running}", wait_until="networkidle")
    assert any(url.endswith(f"/experiment/{running}") for url in requests)
    assert [url for url in requests if "/history" in url] == []


@pytest.mark.complaints("409")
def test_parameters_reach_the_script_and_nobody_overwrites_another(
    running: str, system: System, visit: Visit, accessible: Callable[[Page], None]
) -> None:
    page = visit()
    open_page(page, running)
    target = page.get_by_label("target")
    target.fill("0.7")
    system.http.post(f"/api/experiments/{running}/parameters", json={"parameters": {"target": 0.6}})
    expect(page.get_by_text("Somebody else set target to 0.6 meanwhile.")).to_be_visible()
    accessible(page)
    page.get_by_role("button", name="Keep mine").click()
    page.get_by_role("button", name="Send to the script").click()
    expect(page.get_by_text("The script saw the last change")).to_be_visible()
    assert system.status(running)["parameters"]["target"] == 0.7
    page.locator("#parameters-changes summary").click()
    expect(page.locator("#parameters-changes li")).to_have_count(2)
    target.fill("9")
    page.get_by_role("button", name="Send to the script").click()
    assert target.evaluate("field => !field.validity.valid")
    answer = system.http.post(
        f"/api/experiments/{running}/parameters",
        json={"parameters": {"target": 1}, "expected": {"target": 0.5}},
    )
    assert answer.status_code == 409, answer.text


def test_a_form_without_scripts_ends_it_and_its_results_are_looked_into(
    running: str, system: System, visit: Visit, accessible: Callable[[Page], None]
) -> None:
    plain = visit(java_script_enabled=False)
    plain.goto(f"/experiment/{running}")
    plain.get_by_label("done").select_option("true")
    plain.get_by_role("button", name="Send to the script").click()
    expect(plain.get_by_role("alert").or_(plain.get_by_role("status")).first).to_be_visible()
    system.wait_status(running, "completed")
    page = visit()
    page.on("dialog", lambda dialog: pytest.fail(f"a result opened a dialog: {dialog.message}"))
    open_page(page, running)
    page.get_by_label("Look into evil.svg").click()
    picture = page.get_by_alt_text("evil.svg")
    expect(picture).to_be_visible()
    page.wait_for_function("image => image.complete", arg=picture.element_handle())
    assert picture.evaluate("image => image.naturalWidth") > 0
    page.get_by_label("Look into table.csv").click()
    expect(page.get_by_role("cell", name="<i id='cell'>x</i>")).to_be_visible()
    assert page.locator("#cell").count() == 0
    assert "watched" in page.title()
    headers = system.http.head(f"/api/experiments/{running}/files/evil.svg").headers
    assert headers["content-disposition"].startswith("attachment")
    assert "sandbox" in headers["content-security-policy"]
    page.locator("#script-card summary").click()
    expect(page.locator("#script .tok-keyword").first).to_be_visible()
    page.locator("#history summary").click()
    expect(page.locator("#history")).to_contain_text("The script saw the parameters")
    accessible(page)
