"""The controller board's firmware on a real MicroPython, in a process, on a pseudo terminal."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from hardware.emulators.pty import PtyPort
from hardware.firmware.board import settings
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
NAMES = {
    settings.HEATER_PIN: "heater",
    settings.STIRRER_PIN: "stirring",
    settings.LIGHT_PIN: "light",
    settings.OD_LED_PIN: "led",
}


class MicroPythonBoard:
    """A board that was just switched on.

    Attributes:
        driven: What each output is driven with, as part of the time.
    """

    def __init__(self, path: Path, voltages: Path) -> None:
        self.path = path
        self._voltages = voltages
        self.driven: dict[str, float] = {}
        self.set(0.5)

    def set(self, thermistor: float) -> None:
        """Set the part of the supply at the thermistor; 0.5 is 25 °C."""
        pins: Mapping[int, float] = {
            settings.THERMISTOR_ADC: thermistor,
            settings.OD_SIGNAL_ADC: 0.2,
            settings.OD_REFERENCE_ADC: 0.3,
        }
        part = self._voltages.with_suffix(".part")
        part.write_text(json.dumps(pins))
        part.replace(self._voltages)

    async def follow(self, output: asyncio.StreamReader) -> None:
        while line := await output.readline():
            pin, part, _ = line.split()
            self.driven[NAMES[int(pin)]] = float(part)


@asynccontextmanager
async def micropython_board(directory: Path) -> AsyncIterator[MicroPythonBoard]:
    """Run the firmware; its port is `path`."""
    assert (ROOT / "tools/micropython/node_modules").is_dir(), "run tools/setup test"
    port = PtyPort(directory / "board")
    port.plug()
    board = MicroPythonBoard(port.path, directory / "voltages.json")
    process = await asyncio.create_subprocess_exec(
        shutil.which("node") or "node",
        str(ROOT / "tools/micropython/run.mjs"),
        str(ROOT / "hardware/firmware"),
        str(ROOT / "hardware/emulators/chip.py"),
        str(port.device_end),
        str(directory / "voltages.json"),
        stdout=asyncio.subprocess.PIPE,
        pass_fds=[port.device_end],
    )
    assert process.stdout is not None
    following = asyncio.create_task(board.follow(process.stdout))
    try:
        await eventually(lambda: len(board.driven) == len(NAMES))  # it has started
        yield board
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await following
        port.unplug()
