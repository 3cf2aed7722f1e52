"""The main job through every public door: command line, REST, MQTT; on both brokers."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import EXAMPLES, System, wait_for

SHORT = {"hours": 0.5}
SPEED = "600"


MOSQUITTO = pytest.param(("mosquitto", "tcp"), id="mosquitto")
NATS = pytest.param(("nats", "websockets"), id="nats-websockets")


@pytest.fixture(scope="module", params=[MOSQUITTO, NATS])
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    broker, transport = request.param
    data = tmp_path_factory.mktemp("system")
    with System.start(
        data, "--broker", broker, "--transport", transport, "--runner", "docker", "--speed", SPEED
    ) as running:
        assert running.ready["broker_kind"] == broker
        yield running


def check_results(content: bytes) -> dict[str, Any]:
    """Check every hash of a results ZIP and return its manifest."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        manifest: dict[str, Any] = json.loads(archive.read("manifest.json"))
        names = {name for name in archive.namelist() if name != "manifest.json"}
        listed = {file["name"]: file for file in manifest["files"]}
        assert set(listed) == names
        for name, file in listed.items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == file["sha256"], name
        assert {"script.py", "log.txt", "telemetry.csv", "telemetry.parquet"} <= names
        header, *rows = archive.read("telemetry.csv").decode().splitlines()
        assert "od" in header.split(",")
        assert rows
    return manifest


@pytest.mark.engine
def test_command_line(system: System, tmp_path: Path) -> None:
    done = system.cli(
        "submit", str(EXAMPLES / "turbidostat.py"), "--follow", "-p", "hours=0.5", "--json",
        timeout=600,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    submitted, states, log = (
        lines[0],
        [line["status"] for line in lines if "status" in line and "revision" in line],
        [line["n"] for line in lines if "source" in line],
    )
    assert submitted["kind"] == "submitted"
    assert states[-1] == "completed"
    assert "running" in states
    assert log == list(range(1, len(log) + 1))
    system.cli("results", submitted["experiment_id"], "-o", str(tmp_path))
    (archive,) = tmp_path.glob("*.zip")
    check_results(archive.read_bytes())


def test_submit_says_the_experiments_id(system: System) -> None:
    said = system.cli("submit", "-", "--name", "short", stdin="x = 1\n").stdout
    experiment, _, rest = said.partition(": ")
    assert "short is queued" in rest
    assert system.wait_status(experiment, "completed")["name"] == "short"
    experiment = system.cli("submit", "-", "--quiet", stdin="x = 1\n").stdout.strip()
    system.wait_status(experiment, "completed")


@pytest.mark.engine
def test_rest(system: System) -> None:
    experiment = system.start_experiment(
        (EXAMPLES / "turbidostat.py").read_text(), name="by REST", parameters=SHORT
    )
    status = system.wait_status(experiment, "completed", seconds=300)
    assert status["exit_code"] == 0
    download = system.http.get(f"/api/experiments/{experiment}/download")
    assert download.headers["content-type"] == "application/zip"
    check_results(download.content)
    samples = system.http.get(f"/api/experiments/{experiment}/telemetry").json()
    assert samples
    mine = system.http.get("/api/experiments/user").json()["experiments"]
    assert experiment in {row["experiment_id"] for row in mine}


@pytest.mark.engine
def test_mosquitto_pub(system: System) -> None:
    request = {
        "id": "by-mqtt-1",
        "script": (EXAMPLES / "turbidostat.py").read_text(),
        "parameters": SHORT,
        "name": "by MQTT",
    }

    def submit() -> None:
        system.mosquitto(
            "mosquitto_pub", "-t", "bioreactor/hub/request/admin/submit", "-q", "1", "-s",
            stdin=json.dumps(request),
        )  # fmt: skip

    def found() -> list[dict[str, Any]]:
        listed = json.loads(system.cli("list", "--json", "--search", "by MQTT").stdout)
        rows: list[dict[str, Any]] = listed["experiments"]
        return rows

    submit()
    (row,) = wait_for("the experiment in the list", found)
    submit()  # the same request id again: one experiment
    wait_for(
        "completed",
        lambda: (
            json.loads(system.cli("show", row["experiment_id"], "--json").stdout)["experiment"][
                "status"
            ]
            == "completed"
        ),
        300,
    )
    assert len(found()) == 1
    retained = system.mosquitto(
        "mosquitto_sub",
        "-t",
        f"bioreactor/experiments/{row['experiment_id']}",
        "-C",
        "1",
        "-W",
        "10",
    )
    assert json.loads(retained.stdout)["status"] == "completed"


@pytest.mark.engine
def test_parameters_sent_to_a_running_script(system: System) -> None:
    script = """
# /// script
# [tool.bioreactor.parameters]
# go = false
# target_od = 0.3
# ///
from bioreactor import experiment
print("waiting", flush=True)
for _ in experiment.every(seconds=60):
    if experiment.parameters["target_od"] == 0.5:
        break
print("target seen", flush=True)
for _ in experiment.every(seconds=60):
    if experiment.parameters["go"]:
        break
print("go seen")
"""
    experiment = system.start_experiment(script)
    system.wait_status(experiment, "running")
    wait_for("waiting", lambda: "waiting" in _log(system, experiment))
    system.cli("send", experiment, "target_od=0.5")
    wait_for("target", lambda: "target seen" in _log(system, experiment))
    request = {"experiment_id": experiment, "parameters": {"go": True}}
    system.mosquitto(
        "mosquitto_pub", "-t", "bioreactor/hub/request/admin/send", "-q", "1", "-s",
        stdin=json.dumps(request),
    )  # fmt: skip
    system.wait_status(experiment, "completed")
    assert "go seen" in _log(system, experiment)
    assert system.status(experiment)["parameters"] == {"go": True, "target_od": 0.5}


@pytest.mark.engine
def test_pause_resume_cancel(system: System) -> None:
    script = """
from bioreactor import experiment
n = 0
for _ in experiment.every(seconds=60):
    n += 1
    experiment.record(n=n)
    print("step", n, flush=True)
"""
    experiment = system.start_experiment(script)
    system.wait_status(experiment, "running")
    wait_for("steps", lambda: "step 3" in _log(system, experiment))
    assert system.http.post(f"/api/experiments/{experiment}/pause").json()["success"]
    system.wait_status(experiment, "paused")
    # Frozen: the log stands still while telemetry goes on.
    frozen = _log(system, experiment)
    before = _samples(system, experiment)
    wait_for("samples go on", lambda: _samples(system, experiment) > before + 2)
    assert _log(system, experiment) == frozen
    assert system.http.post(f"/api/experiments/{experiment}/resume").json()["success"]
    system.wait_status(experiment, "running")
    wait_for("steps go on", lambda: len(_log(system, experiment)) > len(frozen))
    assert system.http.post(f"/api/experiments/{experiment}/cancel").json()["success"]
    status = system.wait_status(experiment, "cancelled")
    assert status["status"] == "cancelled"
    check_results(system.http.get(f"/api/experiments/{experiment}/download").content)
    again = system.http.post(f"/api/experiments/{experiment}/cancel")
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "WRONG_STATE"


def _log(system: System, experiment: str) -> str:
    answer = system.http.get(f"/api/experiments/{experiment}/logs")
    assert answer.status_code == 200, answer.text
    return answer.text


def _samples(system: System, experiment: str) -> int:
    history = system.http.get(f"/api/experiments/{experiment}/history").json()
    return len(history["traces"].get("od", {"t": []})["t"])


@pytest.mark.engine
@pytest.mark.parametrize("system", [MOSQUITTO], indirect=True)  # the scripts meet no broker
def test_every_example(system: System) -> None:
    """Five experiments of one user fit the queue; they run one after another, in order."""
    more = {"light_dark_cycle": {"light_hours": 0.25, "dark_hours": 0.25}}
    paths = sorted(EXAMPLES.glob("*.py"))
    assert len(paths) == 5
    started = {
        path.stem: system.start_experiment(
            path.read_text(),
            name=f"example {path.stem}",
            parameters={"hours": 0.5, **more.get(path.stem, {})},
        )
        for path in paths
    }
    ended = []
    for name, experiment in started.items():
        status = system.wait_status(experiment, "completed", seconds=240)
        assert "summary.json" in {file["name"] for file in status["results"]}, name
        ended.append(status["started_at"])
    assert ended == sorted(ended)
    plots = system.status(started["growth_curve"])["results"]
    assert "growth_curve.png" in {file["name"] for file in plots}
