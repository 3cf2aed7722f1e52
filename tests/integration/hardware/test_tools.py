"""`bioreactor hardware` against `bioreactor emulate bench`, as a technician would."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from hardware.workbench import Workbench

FILE = """\
[devices.board]
driver = "board"
port = "{ports}/board"

[devices.ph-probe]
driver = "ezo-ph"
port = "{ports}/ezo-ph"
temperature = "temperature"

[channels]
temperature = {{ device = "board", what = "temperature" }}
ph = {{ device = "ph-probe" }}
"""


class Bench:
    """The emulated devices in a process of their own."""

    def __init__(self, ports: Path) -> None:
        self.file = ports / "reactor.toml"
        self.file.write_text(FILE.format(ports=ports))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hardware.emulators", "bench", "--directory", ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8):  # the ports
            assert self._out.readline().startswith(str(ports))

    @property
    def _out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def tell(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()
        self._out.readline()

    def end(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.end()


def hardware(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hardware.tools", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "300"},  # no line of a table breaks, however long a path is
        check=False,
    )


def test_devices_are_checked_and_watched(bench: Bench) -> None:
    checked = hardware("check", bench.file)
    assert checked.returncode == 0, checked.stderr
    assert "EZO-pH, firmware 2.12" in checked.stdout
    assert "temperature 23." in checked.stdout
    assert "All 2 devices answer" in checked.stdout
    watched = hardware("monitor", bench.file, "--rounds", 1)
    assert watched.returncode == 0, watched.stderr
    assert "°C" in watched.stdout
    bench.tell("ezo-ph unplug")
    checked = hardware("check", bench.file)
    assert checked.returncode == 1
    assert "ezo-ph is not there: is the device plugged in?" in checked.stdout
    assert "1 of 2 devices are not well: ph-probe" in checked.stdout


def test_another_device_on_the_port_is_said(bench: Bench) -> None:
    bench.file.write_text(bench.file.read_text().replace("ezo-ph", "ezo-rtd", 1))
    bench.file.write_text(bench.file.read_text().replace('temperature = "temperature"\n', ""))
    checked = hardware("check", bench.file)
    assert checked.returncode == 1
    assert "another circuit" in checked.stdout or "EZO-pH" in checked.stdout


def test_a_file_with_a_mistake_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "reactor.toml"
    file.write_text('[devices.x]\ndriver = "nothing-like-it"\n')
    checked = hardware("check", file)
    assert checked.returncode == 78
    assert f"{file}, line 1: channels: this key is needed" in checked.stderr


def test_drivers_are_listed() -> None:
    listed = hardware("drivers")
    assert listed.returncode == 0
    for name in ("ezo-ph", "tic", "board", "senseair"):
        assert name in listed.stdout


VESSEL = """
[devices.pump]
driver = "ezo-pmp"
port = "/dev/serial/by-id/usb-pump"

[channels.media]
device = "pump"
direction = "in"
max_dose_ml = 5.0
max_hourly_ml = 60.0
max_total_ml = 100.0

[vessel]
filled = 15.0
low = 5.0
high = 18.0
"""


def test_a_new_vial_is_written_down_for_the_node(tmp_path: Path) -> None:
    file, devices = tmp_path / "reactor.toml", tmp_path / "devices"
    file.write_text(VESSEL)
    words = ("new-vial", file, "--directory", devices, "--wait", 0)
    refused = hardware(*words, "--ml", 30)
    assert refused.returncode == 78
    assert "30 mL cannot be in it" in refused.stderr
    said = hardware(*words)
    assert said.returncode == 0, said.stderr
    assert "will count from 15 mL as soon as no experiment runs" in said.stdout
    assert Workbench(devices).new_vial() == 15.0
    file.write_text(VESSEL.replace("filled", 'sensor = "volume"\nfilled'))
    assert hardware(*words).returncode == 78
