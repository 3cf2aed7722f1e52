import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from broker.messages import ChannelInfo, ChannelLimits, Quantity
from hardware.channels import Channel
from hardware.drivers.board.driver import ControllerBoard, Density
from hardware.drivers.board.link import BoardRefusedError
from hardware.drivers.interface import DriverError
from hardware.drivers.transport import Backoff
from hardware.emulators.board import EmulatedBoard
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.faults import Fault
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.contract import DriverContract, Rig
from tests.unit.hardware.drivers.faults import MeasuringFaults

ENOUGH = 0.2
"""Seconds after which a test of the contract has nothing to wait for: there are no pumps."""
TIMEOUT = 0.6
CHANNELS = {
    "temperature": "temperature",
    "density": "od",
    "signal": "od-signal",
    "reference": "od-reference",
    "heater": "heater",
    "stirring": "stirring",
    "light": "light",
}
MOST = {"heater": 70.0, "stirring": 1000.0, "light": 100.0}


class BoardRig:
    def __init__(self, directory: Path, *, patience: float = 0.3) -> None:
        self.temperature = Constant(36.9)
        self.signal = self.source = Constant(800.0)
        self.reference = Constant(1500.0)
        self.device = EmulatedBoard(
            temperature=self.temperature, signal=self.signal, reference=self.reference
        )
        self.emulator = Emulator(self.device, link=directory / "board")
        self.board = ControllerBoard(
            "board",
            self.emulator.path,
            CHANNELS,
            density=Density(blank=600.0, slope=400.0),
            timeout=TIMEOUT,
            attention=1.0,
            patience=patience,
            backoff=Backoff(0.005, 0.02),
        )

    @property
    def channels(self) -> Mapping[str, Channel]:
        return {
            channel: Channel(
                ChannelInfo(
                    name=channel,
                    kind="actuator" if quantity in MOST else "sensor",
                    quantity=Quantity.OTHER,
                    unit="1",
                    label=channel,
                    driver="board",
                    period=1.0,
                    limits=ChannelLimits(minimum=0.0, maximum=MOST.get(quantity, 3300.0)),
                    safe_value=0.0 if quantity in MOST else None,
                )
            )
            for quantity, channel in CHANNELS.items()
        }

    @property
    def driver(self) -> ControllerBoard:
        return self.board

    async def value(self) -> float | None:
        return (await self.board.read())["od-signal"]

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, ENOUGH))

    def actual(self, channel: str) -> float:
        return self.device.output(channel)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[BoardRig]:
    rig = BoardRig(tmp_path)
    async with rig.emulator:
        yield rig


class TestControllerBoard(DriverContract):
    @pytest.fixture
    def rig(self, rig: BoardRig) -> Rig:
        return rig


class TestControllerBoardFaults(MeasuringFaults):
    READINGS = 1

    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[BoardRig]:
        rig = BoardRig(tmp_path, patience=0.1)
        async with rig.emulator:
            yield rig


@pytest.fixture
async def board(rig: BoardRig) -> AsyncIterator[ControllerBoard]:
    async with rig.board as board:
        yield board


async def test_readings_are_those_of_the_world(rig: BoardRig, board: ControllerBoard) -> None:
    values = await board.read()
    assert values == {
        "temperature": pytest.approx(36.9, abs=0.05),
        "od": pytest.approx(0.5, abs=0.005),
        "od-signal": pytest.approx(800, abs=1),
        "od-reference": pytest.approx(1500, abs=1),
    }
    rig.signal.value = 3300.0
    rig.temperature.value = float("nan")
    await asyncio.sleep(0.15)  # the board measures the temperature ten times a second
    values = await board.read()
    assert values == dict.fromkeys(values)


async def test_outputs_stay_on_while_the_reactor_pays_attention(
    rig: BoardRig, board: ControllerBoard
) -> None:
    await board.write("stirring", 600.0)
    for _ in range(3):
        await asyncio.sleep(TIMEOUT)
        await board.read()
    assert rig.actual("stirring") == pytest.approx(600, abs=0.1)
    # The control loop hangs, though the process lives: the beats end, then the board's timeout.
    await eventually(lambda: rig.actual("stirring") == 0)


async def test_what_the_host_forgot_is_set_again_and_said(
    rig: BoardRig, board: ControllerBoard
) -> None:
    await board.write("stirring", 600.0)
    await eventually(lambda: rig.actual("stirring") == 0)
    with pytest.raises(DriverError, match="set again"):
        await board.read()
    assert rig.actual("stirring") == pytest.approx(600, abs=0.1)
    await board.read()


async def test_a_restart_is_said_and_outputs_are_set_again(
    rig: BoardRig, board: ControllerBoard
) -> None:
    await board.write("stirring", 600.0)
    await board.write("light", 50.0)
    await board.write("light", 0.0)
    rig.emulator.reboot()
    assert rig.actual("stirring") == 0
    with pytest.raises(DriverError, match="restarted"):
        await board.read()
    assert rig.actual("stirring") == pytest.approx(600, abs=0.1)
    assert rig.actual("light") == 0
    rig.emulator.reboot()
    await board.write("light", 40.0)
    assert rig.actual("stirring") == pytest.approx(600, abs=0.1)
    assert rig.actual("light") == pytest.approx(40, abs=0.1)


async def test_the_board_cuts_the_heater_by_itself(
    rig: BoardRig, board: ControllerBoard, caplog: pytest.LogCaptureFixture
) -> None:
    await board.write("heater", 30.0)
    rig.temperature.value = 51.0
    await eventually(lambda: rig.actual("heater") == 0)
    with caplog.at_level(logging.WARNING):
        assert (await board.read())["temperature"] == pytest.approx(51, abs=0.1)
    assert "too hot" in caplog.text
    rig.temperature.value = 40.0
    await asyncio.sleep(0.15)
    # What the rules still want is in force again as soon as the board allows it.
    await board.read()
    assert rig.actual("heater") == pytest.approx(30, abs=0.1)
    rig.temperature.value = 51.0
    await eventually(lambda: rig.actual("heater") == 0)
    with pytest.raises(BoardRefusedError, match="too hot"):
        await board.write("heater", 20.0)
    rig.temperature.value = 40.0
    await asyncio.sleep(0.15)
    # What was refused is not wanted any more until it is said again.
    await board.read()
    assert rig.actual("heater") == 0
    await board.write("heater", 20.0)
    rig.temperature.value = float("nan")
    await eventually(lambda: rig.actual("heater") == 0)
    with pytest.raises(BoardRefusedError, match="thermistor"):
        await board.write("heater", 20.0)


async def test_what_the_board_does_not_allow_is_an_error(
    rig: BoardRig, board: ControllerBoard
) -> None:
    with pytest.raises(DriverError, match="does not allow"):
        await board.write("heater", 71.0)
    assert rig.actual("heater") == 0


@pytest.mark.parametrize(
    "fault", [Fault.GARBAGE, Fault.PARTIAL, Fault.CORRUPT, Fault.SILENCE, Fault.UNSOLICITED]
)
async def test_a_disturbed_reply_costs_nothing(
    rig: BoardRig, board: ControllerBoard, fault: Fault
) -> None:
    rig.emulator.inject(fault, times=1)
    await board.write("stirring", 300.0)
    assert rig.actual("stirring") == pytest.approx(300, abs=0.1)


async def test_what_never_answers_is_an_error_and_comes_back(
    rig: BoardRig, board: ControllerBoard
) -> None:
    await board.write("heater", 20.0)
    rig.emulator.inject(Fault.SILENCE)
    for call in (board.read(), board.write("light", 5.0)):
        with pytest.raises(DriverError, match="did not answer"):
            await call
    rig.emulator.clear()
    await board.write("heater", 0.0)
    assert rig.actual("heater") == 0
    with contextlib.suppress(DriverError):  # it may have lost us meanwhile: then that is said once
        await board.read()
    assert (await board.read())["temperature"] == pytest.approx(36.9, abs=0.05)


async def test_unplugged_it_switches_off_and_is_found_again(
    rig: BoardRig, board: ControllerBoard
) -> None:
    await board.write("heater", 20.0)
    rig.emulator.inject(Fault.UNPLUG)
    await eventually(lambda: not board._port.connected)
    with pytest.raises(DriverError):
        await board.read()
    await eventually(lambda: rig.actual("heater") == 0, within=TIMEOUT + 1)
    rig.emulator.clear()
    await eventually(lambda: board._port.connected)
    with pytest.raises(DriverError, match="set again"):
        await board.read()
    assert rig.actual("heater") == pytest.approx(20, abs=0.1)


async def test_another_process_makes_it_safe(rig: BoardRig) -> None:
    rescue = rig.board.rescue.load()
    async with rig.board as board:
        await board.write("light", 50.0)
        with pytest.raises(DriverError, match="in use"):
            await asyncio.to_thread(rescue)
        assert rig.actual("light") > 0
        # As after kill -9: the port is free, the outputs are still on.
        await board._port.__aexit__(None, None, None)
        await asyncio.to_thread(rescue)
        assert rig.actual("light") == 0
    rig.emulator.inject(Fault.SILENCE)
    with pytest.raises(DriverError, match="not known to be off"):
        await asyncio.to_thread(rescue)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no pump"):
        ControllerBoard("b", tmp_path, {"pump": "media"})
    with pytest.raises(ValueError, match="blank and a slope"):
        ControllerBoard("b", tmp_path, {"density": "od"})
    with pytest.raises(ValueError, match="slope"):
        Density(1.0, 0.0)
