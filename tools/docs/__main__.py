"""Writes the pages that come from the code: `python -m tools.docs`. They are not in the repository.

What stands in code, docstrings, AsyncAPI and OpenAPI is said once, there; `make docs` makes these
pages anew before it builds the site, so that they cannot drift.
"""

import json
from pathlib import Path

from tools.docs.command_line import command_line
from tools.docs.contract import topics
from tools.docs.decisions import decisions
from tools.docs.rest import rest
from tools.docs.sdk import sdk

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> None:
    """Write every page."""
    asyncapi = json.loads((DOCS / "reference" / "asyncapi.json").read_text("utf-8"))
    pages = {
        "reference/topics.md": topics(asyncapi),
        "reference/rest.md": rest(),
        "reference/sdk.md": sdk(),
        "reference/command-line.md": command_line(),
        "decisions.md": decisions(DOCS / "decisions"),
    }
    for name, text in pages.items():
        (DOCS / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
