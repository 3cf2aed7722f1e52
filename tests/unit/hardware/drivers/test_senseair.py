import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import ModbusSerialClient

from broker.messages import ChannelInfo, ChannelLimits, Quantity
from hardware.channels import Channel
from hardware.clock import RealClock
from hardware.drivers.interface import DriverError
from hardware.drivers.senseair.protocol import (
    ACKNOWLEDGEMENT,
    BACKGROUND,
    COMMAND,
    K30,
    K33,
    S8,
    SUNRISE,
    VARIANTS,
    Frames,
    SenseairReplyError,
    Trouble,
    Variant,
    acknowledged,
    measure,
    reading,
    sentences,
    write,
)
from hardware.drivers.senseair.sensor import SenseairCo2
from hardware.drivers.transport import Backoff
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.faults import Fault
from hardware.emulators.senseair import EmulatedSenseair
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.contract import DriverContract, Rig
from tests.unit.hardware.drivers.faults import MeasuringFaults

SPEED = 200.0
FRAMES = Frames()
STATUS_AND_CO2 = bytes.fromhex("FE0408000000000000019016E6")


class Sensor:
    """A sensor's driver on its emulator."""

    def __init__(
        self, directory: Path, variant: Variant, *, speed: float = SPEED, patience: float = 0.4
    ) -> None:
        self.co2 = self.source = Constant(1200.0)
        self.device = EmulatedSenseair(self.co2, factor=variant.factor, period=0.0)
        self.emulator = Emulator(self.device, link=directory / "co2", speed=speed)
        self.driver = SenseairCo2(
            "gas",
            self.emulator.path,
            channel="co2",
            variant=variant,
            clock=RealClock(speed),
            patience=patience,
            backoff=Backoff(0.005, 0.02),
        )

    @property
    def channels(self) -> Mapping[str, Channel]:
        info = ChannelInfo(
            name="co2",
            kind="sensor",
            quantity=Quantity.CO2,
            unit="ppm",
            label="CO2",
            driver="gas",
            period=2.0,
            limits=ChannelLimits(minimum=0.0, maximum=10_000.0),
        )
        return {"co2": Channel(info)}

    async def value(self) -> float | None:
        return (await self.driver.read())["co2"]

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)

    def actual(self, channel: str) -> float:
        raise AssertionError(f"a sensor has no output {channel}")


@pytest.fixture(params=[S8, K33], ids=["s8", "k33"])
async def rig(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Sensor]:
    rig = Sensor(tmp_path, request.param)
    async with rig.emulator:
        await rig.advance(31.0)
        yield rig


class TestSenseair(DriverContract):
    @pytest.fixture
    def rig(self, rig: Sensor) -> Rig:
        return rig


class TestSenseairFaults(MeasuringFaults):
    READINGS = 1

    @pytest.fixture
    async def rig(self, tmp_path: Path) -> AsyncIterator[Sensor]:
        # It warms up in hardly any time: the suite does not wait for that.
        rig = Sensor(tmp_path, S8, speed=5000.0, patience=0.2)
        async with rig.emulator:
            yield rig


@pytest.fixture
async def s8(tmp_path: Path) -> AsyncIterator[Sensor]:
    rig = Sensor(tmp_path, S8)
    async with rig.emulator, rig.driver:
        yield rig


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (measure(S8), "FE0400000004E5C6"),
        (measure(SUNRISE), "FE0400000004E5C6"),
        (measure(K30), "FE440008029F25"),
        (write(ACKNOWLEDGEMENT, 0), "FE06000000009DC5"),
        (write(COMMAND, BACKGROUND), "FE0600017C066CC7"),
        (acknowledged(), "FE03000000019005"),
    ],
)
def test_requests_are_those_of_the_table(request_: object, expected: str) -> None:
    assert FRAMES.request(request_) == bytes.fromhex(expected)  # type: ignore[arg-type]


def test_answers_are_understood() -> None:
    registers = FRAMES.answer(measure(S8), STATUS_AND_CO2)
    assert registers == (0, 0, 0, 400)
    assert reading(S8, registers).ppm == 400
    ram = FRAMES.answer(measure(K33), bytes.fromhex("FE44020190B918"))
    assert ram == (400,)
    assert reading(K33, ram).ppm == 4000
    assert reading(S8, (0, 0, 0, 0)).ppm is None
    assert reading(S8, (0x60, 0, 0, 7)).trouble == Trouble.OUT_OF_RANGE | Trouble.MEMORY
    with pytest.raises(SenseairReplyError, match="exception 2"):
        FRAMES.answer(measure(S8), bytes.fromhex("FE8402F2F1"))
    with pytest.raises(SenseairReplyError, match="damaged"):
        # A reply that circulates on the web with its request's check sum.
        FRAMES.answer(measure(S8), bytes.fromhex("FE04020388D5C5"))
    with pytest.raises(SenseairReplyError, match="something else"):
        FRAMES.answer(measure(S8), bytes.fromhex("FE04020388ADB2"))
    with pytest.raises(SenseairReplyError, match="something else"):
        FRAMES.answer(write(COMMAND, BACKGROUND), bytes.fromhex("FE06000000009DC5"))


def test_every_trouble_is_a_sentence() -> None:
    assert all(len(list(sentences(trouble))) == 1 for trouble in Trouble)
    assert set(VARIANTS.values()) == {S8, SUNRISE, K30, K33}


@given(st.integers(0, 12))
def test_a_part_of_an_answer_is_waited_for(cut: int) -> None:
    assert FRAMES.answer(measure(S8), STATUS_AND_CO2[:cut]) is None


@given(st.binary(max_size=40), st.sampled_from([measure(S8), measure(K30), acknowledged()]))
def test_random_bytes_are_no_answer(data: bytes, asked: object) -> None:
    try:
        registers = FRAMES.answer(asked, data)  # type: ignore[arg-type]
    except SenseairReplyError:
        return
    assert registers is None


@given(st.data())
def test_a_burst_of_up_to_16_bits_is_noticed(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, 8 * len(STATUS_AND_CO2) - 16))
    burst = data.draw(st.integers(1, 2**16 - 1)) << start
    number = int.from_bytes(STATUS_AND_CO2, "little") ^ burst
    try:
        registers = FRAMES.answer(measure(S8), number.to_bytes(len(STATUS_AND_CO2), "little"))
    except SenseairReplyError:
        return
    assert registers is None


async def test_there_is_no_value_while_it_warms_up(s8: Sensor) -> None:
    s8.emulator.reboot()
    assert await s8.driver.read() == {"co2": None}
    await s8.advance(31.0)
    assert await s8.driver.read() == {"co2": 1200.0}


async def test_what_is_wrong_is_said_in_a_sentence(s8: Sensor) -> None:
    s8.device.status = 0x11
    with pytest.raises(DriverError, match=r"fatal error: .*; its self-test failed"):
        await s8.driver.read()


async def test_background_calibration(s8: Sensor) -> None:
    await s8.advance(31.0)
    s8.co2.value = 450.0
    await s8.driver.calibrate_background()
    await s8.advance(3.0)
    assert await s8.driver.read() == {"co2": 400.0}


async def test_a_k_series_sensor_is_not_calibrated_here(tmp_path: Path) -> None:
    rig = Sensor(tmp_path, K30)
    async with rig.emulator, rig.driver:
        with pytest.raises(DriverError, match="own tool"):
            await rig.driver.calibrate_background()


async def test_what_never_answers_is_an_error_and_comes_back(s8: Sensor) -> None:
    s8.emulator.inject(Fault.SILENCE)
    with pytest.raises(DriverError, match="did not answer"):
        await s8.driver.read()
    s8.emulator.inject(Fault.UNPLUG)
    await eventually(lambda: not s8.driver._port.connected)
    with pytest.raises(DriverError):
        await s8.driver.read()
    s8.emulator.clear()
    await eventually(lambda: s8.driver._port.connected)
    await s8.driver.read()


async def test_a_line_without_a_sensor_is_noticed(tmp_path: Path) -> None:
    rig = Sensor(tmp_path, S8)
    async with rig.emulator:
        rig.emulator.inject(Fault.SILENCE)
        with pytest.raises(DriverError, match="did not answer"):
            async with rig.driver:
                pass


async def test_the_emulator_answers_an_independent_client(tmp_path: Path) -> None:
    rig = Sensor(tmp_path, S8)

    def talk() -> tuple[list[int], list[int], int, int]:
        client = ModbusSerialClient(str(rig.emulator.path), baudrate=9600, timeout=1.0, retries=0)
        assert client.connect()
        try:
            values = client.read_input_registers(0, count=4, device_id=0x68)
            written = client.write_register(0, 0x1234, device_id=0xFE)
            held = client.read_holding_registers(0, count=2, device_id=0xFE)
            beyond = client.read_input_registers(99, count=1, device_id=0xFE)
            assert not written.isError()
            coils = client.read_coils(0, count=1, device_id=0xFE)
            return (
                list(values.registers),
                list(held.registers),
                beyond.exception_code,
                coils.exception_code,
            )
        finally:
            client.close()  # type: ignore[no-untyped-call]

    async with rig.emulator:
        await rig.advance(31.0)
        assert await asyncio.to_thread(talk) == ([0, 0, 0, 1200], [0x1234, 0], 2, 1)
