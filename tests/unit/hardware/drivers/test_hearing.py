"""Whether a device answers: heard by every driver on its emulated device, at its true pace."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from hardware.clock import RealClock
from hardware.drivers.board.driver import ControllerBoard
from hardware.drivers.ezo.link import Pace
from hardware.drivers.ezo.probes import EzoCo2, EzoDo, EzoEc, EzoOrp, EzoPh, EzoRtd
from hardware.drivers.ezo.pump import EzoPump
from hardware.drivers.ezo.sensor import EzoSensor
from hardware.drivers.hearing import Hearing
from hardware.drivers.interface import Driver, DriverError
from hardware.drivers.senseair.protocol import S8
from hardware.drivers.senseair.sensor import SenseairCo2
from hardware.drivers.tic.pump import TicPump
from hardware.drivers.transport import PortTimeoutError, SerialPort
from hardware.emulators import ezo_probes as emulated
from hardware.emulators.board import EmulatedBoard
from hardware.emulators.emulator import Constant, EmulatedDevice, Emulator, Source
from hardware.emulators.ezo_pump import EzoPump as EmulatedPump
from hardware.emulators.faults import Fault
from hardware.emulators.senseair import EmulatedSenseair
from hardware.emulators.tic import EmulatedTic
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.test_tic_pump import ML_PER_STEP, sound_settings
from tests.unit.hardware.emulators.echo import Echo


class HearingDriver(Driver, Protocol):
    @property
    def hearing(self) -> Hearing: ...


@dataclass(frozen=True)
class Kind:
    """A driver and its emulated device.

    Attributes:
        slow: Seconds within which the device may answer a question that measures nothing, as its
            maker says; an emulated EZO circuit takes its time by itself.
    """

    make: Callable[[Path], HearingDriver]
    device: Callable[[], EmulatedDevice]
    speed: float = 1.0
    slow: float | None = None


def tic(path: Path) -> TicPump:
    clock = RealClock()
    return TicPump("d", path, channel="p", ml_per_microstep=ML_PER_STEP, flow=0.5, clock=clock)


def gas(path: Path) -> SenseairCo2:
    return SenseairCo2("d", path, channel="co2", variant=S8, clock=RealClock())


SPEED = 8.0
"""Of the EZO circuits, which take their time."""
PACE = Pace(speed=SPEED)
ANY = Constant(7.0)


def probe(driver: type[EzoSensor], output: str, device: Callable[[Source], EmulatedDevice]) -> Kind:
    return Kind(
        lambda path: driver("d", path, {output: "x"}, pace=PACE), lambda: device(ANY), SPEED
    )


KINDS = {
    "board": Kind(
        lambda path: ControllerBoard("d", path, {"heater": "heater", "signal": "signal"}),
        EmulatedBoard,
        slow=0.02,
    ),
    "tic": Kind(tic, lambda: EmulatedTic(sound_settings()), slow=0.05),
    "ezo-pmp": Kind(lambda path: EzoPump("d", path, "p", pace=PACE), EmulatedPump, SPEED),
    "senseair": Kind(gas, EmulatedSenseair, slow=0.18),
    "ezo-ph": probe(EzoPh, "pH", emulated.EzoPh),
    "ezo-do": probe(EzoDo, "mg", emulated.EzoDo),
    "ezo-rtd": probe(EzoRtd, "T", emulated.EzoRtd),
    "ezo-orp": probe(EzoOrp, "ORP", emulated.EzoOrp),
    "ezo-ec": probe(EzoEc, "EC", emulated.EzoEc),
    "ezo-co2": probe(EzoCo2, "CO2", emulated.EzoCo2),
}


@dataclass
class Rig:
    driver: HearingDriver
    emulator: Emulator
    slow: float | None
    told: list[bool] = field(default_factory=list)

    async def listen(self) -> None:
        hearing = self.driver.hearing
        while True:
            await hearing.turned(silent=not hearing.silent)
            self.told.append(hearing.silent)


@pytest.fixture(params=KINDS)
async def rig(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    kind = KINDS[request.param]
    async with Emulator(kind.device(), link=tmp_path / "usb", speed=kind.speed) as emulator:
        await asyncio.sleep(0.05)
        async with kind.make(tmp_path / "usb") as driver:
            rig = Rig(driver, emulator, kind.slow)
            listening = asyncio.create_task(rig.listen())
            yield rig
            emulator.clear()
            listening.cancel()


async def read_quietly(driver: Driver) -> bool:
    try:
        await driver.read()
    except DriverError:
        return False
    return True


async def test_a_silent_device_is_told_before_its_reading_has_failed(rig: Rig) -> None:
    await rig.driver.read()
    rig.emulator.inject(Fault.SILENCE)
    reading = asyncio.ensure_future(read_quietly(rig.driver))
    await eventually(lambda: rig.driver.hearing.silent)
    assert not reading.done()
    assert not await reading
    rig.emulator.clear()
    await eventually(lambda: read_quietly(rig.driver))
    await eventually(lambda: rig.told == [True, False])


async def test_one_lost_answer_does_not_fail_a_reading(rig: Rig) -> None:
    rig.emulator.inject(Fault.SILENCE, times=1)
    await rig.driver.read()
    assert not rig.driver.hearing.silent
    assert rig.told in ([], [True, False])


async def test_who_answers_in_his_own_time_is_never_silent(rig: Rig) -> None:
    if rig.slow is not None:
        rig.emulator.faults.slow_seconds = rig.slow
        rig.emulator.inject(Fault.SLOW)
    for _ in range(3):
        await rig.driver.read()
    await asyncio.sleep(rig.driver.hearing.within)  # nothing is left that is waited for
    assert rig.told == []


async def test_a_pump_that_falls_silent_while_it_doses_is_told(tmp_path: Path) -> None:
    async with (
        Emulator(EmulatedPump(), link=tmp_path / "usb", speed=2.0) as emulator,
        EzoPump("d", tmp_path / "usb", "p", pace=Pace(speed=2.0)) as pump,
    ):
        dose = asyncio.ensure_future(pump.dose("p", 2.5))
        await pump.read()
        assert not dose.done()
        emulator.inject(Fault.SILENCE)
        asking = asyncio.ensure_future(read_quietly(pump))
        await eventually(lambda: pump.hearing.silent)
        assert not dose.done()
        assert not await asking
        emulator.clear()
        assert await dose == pytest.approx(2.5)
        assert not pump.hearing.silent


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[SerialPort]:
    async with (
        Emulator(Echo(), link=tmp_path / "usb-echo") as emulator,
        SerialPort(emulator.path, hearing=Hearing(within=0.05)) as port,
    ):
        yield port


async def ask(port: SerialPort, text: bytes, seconds: float) -> bytes:
    async with port.exchange(seconds) as line:
        await line.write(text)
        return await line.read_line()


async def test_the_clock_runs_from_the_first_question_without_an_answer(port: SerialPort) -> None:
    for _ in range(3):  # each is given up before an answer would be overdue
        with pytest.raises(PortTimeoutError):
            await ask(port, b"no end of line", 0.03)
    assert port.hearing.silent
    assert await ask(port, b"\r", 5.0)
    assert not port.hearing.silent


async def test_what_cannot_be_understood_is_no_answer(port: SerialPort) -> None:
    async def misunderstand() -> None:
        async with port.exchange(5.0) as line:
            await line.write(b"x\r")
            raise ValueError(f"nonsense: {await line.read_line()!r}")

    with pytest.raises(ValueError, match="nonsense"):
        await misunderstand()
    await port.hearing.turned(silent=True)


async def test_who_is_cancelled_waits_for_no_answer(port: SerialPort) -> None:
    asking = asyncio.create_task(ask(port, b"no end of line", 5.0))
    await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait([asking])
    await asyncio.sleep(0.1)
    assert not port.hearing.silent


async def test_silence_ends_with_an_answer_and_not_with_the_cable(tmp_path: Path) -> None:
    async with (
        Emulator(Echo(), link=tmp_path / "usb-echo") as emulator,
        SerialPort(tmp_path / "usb-echo", hearing=Hearing(within=0.05)) as port,
    ):
        with pytest.raises(PortTimeoutError):
            await ask(port, b"no end of line", 0.2)
        emulator.inject(Fault.UNPLUG)
        await eventually(lambda: not port.connected)
        assert port.hearing.silent
        emulator.clear()
        await eventually(lambda: port.connected)
        assert port.hearing.silent
        assert await ask(port, b"\r", 5.0)
        assert not port.hearing.silent


async def test_a_port_that_nobody_told_how_long_answers_take_is_never_silent() -> None:
    hearing = Hearing()
    assert hearing.asked()
    await asyncio.sleep(0.05)
    assert not hearing.silent
