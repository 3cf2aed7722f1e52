"""Write the pages that are made from the code: `python -m tools.reference [--check]`."""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.reference import errors, settings
from tools.reference.models import UndocumentedError

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "settings.md": settings.page,
    "errors.md": errors.page,
}


def main() -> None:
    """Write the pages; with --check, say whether they are what the code says."""
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if they differ")
    check: bool = parser.parse_args().check
    for name, page in PAGES.items():
        path = FOLDER / name
        try:
            text = page()
        except UndocumentedError as error:
            sys.exit(str(error))
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is not what the code says: run `python -m tools.reference`")


if __name__ == "__main__":
    main()
