"""The firmware, from `main.py` down, on a real MicroPython: all but the chip is real."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hardware.drivers.board.driver import ControllerBoard, Density
from hardware.drivers.board.link import BoardRefusedError
from hardware.drivers.board.rescue import make_safe
from hardware.drivers.transport import LineSettings, SerialPort
from tests.support.micropython import micropython_board
from tests.support.waiting import eventually
from tests.unit.hardware.firmware.test_specification import EXAMPLE, PAGE

OFF = {"heater": 0.0, "stirring": 0.0, "light": 0.0, "led": 0.0}
CHANNELS = {
    "temperature": "temperature",
    "density": "od",
    "heater": "heater",
    "stirring": "stirring",
    "light": "light",
}
HOST = Path(__file__).parent / "board_host_main.py"


def words(line: str) -> set[str]:
    """A dictionary's order is not MicroPython's, so seals differ; measured values do a little."""
    body = line.rpartition("*")[0]
    return {word for word in body.split(" ") if "=" not in word or not word.endswith(("C", "mV"))}


async def test_it_answers_as_the_specification_says(tmp_path: Path) -> None:
    async with (
        micropython_board(tmp_path) as board,
        SerialPort(board.path, LineSettings(115200)) as port,
    ):
        for request, reply in EXAMPLE.findall(PAGE):
            if request.startswith(">19"):
                await asyncio.sleep(2.1)
            async with port.exchange(5.0) as line:
                await line.write(request.encode() + b"\n")
                answer = (await line.read_line(b"\n")).decode()
            assert words(answer) == words(reply)


async def test_the_driver_is_served(tmp_path: Path) -> None:
    async with micropython_board(tmp_path) as board:
        driver = ControllerBoard("b", board.path, CHANNELS, density=Density(0.0, 1000.0))
        async with driver:
            assert await driver.read() == {
                "temperature": pytest.approx(25, abs=0.1),
                "od": pytest.approx(0, abs=0.01),
            }
            await driver.write("heater", 35.0)
            await driver.write("stirring", 500.0)
            await eventually(lambda: board.driven["stirring"] == pytest.approx(0.5, abs=0.001))
            board.set(0.26)  # 50.6 °C
            await eventually(lambda: board.driven["heater"] == 0.0)
            with pytest.raises(BoardRefusedError, match="too hot"):
                await driver.write("heater", 10.0)
            assert board.driven["stirring"] > 0
            board.set(1.0)  # the thermistor broke off
            await asyncio.sleep(0.2)
            with pytest.raises(BoardRefusedError, match="thermistor"):
                await driver.write("heater", 10.0)
        await eventually(lambda: board.driven == OFF)


@pytest.mark.parametrize("rescued", [False, True], ids=["by itself", "by the watchdog"])
async def test_a_killed_host_leaves_nothing_on(tmp_path: Path, rescued: bool) -> None:
    async with micropython_board(tmp_path) as board:
        host = await asyncio.create_subprocess_exec(
            *(sys.executable, str(HOST), str(board.path)),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
        assert host.stdout is not None
        assert await host.stdout.readline() == b"on\n"
        await asyncio.sleep(2.0)  # longer than the timeout: the heartbeat keeps it on
        assert board.driven["heater"] == pytest.approx(0.4, abs=0.001)
        host.kill()
        await host.wait()
        if rescued:
            await asyncio.to_thread(make_safe, str(board.path))
        await eventually(lambda: board.driven == OFF)
