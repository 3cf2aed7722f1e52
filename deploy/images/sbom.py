# ruff: noqa: INP001 - run by its path, no package
"""Write a bill of materials (CycloneDX 1.6) to standard output.

Without arguments, the Debian packages of this machine; with two such files, both as one, the
first of which says of what.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

_FORMAT = "${Package}\t${Version}\t${Architecture}\n"


def main(paths: list[str]) -> None:
    """Write the list."""
    bills: list[dict[str, Any]] = [
        json.loads(Path(path).read_text(encoding="utf-8")) for path in paths
    ] or [
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "components": _debian_packages(),
        }
    ]
    bill = bills[0] | {"components": [part for one in bills for part in one["components"]]}
    sys.stdout.write(json.dumps(bill, indent=1, sort_keys=True) + "\n")


def _debian_packages() -> list[dict[str, str]]:
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", _FORMAT], check=True, capture_output=True, text=True
    )
    packages = [line.split("\t") for line in listed.stdout.splitlines()]
    return [
        {
            "type": "library",
            "bom-ref": f"deb:{name}:{architecture}",
            "name": name,
            "version": version,
            "purl": f"pkg:deb/debian/{name}@{quote(version)}?arch={architecture}",
        }
        for name, version, architecture in packages
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
