"""Drivers on emulated devices: what a request and its reply take beyond the pseudo terminal.

And how soon the others stand when one is lost.
"""

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
from hardware.emulators.bench import Bench
from hardware.emulators.board import EmulatedBoard
from hardware.emulators.emulator import EmulatedDevice, Emulator
from hardware.emulators.faults import Fault
from hardware.emulators.pty import PtyPort
from hardware.emulators.senseair import EmulatedSenseair
from hardware.emulators.tic import EmulatedTic, TicSettings
from hardware.reactors import configured_reactor

Row = tuple[str, float, str, float, str]

TIMES = 200
LOSSES = 5


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


async def stopping_seconds(directory: Path, lost: str, fault: Fault) -> float:
    """Return after how long heater and pump stand when another device is lost, s."""
    async with Bench(directory) as bench:
        reactor, _ = configured_reactor(RealClock(), bench.file, directory=directory)
        board, pump = bench.board, bench.pumps["media"]
        async with reactor:
            await reactor.set("temperature-setpoint", 37.0)
            await _until(lambda: board.output("heater") > 0)
            dose = asyncio.ensure_future(reactor.dose("media", 2.5))
            await _until(pump.energized)
            bench.emulators[lost].inject(fault)
            begun = time.perf_counter()
            await _until(lambda: board.output("heater") == 0 and not pump.energized())
            took = time.perf_counter() - begun
            await dose
            bench.emulators[lost].clear()
            await _until(lambda: reactor.unfit is None)
            return took


async def _until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(30.0):
        while not seen():  # noqa: ASYNC110 - emulated devices tell nobody
            await asyncio.sleep(0.002)


def rows() -> list[Row]:
    """Return the measurements."""
    raw = echo_ms()
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(measured(Path(directory)))
    bare = "32 bytes there and back, bare"
    table: list[Row] = [(f"{what}, p50", ms, "ms", raw, bare) for what, ms in figures]
    for what, lost, fault in (
        ("a pump's cable is pulled: heater and other pump stand", "acid", Fault.UNPLUG),
        ("a pump is silent: heater and other pump stand", "acid", Fault.SILENCE),
    ):
        worst = 0.0
        for _ in range(LOSSES):
            with tempfile.TemporaryDirectory() as directory:
                worst = max(worst, asyncio.run(stopping_seconds(Path(directory), lost, fault)))
        table.append((f"{what}, worst of {LOSSES}", worst, "s", 1.0, "the budget"))
    return table
