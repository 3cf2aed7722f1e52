"""Every service killed under a running experiment: nothing lost, nothing twice, nothing left on."""

import csv
import io
import json
import os
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import docker
import httpx
import pytest

from tests.support.system import System, descendants, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

SCRIPT = """
from bioreactor import experiment, reactor
reactor.set("temperature-setpoint", 30)
n = 0
for _ in experiment.every(seconds=1):
    n += 1
    experiment.record(n=n)
    print("step", n, flush=True)
    if experiment.parameters["done"]:
        break
experiment.save("last.json", {"n": n})
"""
METADATA = """# /// script
# [tool.bioreactor.parameters]
# done = false
# ///
"""


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with System.start(tmp_path, "--runner", "docker") as running:
        yield running


def steps(system: System, experiment: str) -> int:
    lines = system.http.get(f"/api/experiments/{experiment}/logs").json()["lines"]
    numbers = [int(line["text"].split()[-1]) for line in lines if line["text"].startswith("step ")]
    return max(numbers, default=0)


def check_record(system: System, experiment: str) -> None:
    """Check that the record has every step once."""
    content = system.http.get(f"/api/experiments/{experiment}/download").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        log = archive.read("log.txt").decode().splitlines()
        series = list(csv.DictReader(io.StringIO(archive.read("series.csv").decode())))
        telemetry = list(csv.DictReader(io.StringIO(archive.read("telemetry.csv").decode())))
        last = json.loads(archive.read("files/last.json"))["n"]
    printed = [int(line.split()[-1]) for line in log if "step " in line]
    assert printed == list(range(1, last + 1))
    assert [int(float(row["n"])) for row in series] == list(range(1, last + 1))
    elapsed = [float(row["elapsed"]) for row in telemetry]
    assert elapsed == sorted(set(elapsed))
    assert elapsed


Starts = Callable[[str], int]


@pytest.fixture
def starts(tmp_path: Path) -> Iterator[Starts]:
    """Count how often the engine starts a container of an experiment.

    It is listened to all the time: what it remembers of earlier are the last 256 events.
    """
    heard = tmp_path / "starts"
    listening = [
        *("docker", "events", "--since", str(int(time.time())), "--format", "{{json .Actor}}"),
        *("--filter", "type=container", "--filter", "event=start"),
    ]
    with heard.open("wb") as file, subprocess.Popen(listening, stdout=file) as listener:
        try:
            yield lambda experiment: sum(
                experiment in line for line in heard.read_text().splitlines()
            )
        finally:
            listener.terminate()


def finish(system: System, experiment: str) -> None:
    system.cli("send", experiment, "done=true")
    system.wait_status(experiment, "completed")


@pytest.mark.parametrize("module", ["hub_service", "portal", "node_service", "broker"])
def test_killed_under_a_running_experiment(system: System, starts: Starts, module: str) -> None:
    experiment = system.start_experiment(METADATA + SCRIPT)
    system.wait_status(experiment, "running")
    wait_for("steps", lambda: steps(system, experiment) >= 3)
    if module == "broker":
        (pid,) = [p for p in descendants(system.process.pid) if _is_broker(p)]
        os.kill(pid, signal.SIGKILL)
        wait_for("a new broker", lambda: [
            p for p in descendants(system.process.pid) if _is_broker(p) and p != pid
        ])  # fmt: skip
    else:
        system.restart(module)
    now = wait_for("steps again", lambda: _answering(system, experiment))
    wait_for("more steps", lambda: (_answering(system, experiment) or 0) >= now + 3)
    finish(system, experiment)
    check_record(system, experiment)
    assert starts(experiment) == 1


def test_everything_killed_and_started_again(tmp_path: Path) -> None:
    """Power lost: the container, too, is gone; what was queued is still queued, in order."""
    with System.start(tmp_path, "--runner", "docker") as system:
        experiment = system.start_experiment(METADATA + SCRIPT)
        waiting = [system.start_experiment(METADATA + SCRIPT) for _ in range(2)]
        system.wait_status(experiment, "running")
        wait_for("steps", lambda: steps(system, experiment) >= 3)
        children = descendants(system.process.pid)
        os.kill(system.process.pid, signal.SIGKILL)
        wait_for("the end of every process", lambda: not any(map(_alive, children)))
        with closing(docker.from_env()) as engine:
            for container in engine.containers.list():
                if experiment in container.labels.values():
                    container.kill()
    with System.start(tmp_path, "--runner", "docker") as system:
        status = system.wait_status(experiment, "failed")
        assert status["error_message"]
        # The next one runs now; the last still waits at place one.
        system.wait_status(waiting[0], "running")
        assert system.status(waiting[1])["queue_position"] == 1
        for other in waiting:
            system.cli("cancel", other, "--admin")
            system.wait_status(other, "cancelled")


def test_stopped_and_started_again_goes_on(tmp_path: Path, starts: Starts) -> None:
    """Ctrl-C leaves the container; the next start re-adopts it and nothing is missing."""
    with System.start(tmp_path, "--runner", "docker") as system:
        experiment = system.start_experiment(METADATA + SCRIPT)
        system.wait_status(experiment, "running")
        wait_for("steps", lambda: steps(system, experiment) >= 3)
        assert system.stop() == 0
    with System.start(tmp_path, "--runner", "docker") as system:
        now = wait_for("steps again", lambda: steps(system, experiment))
        wait_for("more steps", lambda: steps(system, experiment) >= now + 3)
        finish(system, experiment)
        check_record(system, experiment)
        assert starts(experiment) == 1


def test_killed_up_leaves_nothing_behind(system: System) -> None:
    wait_for("every process", lambda: len(descendants(system.process.pid)) >= 5)
    children = descendants(system.process.pid)
    os.kill(system.process.pid, signal.SIGKILL)
    wait_for("the end of every process", lambda: not any(map(_alive, children)))


def _answering(system: System, experiment: str) -> int | None:
    try:
        return steps(system, experiment)
    except (httpx.TransportError, KeyError):
        return None  # the portal or the hub is away


def _is_broker(pid: int) -> bool:
    name = Path(f"/proc/{pid}/comm")
    return name.exists() and name.read_text().strip() in {"mosquitto", "nats-server"}


def _alive(pid: int) -> bool:
    stat = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(stat) and not stat.startswith("Z")
