"""Runs from their assignment to their results, over a real broker, in real containers."""

import asyncio
from itertools import pairwise

import pytest

from broker.messages import ContainerRecord, Error, ErrorCode, EventRecord
from tests.support.node import SMALL, Hub, Node, engine, instance_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

SCRIPT = """
    from bioreactor import experiment, reactor

    print("hello", experiment.parameters["target"])
    reactor.set("stirring", 200)
    dose = reactor.dose("media", ml=0.5)
    experiment.record(delivered=dose.delivered_ml)
    experiment.save("summary.json", {"od": reactor.read("od")})
    print("done")
"""
WAITING = """
    from bioreactor import experiment, reactor

    reactor.set("stirring", 200)
    print("waiting")
    try:
        while True:
            experiment.sleep(0.2)
    finally:
        experiment.save("partial.txt", b"so far")
        print("cleaned up")
"""


@pytest.mark.parametrize(
    "node_settings",
    [{"runner": "docker"}, {"runner": "bubblewrap", "allow_reduced_isolation": True}],
    ids=["docker", "bubblewrap"],
)
async def test_a_run_ends_with_everything_at_the_hub(running: Node, hub: Hub) -> None:
    assignment = await hub.run(SCRIPT, parameters={"target": 0.4})
    experiment = str(assignment.experiment_id)
    finished = await hub.until_phase(experiment, "finished")

    assert (finished.outcome, finished.exit_code, finished.error) == ("completed", 0, None)
    assert hub.phases(experiment) == ["accepted", "executing", "released", "finished"]
    assert hub.log(experiment) == ["hello 0.4", "done"]
    assert [file.name for file in finished.files] == ["summary.json"]
    await eventually(lambda: "summary.json" in hub.files(experiment))
    assert finished.files_upto is not None
    epoch, n = finished.files_upto
    assert hub.committed["files"][epoch] >= n
    events = [r for r in hub.records(experiment) if isinstance(r, EventRecord)]
    assert {"set", "dose", "run"} <= {event.event for event in events}

    await hub.desire(desired="idle")
    await eventually(lambda: hub.report.seen_revision == hub.revision)
    await eventually(lambda: hub.report.activity is None)
    assert hub.report.safe
    assert (hub.report.ledger[0].state, hub.report.ledger[0].outcome) == ("finished", "completed")

    # What was finished once is answered from the ledger, however often it is asked for.
    await hub.again(assignment)
    await eventually(lambda: hub.report.seen_revision == hub.revision)
    assert hub.report.ledger[0].outcome == "completed"
    second = await hub.run(SCRIPT, parameters={"target": 1})
    await hub.until_phase(str(second.experiment_id), "finished")
    assert hub.phases(experiment) == ["accepted", "executing", "released", "finished"]


async def test_a_failing_script_says_why(running: Node, hub: Hub) -> None:
    assignment = await hub.run("raise SystemExit(3)")
    finished = await hub.until_phase(str(assignment.experiment_id), "finished")
    assert (finished.outcome, finished.exit_code) == ("failed", 3)
    assert finished.error is not None
    assert finished.error.code is ErrorCode.SCRIPT_FAILED
    assert "exit code 3" in finished.error.message
    assert finished.error.hint


async def test_a_cancelled_run_keeps_its_partial_results(running: Node, hub: Hub) -> None:
    assignment = await hub.run(WAITING)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "waiting")
    await eventually(lambda: not hub.report.safe)
    reason = Error(code=ErrorCode.CANCELLED, message="ada cancelled it")
    await hub.again(assignment, desired="stop", stop_reason=reason)
    finished = await hub.until_phase(experiment, "finished")
    assert (finished.outcome, finished.error) == ("cancelled", reason)
    assert hub.phases(experiment) == ["accepted", "executing", "stopping", "released", "finished"]
    assert hub.log(experiment)[-1] == "cleaned up"
    await eventually(lambda: hub.files(experiment) == {"partial.txt": b"so far"})
    await eventually(lambda: hub.report.safe)


async def test_a_stop_that_arrives_first_is_an_outcome_without_a_run(
    running: Node, hub: Hub
) -> None:
    assignment = await hub.run(SCRIPT, desired="stop")
    experiment = str(assignment.experiment_id)
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "cancelled"
    await hub.again(assignment, desired="run")
    await eventually(lambda: hub.report.seen_revision == hub.revision)
    other = await hub.run(SCRIPT, parameters={"target": 1})
    await hub.until_phase(str(other.experiment_id), "finished")
    assert hub.phases(experiment) == ["accepted", "released", "finished"]


async def test_pausing_freezes_script_and_clock_and_holds_the_reactor(
    running: Node, hub: Hub
) -> None:
    assignment = await hub.run("""
        from bioreactor import experiment, reactor

        reactor.set("temperature-setpoint", 37)
        print("waiting")
        while not experiment.messages():
            experiment.sleep(0.1)
        print("resumed")
    """)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "waiting")
    await hub.again(assignment, desired="pause")
    paused = await hub.until_phase(experiment, "paused")
    await eventually(lambda: hub.report.container and hub.report.container.state == "paused")
    assert hub.report.activity is not None
    assert (hub.report.activity.phase, hub.report.activity.lease) == ("frozen", False)
    await eventually(lambda: hub.samples(experiment)[-1].t > paused.t)
    assert hub.samples(experiment)[-1].values["temperature-setpoint"] == 37
    await hub.again(assignment, desired="run")
    resumed = await hub.until_phase(experiment, "resumed")
    assert resumed.elapsed == pytest.approx(paused.elapsed, abs=0.001)
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed"
    assert hub.log(experiment) == ["waiting", "resumed"]


@pytest.mark.parametrize("node_settings", [{"runner": "docker"}])
async def test_what_somebody_else_froze_holds_nothing_on_and_goes_on(
    running: Node, hub: Hub
) -> None:
    assignment = await hub.run("""
        from bioreactor import experiment, reactor

        reactor.set("temperature-setpoint", 37)
        reactor.set("light", 50, seconds=3600)
        print("waiting")
        while not experiment.messages():
            experiment.sleep(0.1)
        print("went on")
    """)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "waiting")
    label = f"label=bioreactor.instance={instance_of(running.data)}"
    (container,) = await asyncio.to_thread(engine, "ps", "-q", "--filter", label)
    await asyncio.to_thread(engine, "pause", container)
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed"
    assert hub.log(experiment) == ["waiting", "went on"]
    assert any("by somebody else" in line for line in hub.log(experiment, "system"))
    assert "hold" in {r.event for r in hub.records(experiment) if isinstance(r, EventRecord)}


async def test_parameters_reach_a_running_script(running: Node, hub: Hub) -> None:
    assignment = await hub.run(
        """
        from bioreactor import experiment

        print("target", experiment.parameters["target"])
        while experiment.parameters["target"] == 1.0:
            experiment.sleep(0.1)
        print("target", experiment.parameters["target"])
        """,
        parameters={"target": 1.0},
    )
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "target 1.0")
    await hub.again(assignment, parameters={"target": 2.0})
    await hub.until_said(experiment, "target 2.0")
    await hub.until_phase(experiment, "finished")
    changes = [
        record.data
        for record in hub.records(experiment)
        if isinstance(record, EventRecord) and record.event == "parameters"
    ]
    assert changes == [{"changed": {"target": 2.0}, "removed": [], "revision": 2}]


@pytest.mark.parametrize("limit", ["max_duration", "max_silence"])
async def test_a_run_that_breaks_its_limits_is_ended(running: Node, hub: Hub, limit: str) -> None:
    script = "import time\nprint('begun', flush=True)\ntime.sleep(60)"
    assignment = await hub.run(script, limits=SMALL.model_copy(update={limit: 1.0}))
    finished = await hub.until_phase(str(assignment.experiment_id), "finished")
    assert finished.outcome == "failed"
    assert finished.error is not None
    assert (finished.error.code, finished.error.details["limit"]) == (ErrorCode.LIMIT, limit)


async def test_a_container_is_measured_each_second(running: Node, hub: Hub) -> None:
    assignment = await hub.run("""
        from bioreactor import experiment

        held = bytearray(b"x" * 16 * 1024 ** 2)
        with open("/results/data.bin", "wb") as file:
            file.write(bytes(1_000_000))
        print("x" * 5000, flush=True)
        while not experiment.parameters.get("end"):
            experiment.sleep(0.1)
    """)
    experiment = str(assignment.experiment_id)

    def measured() -> list[ContainerRecord]:
        return [r for r in hub.records(experiment) if isinstance(r, ContainerRecord)]

    await eventually(lambda: len(measured()) >= 4)
    status = measured()[-1].status
    apart = [(b.t - a.t).total_seconds() for a, b in pairwise(measured())]
    assert max(apart) < 5  # each second, where the machine has time
    assert (status.state, status.memory_limit) == ("running", SMALL.memory)
    assert 16 * 1024**2 < status.memory < SMALL.memory
    assert status.pids >= 1
    assert 5000 <= status.log_bytes < 5300
    assert status.results_bytes >= 1_000_000
    assert 0 < status.uptime < 60
    shown = hub.report.container
    assert shown is not None
    assert shown.log_bytes == status.log_bytes
    await hub.again(assignment, parameters={"end": True})
    await hub.until_phase(experiment, "finished")


async def test_another_assignment_ends_what_runs_and_an_idle_one_does_not(
    running: Node, hub: Hub
) -> None:
    first = await hub.run(WAITING)
    experiment = str(first.experiment_id)
    await hub.until_said(experiment, "waiting")
    await hub.desire(desired="idle")
    await eventually(lambda: hub.report.seen_revision == hub.revision)
    assert hub.report.activity is not None
    assert hub.report.activity.phase == "executing"
    second = await hub.run("print('second')")
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "cancelled"
    other = await hub.until_phase(str(second.experiment_id), "finished")
    assert other.outcome == "completed"


async def test_a_log_beyond_its_budget_is_one_counted_entry(running: Node, hub: Hub) -> None:
    limits = SMALL.model_copy(update={"log": 64 * 1024})
    # Within the engine's own bound of twice the budget: beyond it the engine rotates its file and
    # may give lines again, so that the count is no longer exact.
    lines = 1400
    assignment = await hub.run(f"for i in range({lines}): print(i, 'x' * 50)", limits=limits)
    experiment = str(assignment.experiment_id)
    await hub.until_phase(experiment, "finished")
    kept = hub.log(experiment)
    assert sum(len(line) + 1 for line in kept) <= 64 * 1024
    dropped = [
        record.data
        for record in hub.records(experiment)
        if isinstance(record, EventRecord) and record.event == "dropped"
    ]
    assert [entry["count"] for entry in dropped] == [lines - len(kept)]
    assert sum("budget" in line for line in hub.log(experiment, "system")) == 1


async def test_what_a_script_plants_in_its_results_is_refused(running: Node, hub: Hub) -> None:
    assignment = await hub.run("""
        import os, socket
        os.chdir("/results")
        os.makedirs("plots/deep")
        open("plots/deep/a.txt", "w").write("fine")
        os.symlink("/etc/shadow", "link")
        os.symlink("/etc", "folder")
        os.mkfifo("pipe")
        socket.socket(socket.AF_UNIX).bind("socket")
        open(b"bad\\xff", "w").write("x")
        open("control\\n", "w").write("x")
        with open("sparse", "w") as file:
            file.truncate(10**12)
    """)
    experiment = str(assignment.experiment_id)
    finished = await hub.until_phase(experiment, "finished")
    assert [file.name for file in finished.files] == ["plots/deep/a.txt"]
    await eventually(lambda: hub.files(experiment) == {"plots/deep/a.txt": b"fine"})
    told = "\n".join(hub.log(experiment, "system"))
    for name in ("link", "folder", "pipe", "socket", "bad", "control", "sparse"):
        assert f"left out: '{name}" in told


async def test_a_flooding_script_does_not_slow_the_sampler(running: Node, hub: Hub) -> None:
    assignment = await hub.run("""
        import threading, time
        from bioreactor import experiment, reactor

        end = time.monotonic() + 4
        def flood():
            while time.monotonic() < end:
                reactor.read_all()
                experiment.record(x=1.0)
                print("x" * 1000)
        threads = [threading.Thread(target=flood) for _ in range(20)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """)
    experiment = str(assignment.experiment_id)
    finished = await hub.until_phase(experiment, "finished", within=60)
    assert finished.outcome == "completed"
    times = [sample.elapsed or 0.0 for sample in hub.samples(experiment)]
    gaps = sorted(b - a for a, b in pairwise(times))
    assert len(gaps) > 10
    assert gaps[len(gaps) // 2] == pytest.approx(0.2, abs=0.05)
    assert gaps[-1] < 1.0
