"""Print one table of every measurement: figure, reference, ratio.

`python -m bench [WORD …]` runs the modules whose names contain one of the words.
"""

import importlib
import pkgutil
import sys
from typing import Protocol, cast

from rich.console import Console
from rich.table import Table

import bench

Row = tuple[str, float, str, float, str]


class Measured(Protocol):
    """A module of this folder."""

    def rows(self) -> list[Row]:
        """Return (name, figure, unit, reference, name of the reference) for each measurement."""


def main(words: list[str]) -> None:
    """Run the modules and print the table."""
    console = Console()
    table = Table("what", "figure", "reference", "ratio", "the reference is", title="bench")
    names = [m.name for m in pkgutil.iter_modules(bench.__path__) if not m.name.startswith("_")]
    for name in sorted(names):
        module = importlib.import_module(f"bench.{name}")
        if not hasattr(module, "rows") or (words and not any(word in name for word in words)):
            continue
        console.print(f"[dim]measuring {name} …[/]")
        for what, figure, unit, reference, of in cast("Measured", module).rows():
            ratio = f"{figure / reference:.2f}" if reference else ""
            table.add_row(what, f"{figure:.4g} {unit}", f"{reference:.4g} {unit}", ratio, of)
    console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
