"""Tells people through Apprise: `python -m hub_service.telling`, run by the hub and short-lived.

Apprise imports more than the hub may hold, and its URLs are secrets: they come by standard input,
never as an argument, and nothing of them is printed. Input is a JSON list of objects with `name`,
`url`, `title` and `body`; output a line of JSON for each: `name` and, if it failed, `why`.
"""

import contextlib
import json
import logging
import os
import re
import sys
from typing import Final
from urllib.parse import unquote

import apprise

_SHORTEST: Final = 4
_LONGEST: Final = 300
_FIELD: Final = re.compile(r"[^/:@?&=,#]+")


class Said(logging.Handler):
    """Keeps what Apprise said went wrong, so that it can be told without its secrets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


def without_secrets(text: str, url: str) -> str:
    """Return a text without any part of a URL but its scheme and words of three letters."""
    scheme = url.partition(":")[0]
    for part in sorted(set(_FIELD.findall(url)), key=len, reverse=True):
        for form in (part, unquote(part)):
            if len(form) >= _SHORTEST and form != scheme:
                text = text.replace(form, "…")
    return text


def tell(url: str, title: str, body: str) -> str | None:
    """Tell one target; return why it failed, None if it did not."""
    target = apprise.Apprise()
    if not target.add(url):
        return "its URL is not one that Apprise knows"
    said = Said()
    log = logging.getLogger("apprise")
    log.addHandler(said)
    try:
        if target.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT):
            return None
    finally:
        log.removeHandler(said)
    return without_secrets("; ".join(said.lines), url)[:_LONGEST] or "it was not taken"


def main() -> None:
    """Tell whom standard input names."""
    os.nice(5)  # whoever runs an experiment comes first
    logging.getLogger("apprise").propagate = False
    for order in json.load(sys.stdin):
        with contextlib.redirect_stdout(sys.stderr):  # plugins may print; the answer stays apart
            why = tell(order["url"], order["title"], order["body"])
        print(json.dumps({"name": order["name"], "why": why}), flush=True)  # noqa: T201  the answer


if __name__ == "__main__":
    main()
