"""Every page in every state, against WCAG 2.2 AA, light and dark, wide or on a phone.

Each page is looked at in both widths: wide in the light, and in the dark on a phone. Each of its
states is looked at in one width and in both. They are those of sample laboratories that
`portal.frontend.dev.shots` lists.
"""

from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, Page

from portal.frontend.dev.shots import PAGES
from tests.browser.conftest import RULES, violations

pytestmark = [pytest.mark.browser]
WIDE: Final = (1440, 390)
LIGHT: Final = ("light", RULES)
DARK: Final = ("dark", RULES)
DARK_COLOURS: Final = ("dark", ["color-contrast"])
LOOKED_AT: Final = [
    (name, width)
    for at, (name, address) in enumerate(PAGES.items())
    for width in (WIDE if "?" not in address else (WIDE[at % 2],))
]
OPENED: Final = {
    "menu of the queue": ("queue", "#halt > summary", ".panel"),
    "keys": ("home", "#keys", "dialog[open]"),
    "question": ("queue", "#waiting [aria-label^='Cancel:'] >> nth=0", "dialog[open]"),
    "emergency stop": ("reactor-free", "#estop button", "dialog[open]"),
    "run now": ("queue", "[data-sheet='run-now'] >> nth=0", "dialog[open]"),
    "lines of the charts": (
        "experiment-running",
        "details.menu > summary >> nth=0",
        "details[open]",
    ),
    "selection": ("queue", "#waiting input[type=checkbox] >> nth=0", "#selection"),
}
"""What opens: where, by what, and what is there then."""


@pytest.fixture(scope="module")
def page(browser: Browser, preview: str) -> Iterator[Page]:
    """One page, for all to go to."""
    context = browser.new_context(
        base_url=preview, reduced_motion="reduce", service_workers="block"
    )  # fmt: skip
    yield context.new_page()
    context.close()


def faults(page: Page, *looks: tuple[str, list[str]]) -> list[str]:
    """Return what is wrong in each theme by its rules: colours are all that differs."""
    found: list[str] = []
    for theme, rules in looks:
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        kind = "tag" if rules is RULES else "rule"
        wrong = violations(page, {"type": kind, "values": rules})
        found += [f"{theme} {one}" for one in wrong]
    return found


@pytest.mark.parametrize(("name", "width"), LOOKED_AT)
def test_no_state_of_a_page_shuts_anybody_out(page: Page, name: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(PAGES[name])
    page.locator("h1").first.wait_for(state="attached")
    if "?" in PAGES[name]:
        assert faults(page, LIGHT, DARK_COLOURS) == []
    else:
        assert faults(page, LIGHT if width == WIDE[0] else DARK) == []
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, "it must be scrolled sideways"


@pytest.mark.parametrize("what", OPENED)
def test_what_opens_shuts_nobody_out(page: Page, what: str) -> None:
    name, opener, opened = OPENED[what]
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(PAGES[name])
    page.locator("#link[data-state=live]").wait_for(state="attached")
    page.locator(opener).click()
    page.locator(opened).first.wait_for()
    assert faults(page, LIGHT, DARK_COLOURS) == []
