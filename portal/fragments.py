"""Parts of pages that are rendered once and kept, because most of a page is what it was before.

Templates use both with `{% call %}`; what stands inside is the one way in which a part is written.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from markupsafe import Markup

from broker.messages import Alarm, Channels
from portal.known import NodeView

NOTHING: Final = "\N{EN DASH}"
"""Stands where there is no value."""
_MOST: Final = 256
"""Parts kept of either kind; beyond it all are made anew."""
_TOKEN: Final = token_hex(8)
"""Begins each slot: nobody can write one into a name."""
_SLOT: Final = re.compile(_TOKEN + r"\[([^\]]*)\|(\d+)\]")

Caller = Callable[[], Markup]


def slot(channel: str, precision: int) -> Markup:
    """Return the mark of where a channel's reading stands within `Fragments.filled`."""
    return Markup("%s[%s|%d]") % (_TOKEN, channel, precision)


@dataclass(frozen=True, slots=True)
class _Filled:
    """A reactor's part without its readings, and what it was made from."""

    channels: Channels | None
    doubts: Mapping[str, Alarm]
    text: list[str]
    slots: list[tuple[int, str, str]]

    def shows(self, node: NodeView, doubts: Mapping[str, Alarm]) -> bool:
        """Whether it would be the same if it were made now."""
        return self.channels is node.channels and self.doubts == doubts

    def with_readings(self, readings: Mapping[str, float | None]) -> Markup:
        """Return it as it stands in a page."""
        text = self.text.copy()
        for place, channel, form in self.slots:
            reading = readings.get(channel)
            text[place] = NOTHING if reading is None else format(reading, form)
        return Markup("".join(text))  # noqa: S704 - markup already, and numbers


class Fragments:
    """What one portal keeps of its pages."""

    def __init__(self) -> None:
        self._filled: dict[tuple[object, ...], _Filled] = {}
        self._kept: dict[tuple[object, ...], Markup] = {}
        self._anchor: object = None

    def filled(self, node: NodeView, *variant: object, caller: Caller) -> Markup:
        """Return a part that shows a reactor's channels, with its readings of now.

        Args:
            node: All that the part shows of it are its channels, what is doubted of them, and
                readings, each by a `slot`.
            variant: What else the part depends on.
            caller: Makes it.
        """
        doubts = node.doubts
        part = self._filled.get((node.id, *variant))
        if part is None or not part.shows(node, doubts):
            part = _made(node.channels, doubts, caller())
            _bound(self._filled)
            self._filled[(node.id, *variant)] = part
        return part.with_readings(node.readings)

    def kept(self, anchor: object, *key: object, caller: Caller) -> Markup:
        """Return a part that is the same while `anchor` is the same object and `key` is equal.

        Args:
            anchor: What is replaced as a whole when it changes; a new one lets go of all parts.
            key: What else the part depends on.
            caller: Makes it.
        """
        if anchor is not self._anchor:
            self._anchor = anchor
            self._kept.clear()
        part = self._kept.get(key)
        if part is None:
            _bound(self._kept)
            part = self._kept[key] = caller()
        return part


def _made(channels: Channels | None, doubts: Mapping[str, Alarm], part: Markup) -> _Filled:
    text = _SLOT.split(part)
    slots = [(at, text[at], f".{text[at + 1]}f") for at in range(1, len(text), 3)]
    for at, _, _ in slots:
        text[at + 1] = ""
    return _Filled(channels, doubts, text, slots)


def _bound(parts: dict[tuple[object, ...], _Filled] | dict[tuple[object, ...], Markup]) -> None:
    if len(parts) >= _MOST:
        parts.clear()
