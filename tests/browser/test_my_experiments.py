"""My experiments in a real browser: find, name, compare, delete and take it back, run again."""

import re
from collections.abc import Callable, Mapping

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.support.system import System

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(600)]
Shot = Callable[[Page, str], None]
Look = Callable[[Page], None]

SCRIPT = """\
# /// script
# [tool.bioreactor.parameters]
# target = {default = 0.4}
# ///
from bioreactor import experiment, reactor

for _ in experiment.every(seconds=20, duration=60):
    experiment.record(seen=reactor.read("od"))
"""


def submit(page: Page, name: str, parameters: Mapping[str, float]) -> str:
    """Submit as whoever has the page, and return the experiment's id."""
    origin = re.match(r"https?://[^/]+", page.url)
    assert origin is not None
    answer = page.request.post(
        "/api/experiments/start",
        data={"script_content": SCRIPT, "name": name, "parameters": parameters},
        headers={"Origin": origin[0]},
    )
    assert answer.ok, answer.text()
    return str(answer.json()["experiment_id"])


def settled(page: Page) -> None:
    """Wait until the page is live: a browser complains of a connection that is left half made."""
    expect(page.locator("#link")).to_have_text("Live")


@pytest.mark.complaints("status of 409")
def test_what_people_do_with_their_runs(
    system: System, visit: Visit, accessible: Look, shot: Shot
) -> None:
    page = visit()
    page.goto("/my-experiments")
    settled(page)
    expect(page.get_by_text("No experiments yet")).to_be_visible()
    one = submit(page, "Growth at 30", {"target": 0.3})
    other = submit(page, "Growth at 37", {"target": 0.4})
    row, second = page.locator(f"#run-{one}"), page.locator(f"#run-{other}")
    expect(row).to_be_visible()  # the list is live
    for experiment in (one, other):
        system.wait_status(experiment, "completed")
    expect(row.get_by_text("completed")).to_be_visible()
    expect(second.get_by_text("completed")).to_be_visible()
    accessible(page)

    # What is ticked stays so while the list changes under it.
    row.get_by_role("checkbox").check()
    system.http.patch(f"/api/experiments/{other}", json={"note": "from elsewhere"})
    expect(second).to_contain_text("from elsewhere")
    expect(row.get_by_role("checkbox")).to_be_checked()
    row.get_by_role("checkbox").uncheck()

    # A name and a note, in a sheet over the list; the search finds the note.
    row.get_by_role("link", name="Name and note").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_role("textbox", name="Name").fill("Growth at 30 °C")
    sheet.get_by_role("textbox", name="Note").fill("the blue flask\nwith foam")
    accessible(page)
    sheet.get_by_role("button", name="Save").click()
    expect(sheet).to_have_count(0)
    expect(row.get_by_role("link", name="Growth at 30 °C", exact=True)).to_be_visible()
    expect(row).to_contain_text("the blue flask")
    page.get_by_label("Search name, note or id").fill("BLUE")
    expect(second).to_have_count(0)
    expect(page).to_have_url(re.compile("search=BLUE"))
    page.get_by_label("Search name, note or id").fill("")
    expect(second).to_be_visible()

    # What somebody else wrote meanwhile is shown before it is overwritten.
    second.get_by_role("link", name="Name and note").click()
    sheet.get_by_role("textbox", name="Note").fill("mine")
    system.http.patch(f"/api/experiments/{other}", json={"note": "theirs"})
    sheet.get_by_role("button", name="Save").click()
    expect(sheet.get_by_role("alert")).to_contain_text("theirs")
    expect(sheet.get_by_role("textbox", name="Note")).to_have_value("mine")
    sheet.get_by_role("button", name="Save").click()
    expect(sheet).to_have_count(0)
    expect(second).to_contain_text("mine")

    # Another order, by a link that stands in the address.
    page.get_by_role("navigation", name="Order").get_by_role("link", name="Name").click()
    expect(page).to_have_url(re.compile("sort=name&ascending=true"))
    settled(page)
    rows = page.locator("#list [data-run]")
    expect(rows.first).to_have_attribute("data-run", one)

    # Two in the same charts, one of them hidden again.
    compare = page.get_by_role("button", name="Compare")
    expect(compare).to_be_hidden()
    row.get_by_role("checkbox").check()
    expect(compare).to_be_disabled()
    second.get_by_role("checkbox").check()
    compare.click()
    page.wait_for_url(re.compile(f"/compare\\?ids={one}&ids={other}"))
    settled(page)
    chart = page.get_by_role("region", name="Optical density")
    expect(chart.locator("canvas")).to_be_visible()
    expect(chart.locator(".key", has_text=re.compile(r"^A\d"))).to_be_visible()
    expect(page.get_by_role("region", name="seen").locator("canvas")).to_be_visible()
    expect(page.get_by_role("row", name="target")).to_contain_text("0.3")
    accessible(page)
    shot(page, "compare")
    page.get_by_role("button", name="Show B in the charts").click()
    expect(chart.locator(".key:visible")).to_have_count(1)

    # Deleted, and taken back.
    page.goto("/my-experiments")
    settled(page)
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    accessible(page)
    undo.press("Enter")
    expect(row).to_be_visible()
    expect(undo).to_have_count(0)
    expect(row).to_contain_text("the blue flask")

    # The experiment's own page shows the note, and changes it.
    page.goto(f"/experiment/{one}")
    settled(page)
    expect(page.locator("#head")).to_contain_text("the blue flask")
    page.get_by_role("link", name="Name and note").click()
    sheet.get_by_role("textbox", name="Note").fill("the green flask")
    sheet.get_by_role("button", name="Save").click()
    expect(page.locator("#head")).to_contain_text("the green flask")
    page.goto("/my-experiments")
    settled(page)

    # Again, with changes: the form has its script, its name and its parameters.
    row.get_by_role("link", name="Run again with changes").click()
    page.wait_for_url(re.compile(rf"/upload\?from={one}"))
    settled(page)
    expect(page.get_by_label("Name", exact=True)).to_have_value("Growth at 30 °C")
    expect(page.locator("[name='param.target']")).to_have_value("0.3")


def test_others_are_seen_and_left_alone(system: System, visit: Visit) -> None:
    """Their runs are in the list of everybody's; without scripts, too."""
    theirs = system.start_experiment("print('x')\n", name="Somebody else's")
    system.wait_status(theirs, "completed")
    page = visit(java_script_enabled=False)
    page.goto("/my-experiments")
    expect(page.locator(f"#run-{theirs}")).to_have_count(0)
    page.get_by_label("Whose").select_option("all")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(f"#run-{theirs}")).to_contain_text("Somebody else's")
