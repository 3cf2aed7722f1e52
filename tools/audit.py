"""``python -m tools.audit``: known vulnerabilities of every package that is pinned.

Exit status 0: none is known; 1: a package is vulnerable; 69: some could not be asked about.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOCKS: Final = ("requirements.lock", "deploy/images/tools.lock")
PROGRAM: Final = "pip-audit@2.9.0"
VULNERABLE: Final = 1
UNAVAILABLE: Final = 69
"""EX_UNAVAILABLE of sysexits.h."""


def main(arguments: Sequence[str]) -> int:
    """Ask, with more options for pip-audit if there are any; say what is to be done."""
    uvx = Path(sys.executable).with_name("uvx")
    locks = [word for lock in LOCKS for word in ("-r", lock)]
    asked = subprocess.run(
        [uvx, "-q", PROGRAM, "--require-hashes", "--disable-pip", "--progress-spinner", "off",
         "-f", "json", *locks, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    status, lines = judge(asked.stdout, asked.stderr)
    sys.stderr.write("".join(f"audit: {line}\n" for line in lines))
    return status


def judge(answer: str, complaint: str) -> tuple[int, list[str]]:
    """Return the exit status and what to tell, from what pip-audit wrote."""
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError):
        why = (complaint.strip() or "it said nothing").splitlines()[-1].strip()
        return UNAVAILABLE, [
            "nothing could be asked; pypi.org must be reachable, for pip-audit and for its data",
            why,
        ]
    lines = [
        f"{one['name']} {one['version']}: {flaw['id']}, mended in "
        f"{' or '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in packages
        for flaw in one.get("vulns", ())
    ]
    unknown = [one["name"] for one in packages if "skip_reason" in one]
    if unknown:
        lines.append(
            f"{len(unknown)} of {len(packages)} packages could not be asked about: a mirror has no "
            "such data, pypi.org itself must be reachable"
        )
    if len(lines) > bool(unknown):
        lines.append("raise the bounds in pyproject.toml, then `make lock`")
        return VULNERABLE, lines
    if unknown:
        return UNAVAILABLE, lines
    return 0, [f"{len(packages)} packages, no known vulnerability"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
