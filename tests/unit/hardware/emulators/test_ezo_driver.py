"""The emulated circuits answer an independent library, ezo-driver, as real ones do."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import ezo_driver
from ezo_driver import control, do, ec, orp, ph, rtd
from ezo_driver.enums import (
    DOOutputMask,
    DOSalinityUnit,
    ECOutputMask,
    PHCalibrationPoint,
    ProductId,
    RTDScale,
    UARTResponseKind,
)

from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.ezo import Firmware
from hardware.emulators.ezo_probes import EzoDo, EzoEc, EzoOrp, EzoPh, EzoProbe, EzoRtd

SPEED = 100.0

Device = ezo_driver.LinuxUARTDevice
T = TypeVar("T")


def ask(device: Device, send: Callable[[Device], int], read: Callable[[Device], T]) -> T:
    """Send, wait as the library says, and read."""
    time.sleep(send(device) / 1000 / SPEED)
    return read(device)


async def talk(probe: EzoProbe, conversation: Callable[[Device], None]) -> None:
    """Hold a conversation, which blocks, with a probe."""

    def hold() -> None:
        with Device(str(emulator.path), baud=9600, read_timeout_ms=2000) as device:
            time.sleep(0.01)
            device.discard_input()  # what it said at boot
            conversation(device)

    probe.settings.continuous = 0
    async with Emulator(probe, speed=SPEED) as emulator:
        await asyncio.to_thread(hold)


async def test_ph() -> None:
    def conversation(device: Device) -> None:
        info = ask(
            device, lambda d: control.send_info_query_uart(d, ProductId.PH), control.read_info_uart
        )
        assert (info.product_id, info.firmware_version) == (ProductId.PH, "2.12")
        status = ask(
            device,
            lambda d: control.send_status_query_uart(d, ProductId.PH),
            control.read_status_uart,
        )
        assert (status.restart_code, status.supply_voltage) == ("P", 5.038)
        assert round(ask(device, ph.send_read_uart, ph.read_response_uart).ph, 3) == 7.125
        time.sleep(ph.send_read_with_temp_comp_uart(device, 19.5) / 1000 / SPEED)
        assert round(ph.read_response_with_temp_comp_uart(device).ph, 3) == 7.127
        told = ask(device, ph.send_temperature_query_uart, ph.read_temperature_uart)
        assert told.temperature_c == 19.5
        slope = ask(device, ph.send_slope_query_uart, ph.read_slope_uart)
        assert round(slope.neutral_mv, 2) == -0.89
        for point, value in (
            (PHCalibrationPoint.MID, 7.0),
            (PHCalibrationPoint.LOW, 4.0),
            (PHCalibrationPoint.HIGH, 10.0),
        ):
            time.sleep(ph.send_calibration_uart(device, point, value) / 1000 / SPEED)
            device.read_ok()
        level = ask(device, ph.send_calibration_query_uart, ph.read_calibration_status_uart)
        assert int(level.level) == 3
        device.send_command("nonsense")
        assert device.read_line()[0] is UARTResponseKind.ERROR

    await talk(EzoPh(Constant(7.125), Firmware(acknowledges_first=True)), conversation)


async def test_do() -> None:
    def conversation(device: Device) -> None:
        time.sleep(do.send_output_set_uart(device, DOOutputMask.PERCENT_SATURATION, True) / 1e5)
        device.read_ok()
        mask = ask(device, do.send_output_query_uart, do.read_output_config_uart).enabled_mask
        assert mask == DOOutputMask.MG_L | DOOutputMask.PERCENT_SATURATION
        reading = ask(device, do.send_read_uart, lambda d: do.read_response_uart(d, mask))
        assert round(reading.milligrams_per_liter, 2) == 7.82
        assert round(reading.percent_saturation, 1) == 86.0
        pressure = ask(device, do.send_pressure_query_uart, do.read_pressure_uart)
        assert round(pressure.pressure_kpa, 1) == 101.3
        time.sleep(do.send_salinity_set_uart(device, 35.0, DOSalinityUnit.PPT) / 1000 / SPEED)
        device.read_ok()

    await talk(EzoDo(Constant(7.82)), conversation)


async def test_rtd_and_orp() -> None:
    def temperature(device: Device) -> None:
        assert ask(device, rtd.send_scale_query_uart, rtd.read_scale_uart).scale is RTDScale.CELSIUS
        reading = ask(
            device, rtd.send_read_uart, lambda d: rtd.read_response_uart(d, RTDScale.CELSIUS)
        )
        assert round(reading.temperature, 3) == 25.104
        time.sleep(rtd.send_calibration_uart(device, 25.0) / 1000 / SPEED)
        device.read_ok()
        told = ask(device, rtd.send_calibration_query_uart, rtd.read_calibration_status_uart)
        assert told.calibrated

    def potential(device: Device) -> None:
        assert round(ask(device, orp.send_read_uart, orp.read_response_uart).millivolts, 1) == 209.6

    await talk(EzoRtd(Constant(25.104)), temperature)
    await talk(EzoOrp(Constant(209.6)), potential)


async def test_ec() -> None:
    def conversation(device: Device) -> None:
        mask = ask(device, ec.send_output_query_uart, ec.read_output_config_uart).enabled_mask
        assert mask == ECOutputMask(15)
        reading = ask(device, ec.send_read_uart, lambda d: ec.read_response_uart(d, mask))
        assert round(reading.conductivity_us_cm) == 1413
        assert round(reading.specific_gravity, 3) == 1.001
        assert ask(device, ec.send_probe_k_query_uart, ec.read_probe_k_uart).k_value == 1.0

    await talk(EzoEc(Constant(1413.0)), conversation)
