"""The emulated Tic against `ticlib`, an independent library for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import serial
from ticlib import TicSerial

from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.tic import EmulatedTic, TicSettings

T = TypeVar("T")


class Rig:
    def __init__(self, path: Path, settings: TicSettings) -> None:
        self.vin = Constant(12.0)
        self.killed = Constant(0.0)
        self.tic = EmulatedTic(settings, vin=self.vin, kill_switch=lambda: self.killed() > 0)
        self.emulator = Emulator(self.tic, link=path, speed=20.0)
        self.settings = settings

    async def using(self, use: Callable[[TicSerial], T], *, pololu: bool = False) -> T:
        """Let the library, which blocks, speak in a thread; all of it is heard on return."""

        def act() -> T:
            with serial.Serial(str(self.emulator.path), 9600, timeout=1.0) as port:
                tic = TicSerial(
                    port,
                    0x0E if pololu else None,
                    crc_for_commands=self.settings.crc_for_commands,
                    crc_for_responses=self.settings.crc_for_responses,
                )
                result = use(tic)
                tic.settings.get_control_mode()
                return result

        return await asyncio.to_thread(act)

    async def state(self) -> tuple[int, int]:
        def look(tic: TicSerial) -> tuple[int, int]:
            errors = int.from_bytes(tic.get_error_status(), "little")
            return int(tic.get_operation_state()), errors

        return await self.using(look)

    async def pass_(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.emulator.speed)


@pytest.fixture(params=[False, True], ids=["plain", "crc"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    sealed = bool(request.param)
    settings = TicSettings(timeout_ms=60_000, crc_for_commands=sealed, crc_for_responses=sealed)
    rig = Rig(tmp_path / "tic", settings)
    async with rig.emulator:
        await rig.pass_(0.1)
        yield rig


def start(velocity: int) -> Callable[[TicSerial], None]:
    def act(tic: TicSerial) -> None:
        tic.energize()
        tic.exit_safe_start()
        tic.set_target_velocity(velocity)

    return act


async def test_the_library_reads_settings_and_variables(rig: Rig) -> None:
    for pololu in (False, True):
        settings = await rig.using(lambda tic: tic.settings.get_all(), pololu=pololu)
        assert settings["serial_command_timeout"] == 60_000
        assert settings["control_mode"] == 0
        assert settings["serial_device_number"] == 0x0E
        assert settings["serial_crc_for_commands"] == rig.settings.crc_for_commands
        assert settings["max_speed"] == 2_000_000
        variables = await rig.using(lambda tic: tic.get_variables(), pololu=pololu)
        assert variables["vin_voltage"] == 12_000
        assert variables["current_position"] == 0
    assert await rig.state() == (2, 0x80)


async def test_nothing_moves_before_a_deliberate_start(rig: Rig) -> None:
    await rig.using(lambda tic: tic.set_target_velocity(2_000_000))
    await rig.pass_(0.5)
    assert rig.tic.steps() == 0
    assert not rig.tic.energized()
    await rig.using(start(2_000_000))
    await rig.pass_(0.5)
    assert rig.tic.steps() > 5
    assert rig.tic.energized()


async def test_it_stops_by_itself_and_stays_stopped(rig: Rig) -> None:
    rig.settings.timeout_ms = 1000
    await rig.using(start(-2_000_000))
    await rig.pass_(3.0)
    stopped = rig.tic.steps()
    # It ran for a second, braked in half of one, and holds.
    assert -300 < stopped < -100
    assert rig.tic.energized()
    assert await rig.state() == (4, 0xC0)
    rig.settings.timeout_ms = 60_000  # a second is soon over where the computer is busy
    await rig.using(lambda tic: tic.set_target_velocity(2_000_000))
    await rig.pass_(0.5)
    assert rig.tic.steps() == stopped
    assert await rig.state() == (4, 0x80)
    await rig.using(start(2_000_000))
    await rig.pass_(0.5)
    assert rig.tic.steps() > stopped


@pytest.mark.parametrize(("feeds", "goes_on"), [(True, True), (False, False)])
async def test_reading_does_not_feed_the_timeout(rig: Rig, feeds: bool, goes_on: bool) -> None:
    rig.settings.timeout_ms = 3000
    await rig.using(start(2_000_000))
    for _ in range(14):
        await rig.using(lambda tic: tic.reset_command_timeout() if feeds else tic.get_uptime())
        await rig.pass_(0.3)
    state, _ = await rig.state()
    assert (state == 10) == goes_on


async def test_it_goes_exactly_to_a_position(rig: Rig) -> None:
    def go(tic: TicSerial) -> None:
        tic.energize()
        tic.exit_safe_start()
        tic.set_target_position(50)

    await rig.using(go)
    await rig.pass_(0.9)
    assert rig.tic.steps() == 50
    assert await rig.using(lambda tic: tic.get_current_position()) == 50
    assert await rig.using(lambda tic: tic.get_current_velocity()) == 0


async def test_errors_cut_the_current_or_hold(rig: Rig) -> None:
    await rig.using(start(2_000_000))
    await rig.pass_(0.3)
    rig.vin.value = 5.0
    assert await rig.state() == (2, 0x84)
    assert not rig.tic.energized()
    rig.vin.value = 12.0
    assert await rig.state() == (2, 0x80)
    rig.killed.value = 1.0
    await rig.using(start(2_000_000))
    assert (await rig.state())[1] & 0x88 == 0x08
    await rig.pass_(0.4)
    assert (await rig.state())[1] & 0x88 == 0x88
    assert rig.tic.steps() < 50
    rig.killed.value = 0.0
    await rig.using(lambda tic: tic.deenergize())
    assert (await rig.state())[1] & 0x81 == 0x81
    await rig.using(lambda tic: tic.halt_and_set_position(123))
    assert rig.tic.steps() == 123
    rig.tic.receive(b"\xb0\x53" if rig.settings.crc_for_commands else b"\xb0")
    await rig.pass_(0.1)
    assert await rig.state() == (2, 0x80)


async def test_damaged_and_malformed_commands_are_counted(rig: Rig) -> None:
    def garbage(tic: TicSerial) -> int:
        tic.port.write(b"\x10\x85\x01\xff\xe3\x00\x83\x00")
        return int.from_bytes(tic.get_error_occured(), "little")

    occurred = await rig.using(garbage)
    assert occurred & 1 << 18
    assert bool(occurred & 1 << 19) == rig.settings.crc_for_commands
    if rig.settings.crc_for_commands:
        assert await rig.state() == (2, 0x80)
