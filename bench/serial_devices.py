"""Drivers on emulated devices: what a request and its reply take beyond the pseudo terminal.

And how soon the others stand when one is lost, for each kind of device: its cable is pulled, or it
falls silent at any moment between two answers, its cable in. Sensors have the policy "stop".
"""

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from hardware.clock import RealClock
from hardware.drivers.board.driver import ControllerBoard
from hardware.drivers.senseair.protocol import S8
from hardware.drivers.senseair.sensor import SenseairCo2
from hardware.drivers.tic.pump import TicPump
from hardware.emulators.board import EmulatedBoard
from hardware.emulators.emulator import Constant, EmulatedDevice, Emulator
from hardware.emulators.ezo_probes import EzoCo2, EzoDo, EzoEc, EzoOrp, EzoPh, EzoRtd
from hardware.emulators.ezo_pump import EzoPump
from hardware.emulators.faults import Fault
from hardware.emulators.pty import PtyPort
from hardware.emulators.senseair import EmulatedSenseair
from hardware.emulators.tic import EmulatedTic, TicSettings
from hardware.reactors import configured_reactor

Row = tuple[str, float, str, float, str]

TIMES = 200
LOSSES = 8
SPREAD = 1.3
"""Seconds over which losses are spread: longer than any device takes from answer to answer."""
_STOP = 'on_fault = "stop"\n'
_SENSOR = _STOP + '[channels.measured]\ndevice = "victim"\n'
_PUMP = (
    '[channels.other]\ndevice = "victim"\ndirection = "out"\n'
    "max_dose_ml = 5.0\nmax_hourly_ml = 60.0\nmax_total_ml = 1000.0\n"
)
VICTIMS: Mapping[str, tuple[Callable[[], EmulatedDevice], str]] = {
    "board": (EmulatedBoard, ""),
    "tic": (
        lambda: EmulatedTic(_tic_settings()),
        f"ml_per_microstep = 0.0005\n{_PUMP}flow = 0.5\n",
    ),
    "ezo-pmp": (EzoPump, f"{_PUMP}flow = 1.0\n"),
    "senseair": (EmulatedSenseair, f'variant = "s8"\n{_SENSOR}'),
    "ezo-rtd": (lambda: EzoRtd(Constant(25.0)), _SENSOR),
    "ezo-do": (lambda: EzoDo(Constant(8.0)), f'{_SENSOR}what = "percent"\n'),
    "ezo-ec": (lambda: EzoEc(Constant(1413.0)), f'{_SENSOR}what = "ec"\n'),
    "ezo-ph": (lambda: EzoPh(Constant(7.0)), _SENSOR),
    "ezo-orp": (lambda: EzoOrp(Constant(200.0)), _SENSOR),
    "ezo-co2": (lambda: EzoCo2(Constant(400.0)), _SENSOR),
}
"""By kind: the emulated device, and what `reactor.toml` must say."""
_REACTOR = """
[devices.board]
driver = "board"
port = "PORTS/board"

[devices.media]
driver = "tic"
port = "PORTS/media"
ml_per_microstep = 0.0005

[channels.temperature]
device = "board"
what = "temperature"

[channels.heater]
device = "board"
what = "heater"

[channels.media]
device = "media"
direction = "in"
flow = 0.5
max_dose_ml = 5.0
max_hourly_ml = 60.0
max_total_ml = 1000.0

[vessel]
filled = 15.0
low = 5.0
high = 25.0
straw = 14.0

[controllers.temperature-setpoint]
kind = "thermostat"
sensor = "temperature"
output = "heater"
trip = 45.0
reset = 43.0
"""


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


class Laboratory:
    """A reactor with a heater, a pump and one device more, each emulated: the victim.

    Args:
        directory: Where its ports and files are.
        kind: The kind of the victim.
        device: The victim.
        more: What else `reactor.toml` must say of it.
    """

    def __init__(self, directory: Path, kind: str, device: EmulatedDevice, more: str) -> None:
        directory.mkdir()
        self._directory = directory
        self.board = EmulatedBoard()
        self.pump = EmulatedTic(_tic_settings())
        devices = {"board": self.board, "media": self.pump, "victim": device}
        self._emulators = {n: Emulator(d, link=directory / n) for n, d in devices.items()}
        # The board may be the victim itself: then it is one of the two that everybody has.
        self.victim = self._emulators["board" if kind == "board" else "victim"]
        self._file = directory / "reactor.toml"
        table = f'[devices.victim]\ndriver = "{kind}"\nport = "PORTS/victim"\n{more}'
        text = _REACTOR + ("" if kind == "board" else table)
        self._file.write_text(text.replace("PORTS", str(directory)), "utf-8")

    async def stopping_seconds(self, fault: Fault, later: float) -> float:
        """Return after how long the others stand when the victim has a fault, s.

        Args:
            fault: Which.
            later: Seconds to wait before, so that it strikes anywhere between two answers.
        """
        async with AsyncExitStack() as stack:
            for emulator in self._emulators.values():
                await stack.enter_async_context(emulator)
            reactor, _ = configured_reactor(RealClock(), self._file, directory=self._directory)
            async with reactor:
                await reactor.set("temperature-setpoint", 37.0)
                await _until(lambda: self.board.output("heater") > 0)
                dose = asyncio.ensure_future(reactor.dose("media", 5.0))
                await _until(self.pump.energized)
                await asyncio.sleep(later)
                self.victim.inject(fault)
                begun = time.perf_counter()
                await _until(self._stands)
                took = time.perf_counter() - begun
                self.victim.clear()
                dose.cancel()
                await asyncio.wait([dose])
                await _until(lambda: reactor.unfit is None)
                return took

    def _stands(self) -> bool:
        heats = self.board.output("heater") > 0 and self.victim is not self._emulators["board"]
        return not heats and not self.pump.energized()


async def _until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(30.0):
        while not seen():  # noqa: ASYNC110 - emulated devices tell nobody
            await asyncio.sleep(0.002)


def _tic_settings() -> TicSettings:
    return TicSettings(
        max_speed=20_000_000,
        max_acceleration=1_000_000,
        crc_for_commands=True,
        crc_for_responses=True,
    )


async def worst(directory: Path, kind: str, fault: Fault) -> float:
    """Return the longest that the others went on, of tries spread over all there is to strike."""
    make, more = VICTIMS[kind]
    took = []
    for number in range(LOSSES):
        laboratory = Laboratory(directory / f"{kind}-{fault}-{number}", kind, make(), more)
        took.append(await laboratory.stopping_seconds(fault, SPREAD * number / LOSSES))
    return max(took)


async def losses(directory: Path) -> list[tuple[str, float]]:
    """Return what was lost, and how long the others went on, s; reactors side by side."""
    faults = [("tic", Fault.UNPLUG), *((kind, Fault.SILENCE) for kind in VICTIMS)]
    took = await asyncio.gather(*(worst(directory, kind, fault) for kind, fault in faults))
    names = ("cable pulled" if fault is Fault.UNPLUG else "silent" for _, fault in faults)
    return [
        (f"{kind} {name}", seconds)
        for (kind, _), name, seconds in zip(faults, names, took, strict=True)
    ]


def rows() -> list[Row]:
    """Return the measurements."""
    raw = echo_ms()
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(measured(Path(directory)))
        lost = asyncio.run(losses(Path(directory)))
    bare = "32 bytes there and back, bare"
    table: list[Row] = [(f"{what}, p50", ms, "ms", raw, bare) for what, ms in figures]
    stand = f"heater and other pump stand, worst of {LOSSES}"
    table += [(f"{what}: {stand}", seconds, "s", 1.0, "the budget") for what, seconds in lost]
    return table
