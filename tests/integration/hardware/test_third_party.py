"""The driver of another package: installed beside, found, and used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hardware.drivers.interface import DriverError
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.faults import Fault
from tests.support.system import ROOT

TEMPLATE = ROOT / "examples" / "driver"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder with the template's package and its entry point, as pip leaves them."""
    site = tmp_path / "site"
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--no-deps", "--no-build-isolation", "--target", str(site), str(TEMPLATE),
        ],
        check=True,
    )  # fmt: skip
    return site


def hardware(site: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hardware.tools", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"},
        cwd=ROOT,
        check=False,
    )


def test_it_passes_the_suites_of_all_drivers(installed: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".",
            "-c", "pyproject.toml", str(TEMPLATE / "test_thermometer.py"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=ROOT,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


async def test_it_is_found_checked_and_calibratable(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(installed))
    from bioreactor_thermometer.driver import Thermometer, parse  # noqa: PLC0415
    from bioreactor_thermometer.emulator import EmulatedThermometer  # noqa: PLC0415

    with pytest.raises(DriverError, match="no temperature"):
        parse(b"T=25")
    port = tmp_path / "port"
    file = tmp_path / "reactor.toml"
    file.write_text(
        f'[devices.bath]\ndriver = "thermometer"\nport = "{port}"\noffset = -0.2\n'
        '[channels.bath-temperature]\ndevice = "bath"\n'
    )
    async with Emulator(EmulatedThermometer(Constant(37.25)), link=port) as emulator:
        driver = Thermometer("bath", port, "bath-temperature")
        async with driver:
            assert await driver.read() == {"bath-temperature": 37.25}
            emulator.inject(Fault.SILENCE)
            with pytest.raises(DriverError):
                await driver.read()
            emulator.clear()
            assert await driver.read() == {"bath-temperature": 37.25}
    listed = hardware(installed, "drivers")
    assert "thermometer" in listed.stdout
    checked = hardware(installed, "check", file)
    assert checked.returncode == 1
    assert "is not there: is the device plugged in?" in checked.stdout
