"""A page's blocks as one shell script, run where its reader would be."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.documentation.pages import BESIDE, REFUSED, ROOT, Block
from tests.support.system import System

IN_A_CLONE = (".venv", "Makefile", "examples", "test_queue_system.py", "tests", "tools")
_PRELUDE = """\
set -euo pipefail
set -m  # what runs beside the page is a group of its own, and ends as one
trap 'for pid in $(jobs -p); do kill -- -$pid; done; wait || true' EXIT
"""


def run_page(blocks: Sequence[Block], folder: Path, system: System, home: Path) -> str:
    """Run a page's blocks in their order and return what they printed.

    The one thing that is changed in them is the portal's address: a test has a port of its own.

    Raises:
        AssertionError: A block failed; the message has its place and all that was printed.
    """
    for name in IN_A_CLONE:
        (folder / name).symlink_to(ROOT / name)
    script = folder / "page.sh"
    script.write_text(_PRELUDE + "\n".join(_lines(blocks, folder, system)))
    done = subprocess.run(
        ["bash", str(script)],
        cwd=folder,
        env={
            **os.environ,
            "HOME": str(home),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}"
    return done.stdout


def _lines(blocks: Sequence[Block], folder: Path, system: System) -> Iterator[str]:
    address = system.ready["portal"].removeprefix("http://").rstrip("/")
    for block in blocks:
        code = block.code.replace("localhost:8000", address)
        if block.file:
            (folder / block.file).write_text(code)
        elif block.needs or block.language not in {"sh", "python"}:
            continue
        elif block.language == "python":
            yield _said(block)
            name = f"line-{block.line}.py"
            (folder / name).write_text(code)
            yield f"bioreactor submit {name} --follow" if is_experiment(block) else f"python {name}"
        elif block.title == BESIDE:
            yield _said(block)
            name = f"line-{block.line}.sh"
            (folder / name).write_text(code.rstrip() + "\n")
            out = f"line-{block.line}.out"
            # It reads its terminal, which a reader leaves open.
            yield f"{{ sleep infinity | bash {name}; }} > {out} 2>&1 &"
            yield f"for _ in $(seq 300); do [ -s {out} ] && break; sleep 0.1; done; cat {out}"
        elif block.title == REFUSED:
            yield _said(block)
            yield f"if ( {code} ); then echo 'this was not refused'; exit 1; fi"
        else:
            yield _said(block)
            yield code


def _said(block: Block) -> str:
    return f"echo {shlex.quote(f'--- {block.where}')}"


def is_experiment(block: Block) -> bool:
    """Whether it is a script for the reactor rather than for the reader's machine."""
    return any(
        line.startswith("from bioreactor import") and "lab" not in line
        for line in block.code.splitlines()
    )
