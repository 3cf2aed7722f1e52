"""Pages look as they did. `make snapshots` takes the pictures anew, to be looked at in the diff.

They are taken of sample laboratories at which time stands still.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from portal.frontend.dev.records import FROZEN_AT
from portal.frontend.dev.shots import PAGES, unfold
from tests.browser.conftest import ARTIFACTS
from tests.support.pictures import TOLERATED, difference, keep

pytestmark = [pytest.mark.browser]
KEPT: Final = Path(__file__).parent / "snapshots"
UPDATE: Final = "UPDATE_SNAPSHOTS" in os.environ
WIDTHS: Final = {"wide": 1440, "middle": 768, "phone": 390}
STYLE: Final = """:root, :host { --mono: var(--font) !important }
*, *::before, *::after { animation: none !important; transition: none !important;
  caret-color: transparent !important; scrollbar-width: none }"""
"""Fonts are our own alone, and nothing moves."""
SNAPSHOTS: Final = (
    "home wide light", "home phone dark", "home-new middle light", "home-estop middle dark",
    "home-broker-down wide dark", "upload wide light", "upload-errors phone light",
    "my-experiments wide dark", "my-experiments phone light", "compare wide light",
    "queue wide light", "queue phone dark", "queue-conflict middle light",
    "queue-run-now wide dark", "experiment-running wide light", "experiment-running phone dark",
    "experiment-failed middle dark", "experiment-queued wide dark", "reactors wide light",
    "reactor wide dark", "reactor-manual phone light", "reactor-estop middle light",
    "admin wide light", "admin-audit phone dark", "broken middle light",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(browser: Browser, preview: str) -> Iterator[Page]:
    """A page on which time stands still."""
    context = browser.new_context(
        base_url=preview, bypass_csp=True, reduced_motion="reduce", locale="en-GB",
        timezone_id="Europe/Berlin", device_scale_factor=1, service_workers="block",
    )  # fmt: skip
    page = context.new_page()
    page.clock.set_fixed_time(FROZEN_AT)
    yield page
    context.close()


def picture_of(page: Page, name: str, width: int, theme: str) -> Image.Image:
    """Return the picture of a whole page, once nothing changes in it any more."""
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(PAGES[name])
    page.add_style_tag(content=STYLE)
    unfold(page, width)
    taken = page.screenshot()
    for _ in range(20):
        page.wait_for_timeout(250)
        before, taken = taken, page.screenshot()
        if before == taken:
            return Image.open(io.BytesIO(taken)).convert("RGB")
    pytest.fail(f"{name} does not come to rest")


@pytest.mark.parametrize("snapshot", SNAPSHOTS)
def test_a_page_looks_as_it_did(page: Page, snapshot: str) -> None:
    name, size, theme = snapshot.split()
    actual = picture_of(page, name, WIDTHS[size], theme)
    path = KEPT / f"{name}-{WIDTHS[size]}-{theme}.webp"
    if not path.exists():
        assert UPDATE, f"there is no {path.name}: make snapshots takes it"
        keep(actual, path)
        return
    expected = Image.open(path).convert("RGB")
    cells, where = difference(expected, actual)
    if cells <= TOLERATED:
        return
    if UPDATE:
        keep(actual, path)
        return
    ARTIFACTS.mkdir(exist_ok=True)
    for what, picture in (("expected", expected), ("actual", actual), ("difference", where)):
        picture.save(ARTIFACTS / f"{path.stem}-{what}.png")
    pytest.fail(f"{path.stem} differs in {cells} places; see tests/artifacts, or make snapshots")


def test_no_picture_is_left_over() -> None:
    wanted = {f"{n}-{WIDTHS[w]}-{t}.webp" for n, w, t in map(str.split, SNAPSHOTS)}
    for path in KEPT.glob("*.webp"):
        if path.name not in wanted and UPDATE:
            path.unlink()
        assert path.name in wanted or UPDATE, f"no test looks at {path.name}"
    assert sum(path.stat().st_size for path in KEPT.glob("*.webp")) < 2_000_000


def test_a_real_change_is_noticed_and_smoothing_is_not(page: Page) -> None:
    """What the pictures are compared with is neither blind nor nervous."""
    first = picture_of(page, "queue-conflict", 768, "light")
    style = page.add_style_tag(
        content="body { text-rendering: geometricPrecision; -webkit-text-stroke: 0.1px }"
    )
    smoothed = Image.open(io.BytesIO(page.screenshot()))
    assert difference(first, smoothed)[0] <= TOLERATED
    assert first.tobytes() != smoothed.convert("RGB").tobytes()
    style.evaluate("style => style.remove()")
    changes = {
        ".btn.primary": "background: #b33 !important",  # a colour
        "#waiting li:nth-child(2) .chip": "visibility: hidden",  # a mark that is missing
        "#waiting li:nth-child(2)": "padding-block: 1.4em",  # a distance
        "h1": "font-size: 2.2rem !important",  # a size
    }
    for selector, change in changes.items():
        style = page.add_style_tag(content=f"{selector} {{ {change} }}")
        changed = Image.open(io.BytesIO(page.screenshot()))
        assert difference(first, changed)[0] > TOLERATED, change
        style.evaluate("style => style.remove()")
