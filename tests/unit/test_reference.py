"""The pages made from the code say something of everything, the same at each run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from broker.messages import ErrorCode
from broker.remedies import REMEDIES
from tools.reference import errors, settings
from tools.reference.models import UndocumentedError, fields

ROOT = Path(__file__).resolve().parents[2]


def test_every_error_code_has_a_row_and_a_remedy() -> None:
    assert set(REMEDIES) == set(ErrorCode)
    page = errors.page()
    for code in ErrorCode:
        assert page.count(f"\n| `{code}` |") == 1


def test_pages_name_no_machine_and_do_not_depend_on_the_run() -> None:
    page = settings.page()
    assert str(ROOT) not in page
    printed = subprocess.run(
        [
            sys.executable,
            "-c",
            "from tools.reference import settings; print(settings.page(), end='')",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert printed.stdout == page


class _Documented(BaseModel):
    """A base.

    Attributes:
        known: Told here,
            on two lines.
    """

    known: int = 1


class _Silent(_Documented):
    """Says nothing of what it adds."""

    secret: str


def test_what_is_not_documented_is_refused() -> None:
    (known,) = fields(_Documented)
    assert (known.meaning, known.default) == ("Told here, on two lines.", "`1`")
    with pytest.raises(UndocumentedError, match="_Silent says nothing of secret"):
        list(fields(_Silent))


def test_pages_that_a_clone_lacks_are_named_where_one_begins_to_read() -> None:
    ignored = [line[1:] for line in (ROOT / ".gitignore").read_text().splitlines()]
    made = {ROOT / line for line in ignored if line.startswith("docs/")}
    assert made
    index = ROOT / "docs" / "index.md"
    pages = [ROOT / "README.md", *(page for page in ROOT.glob("docs/**/*.md") if page not in made)]
    for page in pages:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            target = (page.parent / link).resolve()
            assert "://" in link or target in made or target.exists(), f"{page}: {link}"
    for page in made:
        assert f"({page.relative_to(index.parent)})" in index.read_text()
    for page in (ROOT / "README.md", index):
        assert "`make docs`" in page.read_text()
