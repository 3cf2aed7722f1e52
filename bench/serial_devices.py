"""Drivers on emulated devices: what a request and its reply take beyond the pseudo terminal."""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from hardware.clock import RealClock
from hardware.drivers.board.driver import ControllerBoard
from hardware.drivers.senseair.protocol import S8
from hardware.drivers.senseair.sensor import SenseairCo2
from hardware.drivers.tic.pump import TicPump
from hardware.emulators.board import EmulatedBoard
from hardware.emulators.emulator import EmulatedDevice, Emulator
from hardware.emulators.pty import PtyPort
from hardware.emulators.senseair import EmulatedSenseair
from hardware.emulators.tic import EmulatedTic, TicSettings

Row = tuple[str, float, str, float, str]

TIMES = 200


async def median_ms(act: Callable[[], Awaitable[object]]) -> float:
    """Return the median of many tries, ms."""
    took = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        await act()
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000.0


def echo_ms() -> float:
    """Return what 32 bytes there and back take on a pseudo terminal, in one thread: the limit."""
    port = PtyPort(None)
    port.plug()
    host = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
    took = []
    try:
        for _ in range(TIMES):
            begun = time.perf_counter()
            os.write(host, b"x" * 32)
            os.write(port.device_end, port.read())
            os.read(host, 64)
            took.append(time.perf_counter() - begun)
    finally:
        os.close(host)
        port.unplug()
    return statistics.median(took) * 1000.0


async def measured(directory: Path) -> list[tuple[str, float]]:
    """Return what each driver takes for one call, ms."""
    settings = TicSettings(crc_for_commands=True, crc_for_responses=True)
    devices: dict[str, EmulatedDevice] = {
        "board": EmulatedBoard(),
        "tic": EmulatedTic(settings),
        "gas": EmulatedSenseair(),
    }
    clock = RealClock()
    board = ControllerBoard("board", directory / "board", {"heater": "heater"})
    tic = TicPump(
        "tic", directory / "tic", channel="p", ml_per_microstep=0.01, flow=1.0, clock=clock
    )
    gas = SenseairCo2("gas", directory / "gas", channel="co2", variant=S8, clock=clock)
    async with (
        Emulator(devices["board"], link=directory / "board"),
        Emulator(devices["tic"], link=directory / "tic"),
        Emulator(devices["gas"], link=directory / "gas"),
    ):
        await asyncio.sleep(0.05)
        async with board, tic, gas:
            return [
                ("board: set an output", await median_ms(lambda: board.write("heater", 10.0))),
                ("Tic: read its state", await median_ms(tic.read)),
                ("Senseair: read CO2", await median_ms(gas.read)),
            ]


def rows() -> list[Row]:
    """Return the measurements."""
    raw = echo_ms()
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(measured(Path(directory)))
    return [
        (f"{what}, p50", ms, "ms", raw, "32 bytes there and back, bare") for what, ms in figures
    ]
