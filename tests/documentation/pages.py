"""Pages of the documentation, and the blocks of code in them.

A block says by its title what is done with it, where readers see it too:

- no title: it runs. `sh` in one shell for the whole page; `python` as a program, or, where it
  imports `experiment` or `reactor`, as an experiment that must complete.
- the name of a file: it is saved under that name; `hub.toml` and the like are held against the
  settings that they are, and the page's other blocks use it. Reverse proxies read theirs in
  `tests/support/reverse_proxy.py`.
- ``In a terminal of its own``: it runs beside the rest of the page.
- ``Ends with an error``: it runs, and must fail.
- ``Needs …``: it cannot run here, for this reason. Its syntax, and the commands and options of
  `bioreactor` in it, are checked.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
BESIDE: Final = "In a terminal of its own"
REFUSED: Final = "Ends with an error"
GENERATED: Final = {
    DOCS / name
    for name in ("decisions.md", *(f"reference/{it}.md" for it in
                                   ("command-line", "rest", "sdk", "topics")))
}  # fmt: skip
"""Made by `tools.docs` from what is tested elsewhere; not in the repository."""

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
_INFO: Final = re.compile(r'(?P<language>[\w-]*)(?: title="(?P<title>[^"]+)")?')


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first fence."""

    page: Path
    line: int
    language: str
    title: str
    code: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str:
        """The name it is saved under; empty if it is none."""
        return self.title if re.fullmatch(r"[\w.-]+\.\w+", self.title) else ""

    @property
    def needs(self) -> bool:
        return self.title.startswith("Needs ")


def pages() -> list[Path]:
    """Return README and every page that is written by hand."""
    found = [page for page in sorted(DOCS.rglob("*.md")) if page not in GENERATED]
    return [ROOT / "README.md", *found]


def blocks(page: Path) -> list[Block]:
    """Return a page's blocks in their order."""
    return list(_blocks(page, page.read_text("utf-8")))


def _blocks(page: Path, text: str) -> Iterator[Block]:
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        info = _INFO.fullmatch(found["info"])
        assert info is not None, f"{page}:{line}: ```{found['info']} is not understood"
        indent = found["indent"]
        code = re.sub(f"^{indent}", "", found["code"], flags=re.MULTILINE)
        yield Block(page, line, info["language"], info["title"] or "", code)


def prose(page: Path) -> str:
    """Return a page without its code."""
    return re.sub(r"`[^`\n]+`", "", _FENCE.sub("", page.read_text("utf-8")))
