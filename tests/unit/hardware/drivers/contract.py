"""The suite that every driver passes: subclass it, give it a rig with the driver on it.

What a driver promises is in `hardware/drivers/interface.py`. A rig knows the device behind the
driver (the simulated culture, an emulator's registers), so that what truly happens is looked at
and not what the driver says of it.
"""

import asyncio
import math
from collections.abc import Mapping
from typing import Protocol

import pytest

from hardware.channels import Channel
from hardware.drivers.interface import MAX_PIECE_SECONDS, Driver, DriverError


class Rig(Protocol):
    """A driver with its device, and a way to let time pass for both."""

    @property
    def driver(self) -> Driver: ...

    @property
    def channels(self) -> Mapping[str, Channel]:
        """The channels that the driver serves."""
        ...

    async def advance(self, seconds: float) -> None: ...

    def actual(self, channel: str) -> float:
        """What the device's output really is; of a pump: mL moved since the start."""
        ...


class DriverContract:
    """Tests; a subclass provides the fixture `rig`, outside its driver's context."""

    def sensors(self, rig: Rig) -> set[str]:
        return {
            name
            for name, channel in rig.channels.items()
            if channel.info.kind == "sensor" and not channel.output
        }

    def outputs(self, rig: Rig) -> set[str]:
        return {n for n, channel in rig.channels.items() if channel.output and channel.wired}

    def pumps(self, rig: Rig) -> set[str]:
        return {n for n, channel in rig.channels.items() if channel.info.kind == "pump"}

    async def test_is_named_as_its_channels_say(self, rig: Rig) -> None:
        assert {channel.info.driver for channel in rig.channels.values()} == {rig.driver.name}

    async def test_opening_and_closing_moves_nothing(self, rig: Rig) -> None:
        before = {name: rig.actual(name) for name in self.pumps(rig)}
        async with rig.driver:
            await rig.advance(5.0)
        async with rig.driver:
            await rig.advance(5.0)
        for name in self.outputs(rig):
            assert rig.actual(name) == rig.channels[name].safe
        assert {name: rig.actual(name) for name in self.pumps(rig)} == before

    async def test_reads_all_its_sensors_within_their_ranges(self, rig: Rig) -> None:
        async with rig.driver:
            await rig.advance(2.0)
            values = await rig.driver.read()
        assert set(values) == self.sensors(rig)
        for name, value in values.items():
            limits = rig.channels[name].info.limits
            assert value is not None
            assert limits.minimum is None or value >= limits.minimum
            assert limits.maximum is None or value <= limits.maximum

    async def test_an_output_is_in_force_when_write_returns(self, rig: Rig) -> None:
        async with rig.driver:
            for name in sorted(self.outputs(rig)):
                limits = rig.channels[name].info.limits
                assert limits.maximum is not None
                for value in (limits.maximum, limits.maximum / 2, rig.channels[name].safe):
                    await rig.driver.write(name, value)
                    assert rig.actual(name) == pytest.approx(value, rel=0.02)

    async def test_is_made_safe_from_outside_after_its_process_has_died(self, rig: Rig) -> None:
        rescue = rig.driver.rescue
        if rescue is None:
            assert not self.outputs(rig)
            assert not self.pumps(rig)
            return
        async with rig.driver:
            for name in self.outputs(rig):
                await rig.driver.write(name, rig.channels[name].info.limits.maximum or 1.0)
        for _ in range(2):  # what is safe stays so
            await asyncio.to_thread(rescue.load())
            assert {n: rig.actual(n) for n in self.outputs(rig)} == {
                n: rig.channels[n].safe for n in self.outputs(rig)
            }

    async def test_pumps_what_it_says(self, rig: Rig) -> None:
        async with rig.driver:
            for name in sorted(self.pumps(rig)):
                flow = rig.channels[name].flow
                before = rig.actual(name)
                dose = asyncio.ensure_future(rig.driver.dose(name, flow))
                await rig.advance(MAX_PIECE_SECONDS + 1)
                assert await dose == pytest.approx(flow, rel=0.02)
                assert rig.actual(name) - before == pytest.approx(flow, rel=0.05)

    async def test_a_pump_stops_by_itself(self, rig: Rig) -> None:
        async with rig.driver:
            for name in sorted(self.pumps(rig)):
                flow = rig.channels[name].flow
                before = rig.actual(name)
                dose = asyncio.ensure_future(rig.driver.dose(name, flow * MAX_PIECE_SECONDS))
                await rig.advance(10 * MAX_PIECE_SECONDS)
                await dose
                most = flow * MAX_PIECE_SECONDS
                assert rig.actual(name) - before <= most * 1.05

    async def test_stop_ends_a_dose_and_it_says_how_much_came(self, rig: Rig) -> None:
        async with rig.driver:
            for name in sorted(self.pumps(rig)):
                flow = rig.channels[name].flow
                before = rig.actual(name)
                dose = asyncio.ensure_future(rig.driver.dose(name, flow * MAX_PIECE_SECONDS))
                await rig.advance(MAX_PIECE_SECONDS / 2)
                await rig.driver.stop(name)
                moved = rig.actual(name) - before
                await rig.advance(MAX_PIECE_SECONDS)
                assert await dose == pytest.approx(flow * MAX_PIECE_SECONDS / 2, rel=0.25)
                assert rig.actual(name) - before == pytest.approx(moved, abs=0.02 * flow)

    async def test_stopping_what_stands_still_is_allowed(self, rig: Rig) -> None:
        async with rig.driver:
            for name in self.pumps(rig):
                await rig.driver.stop(name)
                await rig.driver.stop(name)

    async def test_a_cancelled_dose_does_not_go_on(self, rig: Rig) -> None:
        async with rig.driver:
            for name in sorted(self.pumps(rig)):
                flow = rig.channels[name].flow
                before = rig.actual(name)
                dose = asyncio.ensure_future(rig.driver.dose(name, flow * MAX_PIECE_SECONDS))
                await rig.advance(0.1)
                dose.cancel()
                await asyncio.wait([dose])
                assert dose.cancelled()
                await rig.advance(5 * MAX_PIECE_SECONDS)
                most = flow * MAX_PIECE_SECONDS
                assert rig.actual(name) - before <= most * 1.05

    async def test_what_it_does_not_serve_is_a_driver_error(self, rig: Rig) -> None:
        async with rig.driver:
            for call in (
                rig.driver.write("nowhere", 1.0),
                rig.driver.dose("nowhere", 0.1),
                rig.driver.stop("nowhere"),
            ):
                with pytest.raises(DriverError):
                    await call

    async def test_a_new_run_moves_nothing(self, rig: Rig) -> None:
        async with rig.driver:
            await rig.driver.begin_run()
            await rig.advance(2.0)
            values = await rig.driver.read()
        assert all(value is not None and math.isfinite(value) for value in values.values())
        for name in self.outputs(rig):
            assert rig.actual(name) == rig.channels[name].safe
