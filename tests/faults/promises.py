"""What must hold whatever was killed: nothing lost, nothing twice, nothing mixed up."""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing

from broker.journal import Journal
from broker.messages import Experiment, PhaseRecord, Record, SampleRecord, Status
from node_service.datadir import DataDir
from node_service.tail import records_after
from tests.faults.laboratory import KEPT, LINES, SCRIPTS, Job, Laboratory


async def check(lab: Laboratory, found: Mapping[str, Experiment]) -> None:
    """Compare everything with what was promised and with what the node wrote down."""
    with closing(Journal.open(DataDir(lab.path / "node").journal)) as journal:
        written = [record async for record in records_after(journal, 1, 0)]
    began = [r for r in written if isinstance(r, PhaseRecord) and r.phase == "executing"]
    ran = {f"{r.experiment_id}.{r.attempt}" for r in began}
    assert max(lab.starts.values()) == 1, "an experiment ran twice"
    assert ran <= set(lab.starts)
    queue = json.loads((lab.path / "hub" / "queue.json").read_bytes())
    assert queue["experiments"] == {}
    with closing(sqlite3.connect(lab.path / "hub" / "archive" / "archive.sqlite")) as archive:
        known = {i for (i,) in archive.execute("SELECT experiment_id FROM finished")}
        assert known == {job.experiment_id for job in lab.jobs}, "lost, or never asked for"
        check_samples(archive, written)
        check_order(archive)
        for job in lab.jobs:
            check_job(archive, job, found[job.experiment_id], f"{job.experiment_id}.1" in ran)
    print(Counter((job.kind, found[job.experiment_id].status) for job in lab.jobs))  # noqa: T201


def check_samples(archive: sqlite3.Connection, written: Sequence[Record]) -> None:
    """Nothing is missing, but for what the node wrote after its last run and had yet to send."""
    there = [t for (t,) in archive.execute("SELECT t FROM samples WHERE kind = 0 ORDER BY t")]
    assert len(set(there)) == len(there)
    last = max(i for i, record in enumerate(written) if isinstance(record, PhaseRecord))
    times = [round(r.t.timestamp() * 1e6) for r in written if isinstance(r, SampleRecord)]
    sent = sum(isinstance(record, SampleRecord) for record in written[:last])
    assert len(there) >= sent
    assert there == sorted(times[: len(there)])
    assert archive.execute("SELECT count(*) FROM gaps").fetchone() == (0,)
    assert archive.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)


def check_order(archive: sqlite3.Connection) -> None:
    """Nobody moved anything: accepted in the order in which they came in."""
    accepted = archive.execute(
        "SELECT DISTINCT r.experiment_id FROM phases p JOIN runs r ON r.id = p.run"
        " WHERE json_extract(p.body, '$.phase') = 'accepted' ORDER BY p.seq"
    )
    order = [i for (i,) in accepted]
    assert order == sorted(order)


def check_job(archive: sqlite3.Connection, job: Job, shown: Experiment, ran: bool) -> None:
    lines = archive.execute(
        "SELECT l.text FROM logs l JOIN runs r ON r.id = l.run"
        " WHERE r.experiment_id = ? AND l.source = 0 ORDER BY l.n, l.tie",
        (job.experiment_id,),
    )
    said = [text for (text,) in lines]
    if not ran:  # the container was lost with the node before it began, or it was never asked for
        assert shown.status in {Status.FAILED, Status.CANCELLED}, shown
        assert shown.error is not None
        assert shown.error.code in {"INTERRUPTED", "CANCELLED"}, shown
        assert said == []
        return
    true = Status(job.kind) if job.kind in SCRIPTS and job.kind != "held" else Status.CANCELLED
    assert shown.status is true, shown
    assert shown.gaps == 0
    assert shown.exit_code == {"completed": 0, "failed": 3}.get(job.kind, shown.exit_code)
    if job.kind == "completed":
        assert said == ["begun", *(f"line {i}" for i in range(LINES))]
    elif job.kind == "failed":
        assert said == ["begun"]
    else:  # it may have been cancelled at any moment
        assert said in (["begun", "kept"], ["begun"], [])
    if said and (said[-1] == "kept" or job.kind in {"completed", "failed"}):
        assert [(f.name, f.size) for f in shown.results] == [("kept.bin", len(KEPT))], shown
