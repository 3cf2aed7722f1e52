"""The small pieces of which pages have hundreds, as functions: macros would be ten times slower.

`_macros.html` passes them on under the same names, so templates import all pieces from one place.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Undefined
from markupsafe import Markup

from broker.messages import ChannelInfo, NodeReport, Queue
from portal.fragments import NOTHING, Fragments, slot

_ICON = Markup(
    '<svg class="icon" aria-hidden="true" focusable="false"><use href="%s#%s"></use></svg>'
)
_TIME = Markup('<time datetime="%s" data-time="%s">%s UTC</time>')
_VALUE = Markup('<span class="value" data-value="%s/%s" data-precision="%s">%s</span>')
_UNIT = Markup(' <span class="unit">%s</span>')
_SPARK = Markup(
    '<canvas class="spark needs-js" id="spark-%s-%s" data-keep data-spark="%s/%s" role="img"'
    ' aria-label="%s, the last minutes"></canvas>'
)
_KILO = 1024
_DAYS_FROM = 2880
"""Minutes from which on a span is told in days."""


def pieces(static: Callable[[str], str]) -> Mapping[str, Callable[..., Any]]:
    """Return the functions for an environment's globals.

    Args:
        static: Returns the address of a static file.
    """

    @cache
    def icon(name: str) -> Markup:
        """Return one icon of the set."""
        return _ICON % (static("icons.svg"), name)

    fragments = Fragments()
    last: tuple[Queue | None, str] = (None, "")

    def standing_of(queue: Queue | None) -> str:
        """Return it as made once for each queue: all pages have it."""
        nonlocal last
        if queue is not last[0]:
            last = (queue, queue_standing(queue))
        return last[1]

    return {
        "static": static,
        "filled": fragments.filled,
        "kept": fragments.kept,
        "standing": standing,
        "queue_standing": standing_of,
        "piece_icon": icon,
        "piece_sentence": sentence,
        "piece_moment": moment,
        "piece_span": span,
        "piece_bytes": size,
        "piece_number": number,
        "piece_short": short,
        "piece_value": value,
        "piece_spark": spark,
    }


def sentence(text: object) -> str:
    """Return an error's message or hint as a sentence: it may begin small and end without a point.

    What begins with two capitals, as an abbreviation does, is left as it is.
    """
    t = str(text).strip()
    if not t:
        return ""
    first = t[0] if t[1:2].isupper() else t[0].upper()
    return first + t[1:] + ("" if t[-1] in ".!?…" else ".")


def moment(t: datetime | None, style: str = "ago") -> Markup:
    """Return a moment, UTC; scripts turn it into the reader's own time zone."""
    return _TIME % (t.isoformat(), style, f"{t:%Y-%m-%d %H:%M}") if t else Markup("")


def span(seconds: float) -> str:
    """Return seconds as h:mm, or days and hours beyond two days."""
    m = int(seconds // 60)
    if m >= _DAYS_FROM:
        return f"{m // 1440} d {m % 1440 // 60} h"
    return f"{m // 60}:{m % 60:02d} h"


def size(n: float) -> str:
    """Return bytes with a unit."""
    if n < _KILO:
        return f"{n} B"
    if n < _KILO**2:
        return f"{n / _KILO:.1f} kB"
    if n < _KILO**3:
        return f"{n / _KILO**2:.1f} MB"
    return f"{n / _KILO**3:.2f} GB"


def number(value: float | Undefined | None, precision: int = 3) -> str:
    """Return a measured value with the channel's own number of digits; a dash without one."""
    if value is None or isinstance(value, Undefined):
        return NOTHING
    return f"{value:.{precision}f}"


def short(value: float | Undefined | None) -> str:
    """Return a number with no more digits than it needs: 0.5, 30, 1500."""
    return NOTHING if value is None or isinstance(value, Undefined) else f"{value:.6g}"


def standing(report: NodeReport | None) -> str:
    """Return all of a report that pages show otherwise than as a number: it tells when to look.

    `watch.js` makes the same text of a report that arrives.
    """
    if report is None:
        return ""
    doing, held = report.activity, report.manual
    return "|".join(
        (
            report.boot_id,
            f"{doing.experiment_id}.{doing.attempt}.{doing.phase}{'+' if doing.detail else ''}"
            if doing
            else "",
            report.container.state if report.container else "",
            str(report.estop.latch) if report.estop else "",
            "+".join(alarm.id for alarm in report.alarms),
            "yes" if report.accepts else report.refusal.code if report.refusal else "no",
            "safe" if report.safe else "active",
            f"{held.by} {int(held.until.timestamp())}" if held else "",
        )
    )


def queue_standing(queue: Queue | None) -> str:
    """Return all of the queue that pages show: it tells when to look, as `standing` does.

    Its revision tells of what is durable. Why something waits, and when it will start, also depends
    on reactors that come and go, which is not.
    """
    if queue is None:
        return ""
    entries = (*queue.running, *queue.waiting)
    starts = (entry.estimated_start for entry in entries)
    minutes = sum(int(start.timestamp() // 60) for start in starts if start is not None)
    why = Counter(entry.detail for entry in entries if entry.detail)
    return "|".join((str(queue.revision), str(minutes), *(f"{n} {w}" for w, n in why.items())))


def value(node_id: str, channel: ChannelInfo) -> Markup:
    """Return a live value, within `Fragments.filled`; scripts keep it current by `data-value`."""
    unit = "" if channel.unit in {"", "1", channel.label} else _UNIT % channel.unit
    reading = slot(channel.name, channel.precision)
    return _VALUE % (node_id, channel.name, channel.precision, reading) + unit


def spark(node_id: str, channel: ChannelInfo) -> Markup:
    """Return the canvas of a channel's last minutes."""
    return _SPARK % (node_id, channel.name, node_id, channel.name, channel.label)
