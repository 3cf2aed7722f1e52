"""Runs inside an experiment: says what its packages are, and what is not as it was installed.

It is no part of the node: it runs in the image's Python and prints one line of JSON.
"""

import base64
import csv
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

PACKAGES = Path(os.environ["PYTHONPATH"])
TOOLS = ("pip", "pip3", "easy_install", "uv", "conda", "gcc", "cc", "g++", "clang", "ld", "make")
MOST = 20


def sha256(path: Path) -> bytes:
    """Return the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def altered(distribution: metadata.Distribution, ours: set[str]) -> Iterator[str]:
    """Give what a distribution's own record says and its files do not."""
    record = distribution.read_text("RECORD")
    if record is None:
        yield f"{distribution.name} has no record of its files"
        return
    for name, stated, *_ in csv.reader(record.splitlines()):
        inside = re.sub(r"^(\.\./)+", "", name)  # what a wheel puts beside its packages
        path = PACKAGES / inside
        ours.add(str(path))
        if not stated or inside.startswith("bin/"):  # programs are not taken over
            continue
        kind, _, text = stated.partition("=")
        wanted = base64.urlsafe_b64decode(text + "==")
        if kind != "sha256" or not path.is_file() or sha256(path) != wanted:
            yield f"{name} is not the file that {distribution.name} came with"


def main() -> None:
    """Look at everything and print it."""
    distributions = [*metadata.distributions(path=[str(PACKAGES)])]
    known: set[str] = set()
    problems: list[str] = []
    for distribution in distributions:
        problems.extend(altered(distribution, known))
    sdk = PACKAGES / "bioreactor"
    for path in sorted(PACKAGES.rglob("*")):
        if path.suffix == ".pyc" or path.is_dir() or sdk in path.parents:
            continue
        if str(path) not in known:
            problems.append(f"{path.relative_to(PACKAGES)} belongs to no package")
    sys.stdout.write(
        json.dumps(
            {
                "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
                "packages": {one.name: one.version for one in distributions},
                "sdk": {file.name: sha256(file).hex() for file in sdk.iterdir() if file.is_file()},
                "tools": [tool for tool in TOOLS if shutil.which(tool)],
                "problems": problems[:MOST],
                "more": max(0, len(problems) - MOST),
            }
        )
    )


main()
