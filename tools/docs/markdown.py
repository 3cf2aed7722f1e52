"""Small pieces of Markdown."""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Final

_SECTION: Final = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):$", re.MULTILINE)
_ITEM: Final = re.compile(r"^ {4}(\w[\w.]*): (.*(?:\n {8}.*)*)", re.MULTILINE)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; empty where there are no rows."""
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *lines]) + "\n"


def code(text: str) -> str:
    """Return text as inline code; empty stays empty."""
    return f"`{text}`" if text else ""


def fence(text: str, language: str) -> str:
    """Return a block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def docstring(text: str | None) -> str:
    """Return a docstring in Google style as Markdown: its sections become lists."""
    clean = inspect.cleandoc(text or "").replace("``", "`")
    parts = _SECTION.split(clean)
    out = [_prose(parts[0])]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        items = _ITEM.findall(body)
        if items:
            out.append(f"**{title}**\n")
            out.extend(f"- `{name}`: {' '.join(told.split())}" for name, told in items)
            out.append("")
        else:
            out.append(f"**{title}** {' '.join(body.split())}\n")
    return "\n".join(out)


def _prose(text: str) -> str:
    """Return text whose indented examples are blocks of Python."""
    paragraphs = re.split(r"\n{2,}(?! {4})", text.strip())
    return "\n\n".join(_example(paragraph) for paragraph in paragraphs) + "\n"


def _example(paragraph: str) -> str:
    head, separator, rest = paragraph.partition("\n\n    ")
    if not separator:
        return paragraph
    return f"{head}\n\n{fence(inspect.cleandoc('    ' + rest), 'python')}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
