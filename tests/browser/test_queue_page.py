"""The queue's page, as two people and an administrator use it at once."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.support.system import System

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(300)]

FOR_EVER = "from bioreactor import experiment\nfor _ in experiment.every(seconds=60):\n    pass\n"


@pytest.fixture
def waiting(system: System) -> Iterator[list[str]]:
    """A paused queue in which three wait; it is left empty and running."""
    assert system.http.post("/api/queue/pause").status_code == 200
    ids = [system.start_experiment(FOR_EVER, name=name) for name in ("alpha", "beta", "gamma")]
    yield ids
    body = {"verb": "cancel", "ids": ids}
    assert system.http.post("/api/experiments/selected", json=body).status_code == 200
    for one in ids:
        system.wait_status(one, "cancelled")
    system.http.post("/api/queue/resume")


def names(page: Page) -> Locator:
    return page.locator("#waiting > li a.line")


def grip(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=re.compile(f"^Move {name}, number"))


def test_people_who_move_at_once_see_each_other(
    visit: Visit, waiting: list[str], accessible: Callable[[Page], None]
) -> None:
    ada, ben, boss = visit(), visit(), visit()
    for page in (ada, ben, boss):
        page.goto("/queue")
        expect(names(page)).to_have_text(["alpha", "beta", "gamma"])
    accessible(ada)

    # One moves with the keyboard; all see it, and those who cannot see hear it.
    grip(ada, "gamma").focus()
    ada.keyboard.press("Alt+ArrowUp")
    for page in (ada, ben, boss):
        expect(names(page)).to_have_text(["alpha", "gamma", "beta"])
    expect(ada.locator("#order-said")).to_have_text("gamma is now number 2 of 3")
    expect(ben.locator("#order-said")).to_have_text(re.compile(r"moved gamma to number 2 of 3"))
    expect(grip(ada, "gamma")).to_be_focused()

    # The focus went along: the keys go on.
    ada.keyboard.press("Alt+Home")
    for page in (ada, ben, boss):
        expect(names(page)).to_have_text(["gamma", "alpha", "beta"])

    # A drag by pointer.
    source, target = grip(boss, "beta").bounding_box(), names(boss).nth(0).bounding_box()
    assert source is not None
    assert target is not None
    boss.mouse.move(source["x"] + 5, source["y"] + 5)
    boss.mouse.down()
    boss.mouse.move(source["x"] + 5, target["y"] - 12, steps=8)
    boss.mouse.up()
    for page in (ada, ben, boss):
        expect(names(page)).to_have_text(["beta", "gamma", "alpha"])
    expect(ben.locator("#audit li").first).to_contain_text("moved “beta”")


@pytest.mark.complaints("409")
def test_a_move_that_crosses_another_one_is_shown_and_can_be_repeated(
    visit: Visit, system: System, waiting: list[str], accessible: Callable[[Page], None]
) -> None:
    alpha, beta, gamma = waiting
    ada = visit()
    ada.goto("/queue")
    expect(names(ada)).to_have_text(["alpha", "beta", "gamma"])
    source, target = grip(ada, "alpha").bounding_box(), names(ada).nth(2).bounding_box()
    assert source is not None
    assert target is not None
    ada.mouse.move(source["x"] + 5, source["y"] + 5)
    ada.mouse.down()
    ada.mouse.move(source["x"] + 5, target["y"] + target["height"] + 30, steps=8)
    # While she holds it, somebody else moves the same one.
    path = f"/api/experiments/{alpha}/reorder?after={beta}"
    assert system.http.post(path).status_code == 200
    expect(names(ada)).to_have_text(["alpha", "beta", "gamma"])  # nothing moves under her hand
    conflict = ada.locator("#conflict")
    conflict.focus()  # what has the focus is brought up to date like everything else
    ada.mouse.up()

    expect(conflict).to_contain_text("The order was changed meanwhile")
    expect(conflict).to_contain_text("moved “alpha”")
    expect(conflict).to_contain_text("“alpha” behind “gamma”")
    expect(names(ada)).to_have_text(["beta", "alpha", "gamma"])
    accessible(ada)
    conflict.get_by_role("button", name="Move all the same").click()
    expect(names(ada)).to_have_text(["beta", "gamma", "alpha"])
    expect(conflict.locator("section")).to_have_count(0)
    assert gamma


def test_several_are_paused_moved_and_cancelled_together(
    visit: Visit, waiting: list[str], accessible: Callable[[Page], None]
) -> None:
    page = visit()
    page.goto("/queue")
    bar = page.get_by_role("region", name="What is selected")
    expect(bar).to_be_hidden()
    # One by the keyboard: what the button means changes under it, and the focus stays.
    page.get_by_role("button", name="Pause: beta").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Resume: beta")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Pause: beta")).to_be_focused()
    for name in ("beta", "gamma"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    expect(bar).to_contain_text("2 selected")
    accessible(page)
    bar.get_by_role("button", name="Pause").click()
    expect(page.locator("#waiting .chip.paused")).to_have_count(2)
    expect(page.locator("#waiting .place")).to_have_text(["1", "\N{EN DASH}", "\N{EN DASH}"])
    for name in ("beta", "gamma"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    bar.get_by_role("button", name="Move first").click()
    expect(names(page)).to_have_text(["beta", "gamma", "alpha"])
    page.get_by_role("checkbox", name="Select beta").check()
    bar.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the experiment").click()
    expect(names(page)).to_have_text(["gamma", "alpha"])


@pytest.mark.parametrize("size", [(1440, 420), (390, 700)], ids=["desktop", "phone"])
def test_what_to_do_with_those_selected_is_always_in_sight(
    visit: Visit, waiting: list[str], accessible: Callable[[Page], None], size: tuple[int, int]
) -> None:
    page = visit(viewport={"width": size[0], "height": size[1]})
    page.goto("/queue")
    expect(names(page)).to_have_count(len(waiting))
    bar = page.get_by_role("region", name="What is selected")
    tick = page.get_by_role("checkbox", name="Select alpha")
    tick.focus()
    page.keyboard.press("Space")
    expect(page.locator("#audit")).not_to_be_in_viewport()
    expect(bar).to_be_in_viewport(ratio=1)
    accessible(page)
    # Whoever hears the page comes to it after the list; a key leads there at once.
    order = "document.querySelector('#waiting').compareDocumentPosition(arguments[0]) & 4"
    assert bar.evaluate(f"(...arguments) => {order}")
    page.keyboard.press("s")
    expect(bar.get_by_role("button", name="Pause")).to_be_focused()
    # It covers nothing that has the focus.
    page.locator("#waiting > li").first.get_by_role("link").first.focus()
    seen = """() => { const on = document.activeElement, at = on.getBoundingClientRect();
        const top = document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2);
        return on.contains(top) || top?.contains(on) ? '' : on.outerHTML; }"""
    for _ in range(24):
        page.keyboard.press("Tab")
        assert page.evaluate(seen) == ""
    tick.uncheck()
    expect(bar).to_be_hidden()


def test_run_now_names_what_it_stops(
    visit: Visit, system: System, accessible: Callable[[Page], None]
) -> None:
    script = '# /// script\n# [tool.bioreactor]\n# node = "reactor-1"\n# ///\n' + FOR_EVER
    first = system.start_experiment(script, name="the long one")
    system.wait_status(first, "running")
    second = system.start_experiment(script, name="urgent")
    try:
        page = visit()
        page.goto("/queue")
        page.get_by_role("link", name="Run now: urgent").click()
        sheet = page.get_by_role("dialog")
        expect(sheet).to_contain_text("Stops “the long one”")
        expect(sheet).to_contain_text("which has run for")
        expect(sheet).to_contain_text("is kept and can be downloaded")
        accessible(page)
        sheet.get_by_role("button", name="Stop it and run here").click()
        expect(sheet).to_have_count(0)
        system.wait_status(first, "cancelled")
        system.wait_status(second, "running")
    finally:
        for one in (first, second):
            system.http.post(f"/api/experiments/{one}/cancel")
        system.wait_status(second, "cancelled")


def test_the_queue_without_javascript(visit: Visit, system: System, waiting: list[str]) -> None:
    page = visit(java_script_enabled=False)
    page.goto("/queue")
    page.get_by_role("button", name="Move up: gamma").click()
    expect(names(page)).to_have_text(["alpha", "gamma", "beta"])
    page.get_by_role("checkbox", name="Select beta").check()
    page.get_by_label("Move before which one").select_option(waiting[0])
    # Somebody moves meanwhile; the form is of the order before.
    path = f"/api/experiments/{waiting[0]}/reorder?after={waiting[2]}"
    assert system.http.post(path).status_code == 200
    page.get_by_role("button", name="Move before", exact=True).click()
    expect(page.locator("#conflict")).to_contain_text("“beta” before “alpha”")
    expect(names(page)).to_have_text(["gamma", "alpha", "beta"])
    page.get_by_role("button", name="Move all the same").click()
    expect(names(page)).to_have_text(["gamma", "beta", "alpha"])
    page.get_by_role("button", name="Cancel: beta").click()
    expect(page.locator("main")).to_contain_text("Cancel this experiment?")
    page.get_by_role("button", name="Cancel the experiment").click()
    page.goto("/queue")
    expect(names(page)).to_have_text(["gamma", "alpha"])
    page.get_by_role("button", name="Resume queue").click()
    page.goto("/queue")
    page.locator("summary", has_text="Pause or drain").click()
    page.get_by_label("Why, shown to everybody").fill("the autoclave is broken")
    page.get_by_role("button", name="Pause queue").click()
    expect(page.locator("#banners")).to_contain_text("the autoclave is broken (by ")
