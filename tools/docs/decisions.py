"""The list of decisions, from their pages."""

from pathlib import Path
from typing import Final

INTRODUCTION: Final = """\
# Decisions

Why things are as they are, a short page each: context, decision, consequence. A decision that is
overturned stays, and names the one that replaced it.

"""


def decisions(folder: Path) -> str:
    """Return the page that lists every decision by its number and title."""
    lines = []
    for page in sorted(folder.glob("[0-9]*.md")):
        title = page.read_text("utf-8").splitlines()[0].removeprefix("#").strip()
        number = page.name.split("-")[0]
        lines.append(f"- [{number} {title.removeprefix(number).strip()}](decisions/{page.name})")
    return INTRODUCTION + "\n".join(lines) + "\n"
