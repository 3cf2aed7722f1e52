import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from broker.messages import ChannelInfo, Quantity
from hardware.channels import Channel
from hardware.clock import RealClock
from hardware.drivers.interface import DriverError, NotDosedError
from hardware.drivers.tic.link import TicLink
from hardware.drivers.tic.protocol import Command, quick
from hardware.drivers.tic.pump import TicPump
from hardware.drivers.transport import Backoff, SerialPort
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.faults import Fault
from hardware.emulators.tic import EmulatedTic, TicSettings
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.contract import DriverContract, Rig

SPEED = 8.0
ENOUGH = 2.6
"""Seconds after which nothing happens any more that a test waits for."""
ML_PER_STEP = 0.0005
FLOW = 0.5


def sound_settings() -> TicSettings:
    return TicSettings(
        timeout_ms=2000,
        max_speed=20_000_000,
        max_acceleration=4_000_000,
        crc_for_commands=True,
        crc_for_responses=True,
    )


class TicRig:
    def __init__(self, directory: Path) -> None:
        self.clock = RealClock(SPEED)
        self.vin = Constant(12.0)
        self.settings = sound_settings()
        self.tic = EmulatedTic(self.settings, vin=self.vin)
        self.emulator = Emulator(self.tic, link=directory / "tic", speed=SPEED)
        self.pump = TicPump(
            "media-tic",
            self.emulator.path,
            channel="media",
            ml_per_microstep=ML_PER_STEP,
            flow=FLOW,
            clock=self.clock,
            backwards=True,
            backoff=Backoff(0.005, 0.02),
        )

    @property
    def driver(self) -> TicPump:
        return self.pump

    @property
    def channels(self) -> Mapping[str, Channel]:
        info = ChannelInfo(
            name="media",
            kind="pump",
            quantity=Quantity.VOLUME,
            unit="mL",
            label="Medium",
            driver="media-tic",
            period=1.0,
            safe_value=0.0,
        )
        return {"media": Channel(info, flow=FLOW, direction="in")}

    async def advance(self, seconds: float) -> None:
        await self.clock.sleep(min(seconds, ENOUGH))

    def actual(self, channel: str) -> float:
        assert channel == "media"
        return -self.tic.steps() * ML_PER_STEP


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[TicRig]:
    rig = TicRig(tmp_path)
    async with rig.emulator:
        await rig.advance(0.1)
        yield rig


class TestTicPump(DriverContract):
    @pytest.fixture
    def rig(self, rig: TicRig) -> Rig:
        return rig


@pytest.fixture
async def pump(rig: TicRig) -> AsyncIterator[TicPump]:
    async with rig.pump as pump:
        yield pump


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"timeout_ms": 0}, "timeout is disabled"),
        ({"timeout_ms": 2001}, "above 2000 ms"),
        ({"safe_start": False}, "safe start is disabled"),
        ({"control_mode": 2}, "control mode is not serial"),
        ({"crc_for_commands": False}, "does not|CRC for commands is disabled"),
        ({"crc_for_responses": False}, "bytes|damaged|did not answer"),
    ],
)
async def test_a_tic_that_is_not_set_up_to_be_safe_is_refused(
    rig: TicRig, change: dict[str, int], complaint: str
) -> None:
    for name, value in change.items():
        setattr(rig.settings, name, value)
    with pytest.raises(DriverError, match=complaint):
        async with rig.pump:
            pass
    async with rig.pump._port:  # it was closed
        pass


async def test_it_dies_away_with_the_process_that_feeds_it(rig: TicRig, pump: TicPump) -> None:
    """The loop that waits for the piece hangs: the Tic stops long before its target."""
    rig.settings.timeout_ms = 200
    dose = asyncio.ensure_future(pump.dose("media", FLOW * 2))
    await rig.advance(0.3)
    async with pump._port.exchange(60.0):  # nothing can be sent meanwhile
        await rig.advance(1.0)
        stopped = rig.actual("media")
        await rig.advance(1.0)
        assert rig.actual("media") == stopped < FLOW
    with pytest.raises(DriverError, match="no command came in time"):
        await dose


async def test_coils_are_off_when_nothing_is_dosed(rig: TicRig, pump: TicPump) -> None:
    assert not rig.tic.energized()
    await pump.dose("media", 0.1)
    assert rig.tic.energized()
    await pump.read()
    assert rig.tic.energized()
    await rig.clock.sleep(5.5)
    await pump.read()
    assert not rig.tic.energized()
    assert await pump.dose("media", 0.1) == pytest.approx(0.1)


async def test_looking_at_it_does_not_disturb_a_dose(rig: TicRig, pump: TicPump) -> None:
    await pump.dose("media", 0.1)
    await rig.clock.sleep(6.0)
    dose, *_ = await asyncio.gather(pump.dose("media", 0.5), pump.read(), pump.read())
    assert dose == pytest.approx(0.5)


async def test_what_is_wrong_is_said_in_a_sentence(rig: TicRig, pump: TicPump) -> None:
    rig.vin.value = 4.0
    with pytest.raises(DriverError, match="supply is too low"):
        await pump.read()
    with pytest.raises(NotDosedError, match="supply is too low"):
        await pump.dose("media", 0.1)
    rig.vin.value = 12.0
    await pump.read()
    assert await pump.dose("media", 0.1) == pytest.approx(0.1)


async def test_a_supply_that_fails_on_the_way_ends_the_dose(rig: TicRig, pump: TicPump) -> None:
    dose = asyncio.ensure_future(pump.dose("media", FLOW * 2))
    await rig.advance(0.5)
    rig.vin.value = 4.0
    with pytest.raises(DriverError, match="supply is too low"):
        await dose
    rig.vin.value = 12.0
    moved = rig.actual("media")
    await rig.advance(1.0)
    assert rig.actual("media") == moved


async def test_a_motor_that_does_not_turn_is_noticed(rig: TicRig, pump: TicPump) -> None:
    rig.emulator.inject(Fault.STUCK)
    with pytest.raises(DriverError, match=r"does not turn|jumped"):
        await pump.dose("media", 0.1)


async def test_a_restart_on_the_way_is_no_delivery(rig: TicRig, pump: TicPump) -> None:
    await pump.dose("media", 0.2)
    dose = asyncio.ensure_future(pump.dose("media", FLOW * 2))
    await rig.advance(0.5)
    rig.emulator.reboot()
    with pytest.raises(DriverError, match=r"safe start|jumped"):
        await dose


@pytest.mark.parametrize("fault", [Fault.GARBAGE, Fault.PARTIAL, Fault.CORRUPT, Fault.SILENCE])
async def test_a_disturbed_answer_costs_nothing(rig: TicRig, pump: TicPump, fault: Fault) -> None:
    rig.emulator.inject(fault, times=1)
    await pump.read()
    rig.emulator.inject(fault, times=1)
    assert await pump.dose("media", 0.2) == pytest.approx(0.2)
    assert rig.actual("media") == pytest.approx(0.2)


async def test_what_never_answers_is_an_error_and_comes_back(rig: TicRig, pump: TicPump) -> None:
    rig.emulator.inject(Fault.SILENCE)
    for call in (pump.read(), pump.stop("media"), pump.dose("media", 0.1)):
        with pytest.raises(DriverError, match="did not answer"):
            await call
    rig.emulator.clear()
    await pump.read()
    assert await pump.dose("media", 0.1) == pytest.approx(0.1)


async def test_a_late_answer_is_not_taken_for_the_next(rig: TicRig, pump: TicPump) -> None:
    await pump.dose("media", 0.1)
    rig.emulator.inject(Fault.SLOW, times=1)
    assert await pump.dose("media", 0.2) == pytest.approx(0.2)
    assert rig.actual("media") == pytest.approx(0.3)


async def test_it_is_found_again_after_it_was_unplugged(rig: TicRig, pump: TicPump) -> None:
    rig.emulator.inject(Fault.UNPLUG)
    await eventually(lambda: not pump._port.connected)
    with pytest.raises(DriverError):
        await pump.read()
    rig.settings.timeout_ms = 0
    rig.emulator.clear()
    await eventually(lambda: pump._port.connected)
    # Another Tic may have been plugged in: it is looked at before it moves.
    with pytest.raises(NotDosedError, match="timeout is disabled"):
        await pump.dose("media", 0.1)
    rig.settings.timeout_ms = 1000
    assert await pump.dose("media", 0.1) == pytest.approx(0.1)


async def test_a_stop_while_a_dose_gets_ready_is_not_forgotten(rig: TicRig, pump: TicPump) -> None:
    rig.emulator.inject(Fault.UNPLUG)
    await eventually(lambda: not pump._port.connected)
    rig.emulator.clear()
    await eventually(lambda: pump._port.connected)  # plugged in anew: a dose looks at it first
    async with pump._port.exchange(60.0):
        dose = asyncio.ensure_future(pump.dose("media", FLOW))
        await asyncio.sleep(0)
        stop = asyncio.ensure_future(pump.stop("media"))
        await asyncio.sleep(0)
    await stop
    assert await dose == 0.0
    assert rig.actual("media") == 0.0


async def test_another_process_makes_it_safe(rig: TicRig) -> None:
    rescue = rig.pump.rescue.load()
    async with rig.pump as pump:
        dose = asyncio.ensure_future(pump.dose("media", FLOW * 2))
        await rig.advance(0.3)
        dose.cancel()
        await asyncio.wait([dose])
        assert rig.tic.energized()
        with pytest.raises(DriverError, match="in use"):
            await asyncio.to_thread(rescue)
    rig.tic.receive(b"\x85\x2f")
    await asyncio.to_thread(rescue)
    assert not rig.tic.energized()
    rig.emulator.inject(Fault.SILENCE)
    with pytest.raises(DriverError, match="not known to stand still"):
        await asyncio.to_thread(rescue)


def test_a_flow_that_no_tic_can_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="beyond the Tic"):
        TicPump(
            "p",
            tmp_path / "no",
            channel="media",
            ml_per_microstep=1e-9,
            flow=1.0,
            clock=RealClock(),
        )


@pytest.mark.parametrize("fault", sorted(set(Fault) - {Fault.UNSOLICITED, Fault.STUCK}))
async def test_a_dose_is_told_as_it_was_or_not_at_all(
    rig: TicRig, pump: TicPump, fault: Fault
) -> None:
    before = rig.actual("media")
    rig.emulator.faults.slow_seconds = 0.4 * SPEED
    rig.emulator.inject(fault)
    try:
        told = await pump.dose("media", 0.3)
    except DriverError:
        told = None
    rig.emulator.clear()
    await rig.advance(1.5)
    moved = rig.actual("media") - before
    if fault is not Fault.REBOOT:  # then its position counts from 0 again
        assert moved <= 0.3 + 1e-6
        if told is not None:
            assert told == pytest.approx(moved, abs=1e-3)

    async def well() -> bool:
        try:
            return await pump.dose("media", 0.1) == pytest.approx(0.1)
        except DriverError:
            return False

    await eventually(well)


async def test_what_is_not_answered_does_not_wait_for_an_answer(tmp_path: Path) -> None:
    """A busy computer may take longer to send a command than the Tic takes to answer one."""
    async with (
        Emulator(EmulatedTic(sound_settings()), link=tmp_path / "tic") as emulator,
        SerialPort(emulator.path) as port,
    ):
        await TicLink(port, crc=True, patience=1e-6).tell(quick(Command.RESET_COMMAND_TIMEOUT))
        assert port.counters.timeouts == 0
