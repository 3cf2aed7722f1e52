import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Self

import pytest

from hardware.channels import Equipment
from hardware.clock import Clock, ManualClock, RealClock
from hardware.devices import Devices
from hardware.drivers.interface import DriverError
from hardware.plausibility import Doubt, Plausible
from tests.unit.hardware.drivers.broken import BrokenDevice
from tests.unit.hardware.equipment import bench, channel


class Counting(BrokenDevice):
    """Counts how often it is read; `hangs` makes it silent for ever."""

    def __init__(self, clock: Clock, name: str) -> None:
        super().__init__(clock)
        self.name = name
        self.reads = 0
        self.hangs = False
        self.slow: asyncio.Event | None = None

    async def read(self) -> Mapping[str, float | None]:
        self.reads += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.slow is not None:
            await self.slow.wait()
        return await super().read()

    async def write(self, channel: str, value: float) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.slow is not None:
            await self.slow.wait()
        await super().write(channel, value)

    async def dose(self, channel: str, ml: float) -> float:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().dose(channel, ml)


def two_devices(
    patience: float = 10.0, late: float = 1.2
) -> tuple[Devices, Counting, Counting, ManualClock]:
    clock = ManualClock()
    first, second = Counting(clock, "bench"), Counting(clock, "other")
    slow = channel("volume", "sensor")
    slow_info = slow.info.model_copy(update={"driver": "other", "period": 60.0})
    equipment = Equipment.of(
        [channel("temperature", "sensor"), type(slow)(slow_info), channel("light", "actuator")]
    )
    devices = Devices(equipment, [first, second], clock, patience=patience, late=late)
    return devices, first, second, clock


async def test_each_device_is_read_at_its_own_period() -> None:
    devices, first, second, clock = two_devices()
    values, new = await devices.read()
    assert values == new == {"temperature": 25.0, "volume": 15.0}
    await clock.advance(1.0)
    second.values["volume"] = 16.0
    values, new = await devices.read()
    assert (first.reads, second.reads) == (2, 1)
    assert new == {"temperature": 25.0}  # an old reading must not look like a fresh one
    assert values["volume"] == 15.0
    await clock.advance(30.0)
    assert (await devices.read())[0]["volume"] == 16.0


async def test_those_who_ask_at_once_share_one_reading() -> None:
    devices, first, _, _ = two_devices()
    await asyncio.gather(*(devices.read() for _ in range(5)))
    assert first.reads == 1


async def test_one_device_that_fails_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    devices, first, _, clock = two_devices()
    first.silent.add("read")
    values, _ = await devices.read()
    assert values == {"temperature": None, "volume": 15.0}
    assert set(devices.faults) == {"bench"}
    await clock.advance(10.0)
    await devices.read()
    assert caplog.text.count("does not answer") == 1  # told once, not at each reading
    first.silent.clear()
    devices.forget()
    with caplog.at_level(logging.INFO):
        await devices.read()
        await devices.read()
    assert devices.faults == {}
    assert caplog.text.count("device bench answers again") == 1


async def test_one_that_is_slow_holds_up_nobody() -> None:
    """It tells later, and until then an old reading does not stand for a new one."""
    devices, first, second, clock = two_devices(late=0.05)
    await devices.read()
    second.slow = asyncio.Event()
    await clock.advance(31.0)
    assert await devices.read() == (
        {"temperature": 25.0, "volume": 15.0},  # within two periods of 60 s
        {"temperature": 25.0},
    )
    await clock.advance(100.0)
    first.values["temperature"] = 26.0
    assert await devices.read() == ({"temperature": 26.0, "volume": None}, {"temperature": 26.0})
    second.values["volume"] = 16.0
    second.slow.set()
    await asyncio.sleep(0)
    await clock.advance(1.0)
    assert await devices.read() == (
        {"temperature": 26.0, "volume": 16.0},
        {"temperature": 26.0, "volume": 16.0},
    )
    assert (second.reads, devices.faults) == (2, {})
    await devices.close()


@pytest.mark.parametrize("many", [False, True])
async def test_a_device_that_hangs_delays_one_reading_and_not_each(many: bool) -> None:
    devices, _, second, clock = two_devices(patience=0.4, late=0.1)
    if not many:
        equipment = Equipment.of([channel("temperature", "sensor")])
        second.name = "bench"
        devices = Devices(equipment, [second], clock, patience=0.4, late=0.1)
    second.hangs = True
    seconds = asyncio.get_running_loop().time
    delays: list[float] = []
    while second.reads < 3:  # the second was begun after the first had counted as silent
        begun = seconds()
        await devices.read()
        delays.append(seconds() - begun)
        await clock.advance(31.0)
        await asyncio.sleep(0.01)
    assert delays[0] >= 0.1 - 0.01
    assert [delay for delay in delays[1:] if delay >= 0.1 - 0.01] == []
    assert len(delays) > 10
    second.hangs = False
    await devices.close()  # what still hangs
    await devices.read()  # not waited for
    await asyncio.sleep(0)
    await clock.advance(31.0)
    second.values["temperature"] = second.values["volume"] = 17.0
    assert 17.0 in (await devices.read())[1].values()  # it was in time: waited for again
    assert devices.faults == {}
    await devices.close()


async def test_closing_ends_what_is_being_read() -> None:
    devices, _, second, _ = two_devices(late=0.01)
    second.hangs = True
    await devices.read()
    await devices.close()  # the fixture fails a test that leaves a task behind


async def test_a_sensor_that_lies_is_told_to_the_rules_as_silent() -> None:
    clock = ManualClock()
    device = Counting(clock, "bench")
    temperature = replace(
        channel("temperature", "sensor"), plausible=Plausible(fastest=0.1, frozen_after=20.0)
    )
    devices = Devices(Equipment.of([temperature]), [device], clock)
    assert await devices.read() == ({"temperature": 25.0}, {"temperature": 25.0})
    device.values["temperature"] = 37.0
    await clock.advance(1.0)
    assert await devices.read() == ({"temperature": 37.0}, {"temperature": None})
    (doubted,) = devices.doubts.values()
    assert (doubted.rule.policy, doubted.doubt) == ("continue", Doubt.JUMPING)
    assert doubted.why == "temperature: it jumps, now 37 1: look at the probe and its cable"
    for _ in range(2):
        await clock.advance(1.0)
        await devices.read()
    await clock.advance(1.0)
    assert await devices.read() == ({"temperature": 37.0}, {"temperature": 37.0})
    assert devices.doubts == {}
    await clock.advance(30.0)
    assert (await devices.read())[1] == {"temperature": None}
    assert devices.doubts["temperature"].doubt is Doubt.FROZEN


async def test_a_device_that_hangs_counts_as_silent() -> None:
    devices, first, _, _ = two_devices(patience=0.05)
    first.hangs = True
    values, _ = await devices.read()
    assert values == {"temperature": None, "volume": 15.0}
    with pytest.raises(DriverError, match="does not answer"):
        await devices.write("light", lambda: 1.0)


async def test_who_waits_for_a_device_that_hangs_waits_no_longer_than_who_has_it() -> None:
    clock = RealClock(100.0)
    device = Counting(clock, "bench")
    device.hangs = True
    devices = Devices(bench(), [device], clock, patience=0.5)
    before = asyncio.get_running_loop().time()
    calls = [
        *(devices.write("light", lambda: 1.0) for _ in range(10)),
        *(devices.dose("media", 1.0) for _ in range(10)),
    ]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, DriverError) for error in ended)
    assert asyncio.get_running_loop().time() - before < 4.0  # one after another: 5.0 and 6.0


async def test_devices_that_are_not_there_are_all_named_and_the_others_closed() -> None:
    clock = ManualClock()
    opened: list[str] = []

    class Bench(BrokenDevice):
        async def __aenter__(self) -> Self:
            if self.name != "good":
                raise DriverError(f"{self.name} is not there")
            opened.append(self.name)
            return self

        async def __aexit__(self, *_: object) -> None:
            opened.remove(self.name)

    drivers = [Bench(clock) for _ in range(3)]
    for driver, name in zip(drivers, ("good", "first", "second"), strict=True):
        driver.name = name
    devices = Devices(Equipment.of([]), drivers, clock)
    with pytest.raises(ExceptionGroup) as several:
        async with AsyncExitStack() as stack:
            await devices.open(stack)
    assert [str(error) for error in several.value.exceptions] == [
        "first is not there",
        "second is not there",
    ]
    assert opened == []


async def test_an_output_gets_the_value_that_holds_when_it_is_its_turn() -> None:
    devices, bench, _, _ = two_devices()
    bench.slow = asyncio.Event()
    wanted = 40.0
    first = asyncio.ensure_future(devices.write("light", lambda: 20.0))
    then = asyncio.ensure_future(devices.write("light", lambda: wanted))
    await asyncio.sleep(0)
    wanted = 0.0  # everything is made safe
    bench.slow.set()
    assert (await first, await then) == (20.0, 0.0)
    assert bench.written["light"] == 0.0
