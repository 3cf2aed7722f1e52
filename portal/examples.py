"""Experiments to start from, offered on the upload page."""

import ast
import logging
from dataclasses import dataclass
from pathlib import Path

from broker.messages import MAX_SCRIPT_BYTES

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Example:
    """A script with what its docstring says of it."""

    id: str
    title: str
    summary: str
    script: str


def load_examples(folder: Path | None) -> tuple[Example, ...]:
    """Return the examples of a folder by name; files that cannot be offered are left out."""
    if folder is None or not folder.is_dir():
        return ()
    found = []
    for path in sorted(folder.glob("*.py")):
        if path.name.startswith("_") or path.stat().st_size > MAX_SCRIPT_BYTES:
            continue
        try:
            script = path.read_text(encoding="utf-8")
            said = ast.get_docstring(ast.parse(script)) or ""
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            _log.warning("%s is not offered as an example: %s", path.name, error)
            continue
        first, _, rest = said.partition("\n")
        title, _, more = first.partition(": ")
        summary = f"{more[:1].upper()}{more[1:]} {rest.strip().partition(chr(10) * 2)[0]}"
        name = path.stem.replace("_", " ").replace("-", " ").capitalize()
        found.append(
            Example(path.stem, title.rstrip(". ") or name, " ".join(summary.split()), script)
        )
    return tuple(found)
