"""A page brings itself up to date by its regions: all that can change must stand in one, always."""

from collections.abc import Mapping
from html.parser import HTMLParser

import httpx
import pytest

from portal.frontend.dev.preview import app
from portal.frontend.dev.samples import ulid

STATES = (
    "busy", "new", "empty", "hub-offline", "broker-down", "paused", "recovery", "estop", "alarms",
    "manual", "conflict",
)  # fmt: skip
"""Of the laboratory."""
PAGES = (
    "/", "/my-experiments", f"/experiment/{ulid(40)}", "/queue", "/nodes", "/nodes/reactor-1",
    "/nodes/reactor-2", "/admin", "/admin/users", "/admin/retention", "/admin/tokens",
)  # fmt: skip
VOID = frozenset(("meta", "link", "input", "br", "img", "use", "rect", "path", "hr"))


class Frame(HTMLParser):
    """What of a page's body a refresh leaves as it is.

    Attributes:
        regions: The ids of those that it replaces.
        fixed: All tags and texts outside of them, and of what belongs to scripts.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.regions: list[str] = []
        self.fixed: list[str] = []
        self._within = 0
        self._body = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._body = self._body or tag == "body"
        if self._within:
            self._within += tag not in VOID
        elif "data-region" in given:
            self.regions.append(given["id"] or "")
            self._within = 1
        elif self._body and tag not in VOID and _is_others(tag, given):
            self._within = 1
        elif self._body:
            self.fixed.append(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        if self._within and tag not in VOID:
            self._within -= 1

    def handle_data(self, data: str) -> None:
        if self._body and not self._within and data.strip():
            self.fixed.append(data.strip())


def _is_others(tag: str, given: Mapping[str, str | None]) -> bool:
    """Whether it belongs to a script, or to who has none: who reloads anyhow."""
    return "data-keep" in given or tag == "noscript" or "without-js" in (given.get("class") or "")


@pytest.mark.parametrize("path", PAGES)
async def test_nothing_that_changes_stands_outside_of_the_regions(path: str) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://preview") as client:

        async def frame(**query: str) -> Frame:
            answer = await client.get(path, params=query)
            assert answer.status_code == 200
            return Frame(answer.text)

        usual = await frame()
        assert {"nav", "banners", "foot", "state"} <= set(usual.regions)
        for state in STATES:
            for who in ("administrator", "guest"):
                seen = await frame(state=state, **{"as": who})
                assert seen.regions == usual.regions, (state, who)
                assert seen.fixed == usual.fixed, (state, who)
