"""Whole experiments, through hub, container and portal, on serial devices and on a recording."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system import System, wait_for
from tests.unit.hardware.simulation.recording import CSV

ON_SERIAL_DEVICES = """\
# /// script
# [tool.bioreactor]
# needs = ["od", "ph", "media", "waste", "temperature-setpoint", "stirring"]
# ///
from bioreactor import experiment, reactor

reactor.set("temperature-setpoint", 30.0)
reactor.set("stirring", 600.0)
for _ in experiment.every(seconds=2, duration=20):
    experiment.record(od=reactor.read("od"), ph=reactor.read("ph"))
media = reactor.dose("media", ml=1.0)
waste = reactor.dose("waste", ml=2.0)
try:
    reactor.dose("media", ml=50.0)
except reactor.DoseLimitError as refusal:
    limit = refusal.details["limit"]
experiment.save("summary.json", {
    "heater": reactor.read("heater"),
    "media": media.delivered_ml,
    "waste": waste.delivered_ml,
    "limit": limit,
})
"""

ON_A_RECORDING = """\
# /// script
# [tool.bioreactor]
# needs = ["temperature", "od-135"]
# ///
from bioreactor import experiment, reactor

for elapsed in experiment.every(seconds=20, duration=900):
    experiment.record(seen=reactor.read("temperature"))
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Path]:
    """Return the reactor.toml of a bench of emulated devices in a process of its own."""
    ports = tmp_path / "bench"
    ports.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "hardware.emulators", "bench", "--directory", str(ports)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    file = ports / "reactor.toml"
    wait_for("the bench", file.exists)
    yield file
    process.terminate()
    process.communicate(timeout=10)


def bench_of(system: System) -> bool:
    """Whether the portal knows the real reactor by the label in its file."""
    nodes = system.http.get("/api/nodes").json()["nodes"]
    return [(node["label"], node["simulated"]) for node in nodes] == [("Bench", False)]


def finished(system: System, script: str) -> tuple[zipfile.ZipFile, str]:
    """Run a script to its end and return its results."""
    experiment = system.start_experiment(script)

    def status() -> str | None:
        state = system.http.get(f"/api/experiments/{experiment}/status").json()["experiment"]
        done: str = state["status"]
        if done == "failed":
            log = system.http.get(f"/api/experiments/{experiment}/logs").text
            raise AssertionError(f"{state['error_message']}\n{log}")
        return done if done == "completed" else None

    wait_for("the end", status, 150)
    content = system.http.get(f"/api/experiments/{experiment}/download").content
    return zipfile.ZipFile(io.BytesIO(content)), experiment


def columns(archive: zipfile.ZipFile, name: str) -> list[float]:
    rows = csv.DictReader(io.StringIO(archive.read("telemetry.csv").decode()))
    return [float(row[name]) for row in rows if row[name]]


@pytest.mark.engine
def test_on_serial_devices(bench: Path, tmp_path: Path) -> None:
    with System.start(tmp_path / "system", "--reactor", str(bench), "--runner", "docker") as system:
        wait_for("the bench", lambda: bench_of(system))
        archive, _ = finished(system, ON_SERIAL_DEVICES)
    with archive:
        summary = json.loads(archive.read("files/summary.json"))
        temperatures, ph = columns(archive, "temperature"), columns(archive, "ph")
    assert summary["media"] == pytest.approx(1.0, abs=0.01)
    assert summary["waste"] == pytest.approx(2.0, abs=0.2)
    assert summary["limit"] == "max_dose_ml"
    assert summary["heater"] == 70.0
    assert len(temperatures) >= 15
    assert all(20.0 < value < 40.0 for value in temperatures)
    assert all(6.5 < value < 7.5 for value in ph)


@pytest.mark.engine
@pytest.mark.skipif(not CSV.exists(), reason="the recorded runs are not beside the code")
def test_on_a_recording(tmp_path: Path) -> None:
    with CSV.open(newline="") as file:
        recorded = {float(row["temperature_C"]) for row in csv.DictReader(file)}
    with System.start(
        tmp_path / "system", "--replay", str(CSV), "--speed", "60", "--runner", "docker"
    ) as system:
        archive, _ = finished(system, ON_A_RECORDING)
    with archive:
        shown = columns(archive, "temperature")
    assert len(shown) > 20
    assert set(shown) <= recorded
    assert max(shown) > 29.5 > min(shown)
