import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hardware.drivers.ezo.link import EzoError, EzoWrongCircuitError, Identity
from hardware.drivers.ezo.probes import EzoDo, EzoEc, EzoOrp, EzoPh, EzoRtd, PhSlope
from hardware.drivers.interface import DriverError
from hardware.drivers.transport import SerialPort
from hardware.emulators import ezo_probes as emulated
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.ezo import Firmware
from tests.support.waiting import eventually
from tests.unit.hardware.drivers.contract import DriverContract
from tests.unit.hardware.drivers.ezo.rigs import BACKOFF, KINDS, PACE, SPEED, MakeRig, ProbeRig


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeRig]:
    """Make rigs whose emulators run."""
    async with AsyncExitStack() as stack:
        rigs: list[ProbeRig] = []

        def make(name: str, **how: object) -> ProbeRig:
            rig = ProbeRig(name, tmp_path / f"usb-{len(rigs)}", **how)  # type: ignore[arg-type]
            rigs.append(rig)
            rig.emulator.plug()
            stack.push_async_exit(rig.emulator.__aexit__)
            rig.device.power_up()
            return rig

        yield make


class TestContract(DriverContract):
    @pytest.fixture(params=sorted(KINDS))
    async def rig(self, make: MakeRig, request: pytest.FixtureRequest) -> ProbeRig:
        rig = make(request.param)
        if request.param == "ezo-co2":
            await rig.advance(11.0)  # warming up
        return rig


@pytest.mark.parametrize("name", sorted(KINDS))
async def test_reads_what_is_measured(make: MakeRig, name: str) -> None:
    rig = make(name)
    if name == "ezo-co2":
        await rig.advance(11.0)  # warming up
    async with rig.driver as driver:
        assert await rig.value() == pytest.approx(rig.kind.value)
        assert driver.latest() == pytest.approx(rig.kind.value)
        assert driver.identity == Identity(rig.device.name, "2.12")
        rig.source.value *= 0.9
        assert await rig.value() == pytest.approx(0.9 * rig.kind.value, rel=1e-3)


async def test_streaming_is_switched_off_and_stays_so(make: MakeRig) -> None:
    rig = make("ezo-ph")
    async with rig.driver:
        assert rig.device.settings.continuous == 0
        before = rig.driver.counters.received
        await rig.advance(5.0)
        assert rig.driver.counters.received == before
        assert await rig.value() == 7.125


async def test_acknowledgements_are_switched_on(make: MakeRig) -> None:
    rig = make("ezo-ph")
    rig.device.settings.codes = False
    async with rig.driver:
        assert rig.device.settings.codes
        assert await rig.value() == 7.125


async def test_a_sleeping_circuit_is_woken(make: MakeRig) -> None:
    rig = make("ezo-ph")
    async with rig.driver as driver:
        await driver.sleep()
        await rig.advance(0.5)
        asleep = [rig.device.asleep]
        assert await rig.value() == 7.125
        assert [*asleep, rig.device.asleep] == [True, False]
    async with rig.driver as driver:
        await driver.sleep()
    async with rig.driver:
        assert await rig.value() == 7.125


async def test_another_circuit_on_the_port_is_refused(make: MakeRig) -> None:
    rig = make("ezo-ph")
    wrong = EzoDo("ezo-do", rig.emulator.path, {"mg": "do"}, pace=PACE, backoff=BACKOFF)
    with pytest.raises(EzoWrongCircuitError, match="has an EZO-pH on it and not an EZO-DO"):
        async with wrong:
            pass


async def test_one_whose_port_is_gone_is_not_asked_once_more(
    make: MakeRig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make("ezo-ph")
    async with rig.driver:
        rig.emulator.unplug()
        await rig.driver.unplugged()
        with caplog.at_level(logging.INFO), pytest.raises(DriverError, match=r"gone|not there"):
            await rig.value()
    assert "asking once more" not in caplog.text


async def test_another_circuit_after_replugging_is_refused(make: MakeRig, tmp_path: Path) -> None:
    rig = make("ezo-ph")
    async with rig.driver:
        rig.emulator.unplug()
        with pytest.raises(DriverError):
            await rig.value()
        other = Emulator(emulated.EzoRtd(Constant(7.0)), link=rig.emulator.path, speed=SPEED)
        async with other:
            await eventually(lambda: rig.driver.counters.openings == 2)
            with pytest.raises(EzoWrongCircuitError):
                await rig.value()


@pytest.mark.parametrize(
    "firmware",
    [
        Firmware("1.0", shouting=True),
        Firmware("1.8", slope_offset=False),
        Firmware("1.9", compensates_at_once=False),
        Firmware("2.16", acknowledges_first=True),
    ],
)
async def test_firmwares_differ(make: MakeRig, firmware: Firmware) -> None:
    rig = make("ezo-ph", firmware=firmware, temperature=lambda: 37.0)
    driver, device = rig.driver, rig.device
    assert isinstance(driver, EzoPh)
    assert isinstance(device, emulated.EzoPh)
    device.true_temperature = Constant(37.0)
    async with driver:
        for _ in range(2):
            assert await rig.value() == pytest.approx(7.125)
        assert driver.identity == Identity("pH", firmware.version)
        assert await driver.calibration_points() == 0
        offset = -0.89 if firmware.slope_offset else None
        assert await driver.slope() == PhSlope(99.7, 100.3, offset)


async def test_the_temperature_of_another_circuit_compensates(make: MakeRig) -> None:
    rtd = make("ezo-rtd")
    rtd.source.value = 37.0
    ph = make("ezo-ph", temperature=rtd.driver.latest)
    device = ph.device
    assert isinstance(device, emulated.EzoPh)
    device.true_temperature = rtd.source
    ph.source.value = 4.0
    async with rtd.driver, ph.driver:
        uncompensated = await ph.value()
        assert uncompensated == pytest.approx(3.879)
        await rtd.driver.read()
        assert await ph.value() == pytest.approx(4.0)
        ph.emulator.reboot()  # forgets the compensation
        await ph.advance(0.5)
        assert await ph.value() == pytest.approx(4.0)


@pytest.mark.parametrize("temperature", [None, float("nan"), -1023.0, 400.0])
async def test_an_impossible_temperature_does_not_compensate(
    make: MakeRig, temperature: float | None
) -> None:
    rig = make("ezo-ph", temperature=lambda: temperature)
    async with rig.driver:
        assert await rig.value() == 7.125
        assert rig.device.temperature == 25.0


async def test_no_probe_is_no_value(make: MakeRig) -> None:
    rig = make("ezo-rtd")
    device = rig.device
    assert isinstance(device, emulated.EzoRtd)
    async with rig.driver as driver:
        device.probe = False
        assert await rig.value() is None
        assert driver.latest() is None
        device.probe = True
        assert await rig.value() == 25.104


async def test_warming_up_is_no_value(make: MakeRig) -> None:
    rig = make("ezo-co2")
    async with rig.driver:
        assert await rig.value() is None
        await rig.advance(11.0)
        assert await rig.value() == 400.0


async def test_a_temperature_in_another_scale_is_set_right(make: MakeRig) -> None:
    rig = make("ezo-rtd")
    device = rig.device
    assert isinstance(device, emulated.EzoRtd)
    device.scale = "f"
    async with rig.driver:
        assert await rig.value() == 25.104


async def test_exactly_the_wanted_outputs_are_on(make: MakeRig) -> None:
    rig = make("ezo-do")
    device = rig.device
    assert isinstance(device, emulated.EzoDo)
    async with rig.driver as driver:
        assert await driver.read() == {"do-mg": 7.82, "do": 86.0}
        device.outputs["MG"] = device.outputs["%"] = False  # somebody else's program
        with pytest.raises(EzoError, match="switched off"):
            await driver.read()
        assert await driver.read() == {"do-mg": 7.82, "do": 86.0}


@pytest.mark.parametrize("speed", [1.0])
async def test_a_real_time_reading_is_as_slow_as_the_circuit(tmp_path: Path, speed: float) -> None:
    device = emulated.EzoRtd(Constant(20.0))
    device.settings.continuous = 0
    async with Emulator(device, link=tmp_path / "usb", speed=speed) as emulator:
        port = SerialPort(emulator.path, backoff=BACKOFF)
        async with port, port.exchange(2.0) as line:
            loop = asyncio.get_running_loop()
            line.discard()
            before = loop.time()
            await line.write(b"R\r")
            assert await line.read_line() == b"20.000"
            assert await line.read_line() == b"*OK"
            assert loop.time() - before >= 0.55


async def test_calibrates_ph(make: MakeRig) -> None:
    rig = make("ezo-ph")
    driver = rig.driver
    assert isinstance(driver, EzoPh)
    async with driver:
        with pytest.raises(EzoError, match="mid point first"):
            await driver.calibrate("low", 4.0)
        with pytest.raises(EzoError, match="must be from 6 to 8"):
            await driver.calibrate("mid", 4.0)
        await driver.calibrate("mid", 7.0)
        await driver.calibrate("low", 4.0)
        await driver.calibrate("high", 10.0)
        assert rig.device.settings.calibration == {"MID": 7.0, "LOW": 4.0, "HIGH": 10.0}
        assert await driver.calibration_points() == 3
        await driver.calibrate("mid", 7.01)
        assert await driver.calibration_points() == 1
        await driver.clear_calibration()
        assert await driver.calibration_points() == 0


async def test_calibrates_the_others(make: MakeRig) -> None:
    oxygen, rtd, orp, ec = (make(f"ezo-{name}") for name in ("do", "rtd", "orp", "ec"))
    async with oxygen.driver, rtd.driver, orp.driver, ec.driver:
        assert isinstance(oxygen.driver, EzoDo)
        with pytest.raises(EzoError, match="in air first"):
            await oxygen.driver.calibrate_zero()
        await oxygen.driver.calibrate_air()
        await oxygen.driver.calibrate_zero()
        await oxygen.driver.set_salinity(50_000.0, "uS")
        await oxygen.driver.set_pressure(98.5)
        assert isinstance(oxygen.device, emulated.EzoDo)
        assert set(oxygen.device.settings.calibration) == {"air", "zero"}
        assert oxygen.device.pressure == 98.5
        assert oxygen.device.salinity == "50000.00,US"
        assert isinstance(rtd.driver, EzoRtd)
        await rtd.driver.calibrate(100.0)
        assert rtd.device.settings.calibration == {"one": 100.0}
        assert isinstance(orp.driver, EzoOrp)
        await orp.driver.calibrate(225.0)
        assert orp.device.settings.calibration == {"one": 225.0}
        assert isinstance(ec.driver, EzoEc)
        await ec.driver.calibrate_dry()
        await ec.driver.calibrate(84.0, "low")
        await ec.driver.calibrate(1413.0, "high")
        await ec.driver.set_cell_constant(0.1)
        assert ec.device.settings.calibration == {"dry": 0.0, "LOW": 84.0, "HIGH": 1413.0}
        for driver in (rtd.driver, orp.driver):
            with pytest.raises(EzoError, match="must be from"):
                await driver.calibrate(5000.0)


def test_what_cannot_be_is_refused_when_made() -> None:
    with pytest.raises(ValueError, match="has no output 'ph'; it has pH"):
        EzoPh("ezo-ph", Path("/dev/null"), {"ph": "ph"})
    with pytest.raises(ValueError, match="serves no channel"):
        EzoPh("ezo-ph", Path("/dev/null"), {})
    with pytest.raises(ValueError, match="takes no temperature"):
        EzoOrp("ezo-orp", Path("/dev/null"), {"ORP": "orp"}, temperature=lambda: 25.0)


async def test_nothing_there_is_a_driver_error(tmp_path: Path) -> None:
    driver = EzoPh("ezo-ph", tmp_path / "usb", {"pH": "ph"}, backoff=BACKOFF, open_within=0.1)
    with pytest.raises(DriverError, match="is the device plugged in"):
        async with driver:
            pass


async def test_circuits_are_read_side_by_side(make: MakeRig) -> None:
    rigs = [make(name) for name in ("ezo-ph", "ezo-rtd", "ezo-orp", "ezo-ec")]
    async with AsyncExitStack() as stack:
        for rig in rigs:
            await stack.enter_async_context(rig.driver)
        values = await asyncio.gather(*(rig.value() for rig in rigs for _ in range(3)))
    assert values == [rig.kind.value for rig in rigs for _ in range(3)]
