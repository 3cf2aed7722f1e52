"""Tells people through Apprise: `python -m hub_service.telling`, run by the hub and short-lived.

Apprise imports more than the hub may hold, and its URLs are secrets: they come by standard input,
never as an argument, and nothing of them is printed. Input is a JSON list of objects with `name`,
`url`, `title` and `body`; output a line of JSON for each: `name` and, if it failed, `why`. Each is
told on a thread of its own: one that does not come to an end keeps no other waiting.
"""

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Mapping
from typing import IO, Final
from urllib.parse import unquote

import apprise

_SHORTEST: Final = 4
_LONGEST: Final = 300
_FIELD: Final = re.compile(r"[^/:@?&=,#]+")


class Said(logging.Handler):
    """Keeps what Apprise said went wrong on this thread, so that it can be told without secrets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if record.thread == self._thread:
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


def answer(order: Mapping[str, str], to: IO[str], lock: threading.Lock) -> None:
    """Tell one target and print what came of it."""
    why = tell(order["url"], order["title"], order["body"])
    with lock:
        to.write(json.dumps({"name": order["name"], "why": why}) + "\n")
        to.flush()


def main() -> None:
    """Tell whom standard input names."""
    os.nice(5)  # whoever runs an experiment comes first
    logging.getLogger("apprise").propagate = False
    to, sys.stdout = sys.stdout, sys.stderr  # plugins may print; the answers stay apart
    lock = threading.Lock()
    orders = json.load(sys.stdin)
    threads = [threading.Thread(target=answer, args=(order, to, lock)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
