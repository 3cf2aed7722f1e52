"""Data of older versions, opened by this one: the real hub, node and portal on each.

The directories were made by those versions (`make.py`). ``schema-N`` has the archive's schema N;
the first has the queue's older one, too.
"""

import json
import re
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from broker.identity import write_private
from broker.journal.tables import MIGRATIONS as JOURNAL
from hub_service.archive.schema import MIGRATIONS as ARCHIVE
from hub_service.snapshot import SCHEMA as QUEUE
from node_service.ledger_file import SCHEMA_VERSION as LEDGER
from tests.support.system import ROOT, System, wait_for

HERE: Final = Path(__file__).parent
OLDER: Final = sorted(HERE.glob("*.tar.xz"))
REFUSED: Final = 78
_KEPT: Final = re.compile(r"\.schema-(\d+)\.\d{8}T\d{6}Z$")


def unpack(older: Path, place: Path) -> Path:
    """Return the data directory as that version left it."""
    with tarfile.open(older) as packed:
        packed.extractall(place, filter="data")
    return place


def test_every_schema_before_this_one_is_there(tmp_path: Path) -> None:
    known = set()
    for older in OLDER:
        data = unpack(older, tmp_path / older.name)
        known.add(("archive", archive_schema(data)))
        known.add(("queue", queue_schema(data)))
    assert known >= {("archive", number) for number in range(1, len(ARCHIVE))}
    assert known >= {("queue", number) for number in range(1, QUEUE)}
    assert (len(JOURNAL), LEDGER) == (1, 1), "keep a directory of the version before"


def archive_schema(data: Path) -> int:
    (path,) = (data / "hub" / "archive").glob("archive.sqlite")
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def queue_schema(data: Path) -> int:
    snapshot = json.loads((data / "hub" / "queue.json").read_bytes())
    return int(snapshot["about"]["queue"]["schema_version"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("older", OLDER, ids=lambda path: path.name.partition(".")[0])
def test_this_version_goes_on_with_it(older: Path, tmp_path: Path) -> None:
    data = unpack(older, tmp_path / "data")
    before = {"archive.sqlite": archive_schema(data), "queue.json": queue_schema(data)}
    now = {"archive.sqlite": len(ARCHIVE), "queue.json": QUEUE}
    with System.start(data, "--runner", "bubblewrap", "--speed", "600") as system:
        wait_for("its reactor", lambda: system.http.get("/health").json().get("nodes_online"))
        listed = json.loads(system.cli("list", "--json").stdout)["experiments"]
        names = {one["name"]: one for one in listed}
        assert set(names) == {
            "one that is done",
            "the first that waits",
            "the second that waits",
        }
        done = names["one that is done"]
        assert done["status"] == "completed"
        assert samples(system, done["experiment_id"])
        assert "note.txt" in results(system, done["experiment_id"], tmp_path / "results.zip")
        waiting = [
            names[name]["experiment_id"]
            for name in ("the first that waits", "the second that waits")
        ]
        queue = system.http.get("/api/queue/status").json()
        assert queue["total_queued"] == len(waiting)
        system.cli("queue", "resume")
        for experiment in waiting:
            system.wait_status(experiment, "completed")
            assert samples(system, experiment)
    kept = {
        path.name: path for path in (data / "hub").rglob("*.schema-*") if _KEPT.search(path.name)
    }
    assert {name.partition(".schema-")[0] for name in kept} == {
        name for name in now if before[name] < now[name]
    }
    for name, path in kept.items():
        assert path.stat().st_mode & 0o077 == 0
        found = _KEPT.search(name)
        assert found is not None
        assert int(found[1]) == before[name.partition(".schema-")[0]]


def samples(system: System, experiment: str) -> Any:
    return system.http.get(f"/api/experiments/{experiment}/telemetry").json()


def results(system: System, experiment: str, place: Path) -> str:
    system.cli("results", experiment, "-o", str(place))
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", place], capture_output=True, text=True, check=True
    )
    return listed.stdout


@pytest.mark.parametrize(
    ("service", "file"),
    [
        ("hub", "hub/archive/archive.sqlite"),
        ("hub", "hub/queue.json"),
        ("node", "nodes/reactor-1/ledger.sqlite"),
        ("node", "nodes/reactor-1/journal"),
    ],
)
def test_what_is_newer_is_refused_and_not_touched(service: str, file: str, tmp_path: Path) -> None:
    data = unpack(OLDER[-1], tmp_path / "data")
    path = data / file
    if path.is_dir():
        (path,) = path.glob("*.sqlite")
    if path.suffix == ".json":
        text = path.read_text()
        newer = re.sub(r'("schema_version": ?)\d+', r"\g<1>99", text)
        assert newer != text
        path.write_text(newer)
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    place = data / ("hub" if service == "hub" else "nodes/reactor-1")
    more = '\nrunner = "bubblewrap"\nallow_reduced_isolation = true' if service == "node" else ""
    config = tmp_path / f"{service}.toml"
    write_private(config, f'[{service}]\ndata_dir = "{place}"{more}\n')
    done = subprocess.run(
        [sys.executable, "-m", f"{service}_service", "--config", config],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == REFUSED, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "99" in last
    assert "knows" in last
    assert path.read_bytes() == before
