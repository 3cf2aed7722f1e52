"""The node is killed at any moment; the script goes on, and nothing is lost or doubled."""

import asyncio
import re
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from broker.messages import ErrorCode, EventRecord, SeriesRecord, utc_now
from hardware.clock import ManualClock
from hardware.simulation.actuators import Outputs, load
from node_service.datadir import DataDir
from node_service.ledger import Ledger
from node_service.runs import Ending, RunKey
from node_service.steps import step
from tests.support.node import SMALL, Hub, Node, engine
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

COUNTING = """
    from bioreactor import experiment, reactor

    reactor.set("temperature-setpoint", 37)
    reactor.set("light", 50, seconds=3600)
    told = None
    for i in range(100_000):
        print("line", i, flush=True)
        experiment.record(i=i)
        if told is None and i % 5 == 0:
            try:
                reactor.set("light", 60, seconds=3600)
            except reactor.OutputsReset as reset:
                told = reset
                print("told", reset.code)
        if told and experiment.parameters.get("end"):
            break
        experiment.sleep(0.05)
    print("end", i)
"""

RECORDING = """
    from bioreactor import experiment

    for i in range(20):
        experiment.record(i=i)
        experiment.log(f"logged {i}\\nin two lines")
"""

DOSING = """
    from bioreactor import reactor

    for i in range(8):
        try:
            reactor.dose("media", ml=0.02)
        except reactor.OutputsReset as reset:
            print("told", reset.details.get("delivered_ml"), flush=True)
            if not reset.details.get("delivered_ml"):
                reactor.dose("media", ml=0.02)
    print("moved", round(reactor.read("media"), 3))
"""


SETTING = """
    from bioreactor import reactor

    for value in range(41, 49):
        try:
            reactor.set("light", value, seconds=60)
            print(value, flush=True)
        except reactor.OutputsReset:
            pass
"""


def acts(hub: Hub, experiment: str, event: str) -> list[EventRecord]:
    found = hub.records(experiment)
    return [r for r in found if isinstance(r, EventRecord) and r.event == event]


def counted(lines: list[str]) -> list[int]:
    return [int(line.split()[1]) for line in lines if line.startswith("line ")]


def in_force(path: Path) -> Outputs:
    """Return what the simulated reactor's outputs are, whoever lives."""
    outputs = load(path)
    assert outputs is not None
    return replace(outputs.now, off_since=None)


async def test_a_killed_node_adopts_its_run(running: Node, hub: Hub) -> None:
    assignment = await hub.run(COUNTING)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "line 10")
    outputs = running.data / "outputs.json"
    await eventually(lambda: in_force(outputs).duty > 0)
    await running.kill()
    killed = hub.samples(experiment)[-1]
    await eventually(lambda: in_force(outputs) == Outputs())  # the watchdog's doing
    await asyncio.sleep(0.5)  # the script prints on, to a node that is away
    running.start()
    await hub.until_said(experiment, "told OUTPUTS_RESET")
    (rescued,) = [
        record
        for record in hub.records(experiment)
        if isinstance(record, EventRecord) and record.event == "rescued"
    ]
    assert rescued.data["why"] == "The node's process is gone"
    assert rescued.data["unsafe"] == {}
    restored = [
        record
        for record in hub.records(experiment)
        if isinstance(record, EventRecord) and record.event == "adopted"
    ]
    assert [record.data for record in restored] == [{"setpoints": {"temperature-setpoint": 37}}]
    after = [sample for sample in hub.samples(experiment) if sample.t > killed.t]
    assert after[-1].values["temperature-setpoint"] == 37
    assert after[0].values["light"] == 0  # direct outputs stay safe until the script knows
    await hub.again(assignment, parameters={"end": True})
    finished = await hub.until_phase(experiment, "finished")

    assert finished.outcome == "completed"
    lines = hub.log(experiment)
    numbers = counted(lines)
    assert numbers == list(range(len(numbers)))
    assert lines[-1] == f"end {numbers[-1]}"
    assert sum("told" in line for line in lines) == 1
    recorded = [r.values["i"] for r in hub.records(experiment) if isinstance(r, SeriesRecord)]
    assert recorded == list(range(len(numbers)))
    assert hub.phases(experiment) == ["accepted", "executing", "released", "finished"]
    samples = hub.samples(experiment)
    assert len({sample.t for sample in samples}) == len(samples)
    gaps = [(b.elapsed or 0) - (a.elapsed or 0) for a, b in pairwise(samples)]
    assert min(gaps) > 0
    assert sorted(gaps)[-2] < 1.0  # one gap, as long as the node was away
    assert hub.gaps == 0


@pytest.mark.parametrize("node_settings", [{"speed": 10.0}])
async def test_a_paused_run_stays_paused_while_its_node_is_killed(running: Node, hub: Hub) -> None:
    """Nor is it dosed: its setpoints are back, and wait for the end of the pause."""

    def base() -> float:
        return hub.samples(experiment)[-1].values["base"] or 0.0

    held = 'reactor.set("ph-setpoint", 9)'
    assignment = await hub.run(COUNTING.replace("told = None", f"{held}\n    told = None", 1))
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "line 10")
    # Not while it doses: what a crash cut off counts in full.
    await eventually(
        lambda: any(isinstance(r, EventRecord) and r.event == "dose" for r in hub.records())
    )
    paused = await hub.again(assignment, desired="pause")
    step_ = await hub.until_phase(experiment, "paused")
    await eventually(lambda: hub.report.container and hub.report.container.state == "paused")
    await eventually(lambda: hub.samples(experiment)[-1].t > step_.t)
    dosed = base()
    said = len(hub.log(experiment))
    boot = hub.report.boot_id
    await running.kill()
    running.start()
    await eventually(
        lambda: (
            hub.report.boot_id != boot
            and hub.report.activity is not None
            and hub.report.activity.phase == "frozen"
            and hub.report.seen_revision == paused.revision
        ),
    )
    assert hub.report.container is None or hub.report.container.state == "paused"
    assert hub.report.activity is not None
    assert hub.report.activity.elapsed == pytest.approx(step_.elapsed, abs=0.01)
    frozen = utc_now()
    # A controller looks twice a second at this speed.
    await eventually(lambda: (hub.samples(experiment)[-1].t - frozen).total_seconds() > 1.5)
    assert hub.samples(experiment)[-1].values["ph-setpoint"] == 9
    assert base() == dosed
    assert len(hub.log(experiment)) == said
    await hub.again(assignment, desired="run")
    await eventually(lambda: base() > dosed)
    await hub.again(assignment, desired="run", parameters={"end": True})
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed"
    numbers = counted(hub.log(experiment))
    assert numbers == list(range(len(numbers)))
    assert hub.phases(experiment) == [
        "accepted", "executing", "paused", "resumed", "released", "finished",
    ]  # fmt: skip


async def test_a_pause_is_on_record_though_its_node_was_killed_meanwhile(
    running: Node, hub: Hub
) -> None:
    """Killed when the container stood still and nothing said so yet, or again when it went on."""
    assignment = await hub.run(COUNTING)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "line 10")
    container = engine("ps", "-q", "--filter", f"label=bioreactor.experiment={experiment}")
    await running.kill()
    engine("pause", *container)
    await hub.again(assignment, desired="pause")
    running.start()
    await hub.until_phase(experiment, "paused")
    await running.kill()
    engine("unpause", *container)
    await hub.again(assignment, desired="run", parameters={"end": True})
    running.start()
    await hub.until_phase(experiment, "finished")
    assert hub.phases(experiment) == [
        "accepted", "executing", "paused", "resumed", "released", "finished",
    ]  # fmt: skip


async def test_a_node_killed_again_and_again_loses_no_line_and_doubles_none(
    running: Node, hub: Hub
) -> None:
    assignment = await hub.run("""
        from bioreactor import experiment

        for i in range(1500):
            print("line", i, flush=True)
            if i % 10 == 0:
                experiment.record(i=i)
                experiment.log(f"logged {i}")
            experiment.sleep(0.001)
    """)
    experiment = str(assignment.experiment_id)
    for at in (50, 300, 600):
        await hub.until_said(experiment, f"line {at}")
        await running.kill()
        running.start()
    finished = await hub.until_phase(experiment, "finished", within=60)
    assert finished.outcome == "completed"
    lines = hub.log(experiment)
    assert counted(lines) == list(range(1500))
    assert [line for line in lines if line.startswith("logged")] == [
        f"logged {i}" for i in range(0, 1500, 10)
    ]
    recorded = [r.values["i"] for r in hub.records(experiment) if isinstance(r, SeriesRecord)]
    assert recorded == list(range(0, 1500, 10))


@pytest.mark.parametrize("moment", ["series", "log"])
async def test_a_call_whose_answer_was_lost_records_once_though_the_node_dies_again(
    node: Node, hub: Hub, moment: str
) -> None:
    """Again after it looked at its journal, and before the script reached it."""
    dying = "tests.faults.node.dying_main"
    node.start(dying, DIES_AT=moment)
    await node.until_ready(hub)
    experiment = str((await hub.run(RECORDING)).experiment_id)
    await node.until_dead()
    for _ in range(2):
        node.start(dying, DIES_AT="checkpoint")
        await node.until_dead()
    node.start()
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed"
    recorded = [r.values["i"] for r in hub.records(experiment) if isinstance(r, SeriesRecord)]
    assert recorded == list(range(20))
    assert hub.log(experiment, "stdout") == [
        line for i in range(20) for line in (f"logged {i}", "in two lines")
    ]


@pytest.mark.parametrize(
    ("moment", "told", "cut_off"),
    [("dosing", ["0.02"], [0.02]), ("dose-posted", ["0.02"], [0.02]), ("dosed", ["None"], [])],
)
async def test_a_dose_whose_answer_was_lost_is_pumped_once(
    node: Node, hub: Hub, moment: str, told: list[str], cut_off: list[float]
) -> None:
    """Cut off on its way it counts in full and the script is told, as the vessel may have it.

    Each is on record once, also the one whose record was lost with the node.
    """
    dying = "tests.faults.node.dying_main"
    node.start(dying, DIES_AT=moment)
    await node.until_ready(hub)
    experiment = str((await hub.run(DOSING)).experiment_id)
    await node.until_dead()
    node.start(dying, DIES_AT="checkpoint")
    await node.until_dead()
    node.start()
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed"
    said = hub.log(experiment, "stdout")
    assert [line.split()[1] for line in said if line.startswith("told")] == told
    assert said[-1] == "moved 0.16"
    doses = acts(hub, experiment, "dose")
    assert [dose.value for dose in doses] == [pytest.approx(0.02)] * 8
    assert len({dose.data["id"] for dose in doses}) == 8
    lost = [dose for dose in doses if dose.data.get("cut_off")]
    assert [dose.value for dose in lost] == cut_off
    assert all(datetime.fromisoformat(str(dose.data["begun"])) < dose.t for dose in lost)


async def test_what_a_script_was_told_that_it_set_is_on_record(node: Node, hub: Hub) -> None:
    node.start("tests.faults.node.dying_main", DIES_AT="set-posted")
    await node.until_ready(hub)
    experiment = str((await hub.run(SETTING)).experiment_id)
    await node.until_dead()
    node.start()
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed"
    said = [float(line) for line in hub.log(experiment, "stdout")]
    assert len(said) == 7  # the fifth was told of the restart
    assert [act.value for act in acts(hub, experiment, "set")] == said


async def test_a_run_that_ended_while_the_node_was_away_keeps_its_outcome(
    running: Node, hub: Hub
) -> None:
    assignment = await hub.run("""
        import os, time
        print("begun", flush=True)
        while not os.path.exists("/tmp/end"):
            time.sleep(0.01)
        print("last words", flush=True)
        raise SystemExit(7)
    """)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "begun")
    (container,) = engine("ps", "-q", "--filter", f"label=bioreactor.experiment={experiment}")
    await running.kill()
    engine("exec", container, "touch", "/tmp/end")  # noqa: S108 - in the container
    await eventually(
        lambda: engine("ps", "-q", "--filter", f"label=bioreactor.experiment={experiment}") == []
    )
    running.start()
    finished = await hub.until_phase(experiment, "finished")
    assert (finished.outcome, finished.exit_code) == ("failed", 7)
    assert hub.log(experiment) == ["begun", "last words"]


async def test_a_run_whose_container_is_gone_was_interrupted(running: Node, hub: Hub) -> None:
    assignment = await hub.run("""
        from bioreactor import experiment
        experiment.save("early.txt", b"saved before")
        print("begun", flush=True)
        while True:
            experiment.sleep(0.5)
    """)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "begun")
    await running.kill()
    engine("rm", "-f", *engine("ps", "-q", "--filter", f"label=bioreactor.experiment={experiment}"))
    running.start()
    step = await hub.until_phase(experiment, "interrupted")
    assert step.error is not None
    assert (step.outcome, step.error.code) == ("failed", ErrorCode.INTERRUPTED)
    await eventually(lambda: hub.files(experiment) == {"early.txt": b"saved before"})
    await eventually(lambda: hub.report.activity is None)
    assert hub.report.ledger[0].outcome == "failed"
    # It is never started again, however often it is desired.
    await hub.again(assignment)
    await eventually(lambda: hub.report.seen_revision == hub.revision)
    assert hub.phases(experiment) == ["accepted", "executing", "released", "interrupted"]


async def test_a_node_killed_while_it_collects_goes_on(running: Node, hub: Hub) -> None:
    assignment = await hub.run(
        """
        import os
        with open("/results/50.bin", "wb") as file:
            file.write(os.urandom(1000) * 12_000)
        for i in range(40):
            with open(f"/results/{i:02}.bin", "wb") as file:
                file.write(os.urandom(1000) * 90)
        """,
        limits=SMALL.model_copy(update={"results": 32 * 1024**2}),
    )
    experiment = str(assignment.experiment_id)
    for pieces in (10, 70):  # among the small files, and in the middle of the large one
        await eventually(lambda: len(hub.entries["files"]) > pieces, within=60)  # noqa: B023
        await running.kill()
        running.start()
    finished = await hub.until_phase(experiment, "finished")
    assert len(finished.files) == 41
    assert finished.files_upto is not None
    epoch, last = finished.files_upto
    await eventually(lambda: hub.committed["files"].get(epoch, 0) >= last, within=60)
    assert len(hub.files(experiment)) == 41
    assert re.fullmatch(
        r"(accepted|executing|released|finished| )+", " ".join(hub.phases(experiment))
    )
    # The large one went on where it was.
    offsets = [e["offset"] for _, _, e in hub.entries["files"] if e["name"] == "50.bin"]
    assert offsets == sorted(set(offsets))


@pytest.mark.parametrize(
    ("stage", "phases"),
    [
        ("accepted", ["accepted", "executing", "released", "finished"]),
        ("starting", ["accepted", "released", "interrupted"]),
        ("ended", ["accepted", "released", "finished"]),
    ],
)
async def test_a_node_killed_before_its_container_ran_goes_on_where_it_was(
    node: Node, hub: Hub, stage: str, phases: list[str]
) -> None:
    assignment = await hub.run("print('ran')")
    key = RunKey.of(assignment)
    assert key is not None
    node.data.mkdir()
    accepted = step(key, ManualClock(), "accepted")
    ending = Ending(outcome="cancelled") if stage == "ended" else None
    with closing(Ledger.open(DataDir(node.data).ledger)) as ledger:
        await ledger.see(assignment)
        await ledger.accept(assignment, utc_now(), accepted, ending)
        if stage == "starting":
            await ledger.starting(key, "sha256:" + "0" * 64)
    node.start()
    await hub.until_phase(key.experiment_id, phases[-1])
    assert hub.phases(key.experiment_id) == phases
    assert hub.log(key.experiment_id) == (["ran"] if stage == "accepted" else [])


@pytest.mark.parametrize(
    "node_settings", [{"runner": "bubblewrap", "allow_reduced_isolation": True}]
)
async def test_a_sandbox_dies_with_its_node_and_the_run_was_interrupted(
    running: Node, hub: Hub
) -> None:
    assignment = await hub.run(COUNTING)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "line 5")
    await running.kill()
    running.start()
    step_ = await hub.until_phase(experiment, "interrupted")
    assert step_.outcome == "failed"
    numbers = counted(hub.log(experiment))
    assert numbers == list(range(len(numbers)))
