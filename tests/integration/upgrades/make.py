"""Make the data directory of an older version, for the tests of upgrades.

    .venv/bin/python -m tests.integration.upgrades.make COMMIT NAME

runs `bioreactor up` of that commit, has one experiment done and two wait in a paused queue, stops
it, and packs what hub and node keep into ``NAME.tar.xz`` here. A release with a new schema keeps
one of the version before.
"""

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.system import ROOT, wait_for

SCRIPT: Final = """\
from bioreactor import experiment, reactor

for _ in experiment.every(seconds=60, duration=1200):
    experiment.record(od=reactor.read("od"))
experiment.save("note.txt", "kept")
"""
KEPT: Final = ("hub", "nodes")
"""What `bioreactor up` cannot make again."""


def main(arguments: Sequence[str]) -> None:
    """Make one, as the arguments say."""
    commit, name = arguments
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # sockets need short paths
        source, data = Path(place, "source"), Path(place, "data")
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run([*git, "add", "-q", "--detach", str(source), commit], check=True)
        try:
            static = source / "portal" / "static"
            if not static.exists():
                static.symlink_to(ROOT / "portal" / "static")
            _use(source, data)
        finally:
            subprocess.run([*git, "remove", "--force", str(source)], check=True)
        _pack(data, Path(__file__).with_name(f"{name}.tar.xz"))


def _use(source: Path, data: Path) -> None:
    """Run the version in `source` on `data`: one experiment ends, two wait."""
    program = "import sys; from bioreactor.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "up", "--json", "--data", str(data), "--portal-port", "0",
         "--broker-port", "0", "--runner", "bubblewrap", "--speed", "120"],
        stdout=subprocess.PIPE, text=True, cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        portal = json.loads(process.stdout.readline())["portal"]
        with httpx.Client(
            base_url=portal, headers={"X-Session-ID": "the-user-of-this-test"}, timeout=30
        ) as http:
            wait_for("a reactor", lambda: http.get("/health").json().get("nodes_online"))
            done = _submit(http, "one that is done")
            wait_for("its end", lambda: _status(http, done) == "completed", 120)
            admin = ["-c", program, "queue", "pause", "--data", str(data)]
            subprocess.run(
                [sys.executable, *admin], check=True, cwd=source,
                env={**os.environ, "PYTHONPATH": str(source)},
            )  # fmt: skip
            for label in ("the first that waits", "the second that waits"):
                _submit(http, label)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(90)


def _submit(http: httpx.Client, name: str) -> str:
    body: dict[str, Any] = {"script_content": SCRIPT, "name": name}
    answer = http.post("/api/experiments/start", json=body)
    answer.raise_for_status()
    return str(answer.json()["experiment_id"])


def _status(http: httpx.Client, experiment: str) -> str:
    told = http.get(f"/api/experiments/{experiment}/status").json()["experiment"]
    assert told["status"] not in {"failed", "cancelled"}, told
    return str(told["status"])


def _pack(data: Path, archive: Path) -> None:
    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        """Leave out sockets and images, and who owned what here."""
        if not (member.isfile() or member.isdir()) or "images" in member.name.split("/"):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for name in KEPT:
            packed.add(data / name, name, filter=plain)
    sys.stdout.write(f"{archive.name}: {archive.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1:])
