from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import pytest

from hardware.channels import Channel, Equipment
from hardware.clock import ManualClock
from hardware.drivers.interface import DriverError, Rescue
from hardware.latecomers import Latecomer, forgiving
from tests.unit.hardware.drivers.broken import BrokenDevice
from tests.unit.hardware.equipment import channel


class Probe(BrokenDevice):
    """Is there once it was plugged in."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.tries = 0
        self.plugged = False

    async def __aenter__(self) -> Self:
        self.tries += 1
        if not self.plugged:
            raise DriverError("nothing is plugged in")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.calls.append("closed")


class Heater(BrokenDevice):
    rescue: Rescue | None = Rescue("somewhere:make_safe")


def made(*channels: Channel, device: Callable[[ManualClock], BrokenDevice] = Probe) -> object:
    clock = ManualClock()
    (driver,) = forgiving(Equipment.of(channels), [device(clock)], clock)
    return driver


def test_only_what_measures_may_be_missing() -> None:
    thermometer = channel("temperature", "sensor")
    assert isinstance(made(thermometer), Latecomer)
    assert isinstance(made(), Latecomer)
    assert not isinstance(made(thermometer, device=Heater), Latecomer)
    for acting in (
        channel("light", "actuator"),
        channel("media", "pump", flow=0.5, direction="in"),
        channel("heater", "sensor", controlled=True),
    ):
        assert not isinstance(made(thermometer, acting), Latecomer)


async def test_it_is_tried_again_ever_more_seldom_until_it_is_there() -> None:
    clock = ManualClock()
    probe = Probe(clock)
    async with Latecomer(probe, clock) as late:
        with pytest.raises(DriverError, match="nothing is plugged in"):
            await late.read()
        await clock.advance(3600.0)
        assert 60 < probe.tries < 70
        await late.begin_run()
        assert probe.calls == []
        probe.plugged = True
        await clock.advance(60.0)
        read: Mapping[str, float | None] = await late.read()
        assert read["temperature"] == 25.0
        await late.begin_run()
        assert probe.calls == ["new run"]
    assert probe.calls == ["new run", "closed"]
    with pytest.raises(DriverError, match="closed"):
        await late.read()


async def test_leaving_ends_the_tries_and_closes_nothing_that_was_not_open() -> None:
    clock = ManualClock()
    probe = Probe(clock)
    async with Latecomer(probe, clock):
        await clock.advance(1.0)
    assert (probe.tries, probe.calls) == (2, [])


async def test_it_refuses_to_act() -> None:
    clock = ManualClock()
    late = Latecomer(Probe(clock), clock)
    for act in (late.write("light", 1.0), late.dose("media", 1.0), late.stop("media")):
        with pytest.raises(DriverError, match="only measures"):
            await act
