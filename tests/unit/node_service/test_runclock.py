"""The experiment's clock, across pauses and restarts of the node."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.clock import ManualClock
from node_service.runclock import RunClock
from node_service.runs import ClockAnchor


class Machine:
    """A machine's monotonic clock and boot, and the reactor's clock in one process of it."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.boot = "first"
        self.clock = ManualClock()

    async def pass_(self, seconds: float) -> None:
        self.seconds += seconds
        await self.clock.advance(seconds)

    def run_clock(self, anchor: ClockAnchor | None = None) -> RunClock:
        return RunClock(self.clock, anchor, monotonic=lambda: self.seconds, boot=lambda: self.boot)


async def test_it_begins_when_told_and_stands_while_frozen() -> None:
    machine = Machine()
    clock = machine.run_clock()
    await machine.pass_(5)
    assert (clock.elapsed, clock.frozen_for) == (0, 0)
    clock.begin()
    await machine.pass_(5)
    clock.freeze()
    clock.freeze()
    await machine.pass_(7)
    assert (clock.elapsed, clock.frozen_for) == (5, 7)
    clock.thaw()
    await machine.pass_(1)
    assert (clock.elapsed, clock.frozen_for) == (6, 7)
    clock.stop()
    await machine.pass_(9)
    assert (clock.elapsed, clock.frozen_for) == (6, 7)


@pytest.mark.parametrize("frozen", [True, False])
async def test_time_goes_on_while_the_node_is_away(frozen: bool) -> None:
    machine = Machine()
    clock = machine.run_clock()
    clock.begin()
    await machine.pass_(5)
    if frozen:
        clock.freeze()
    anchor = clock.anchor()
    machine.seconds += 100
    machine.clock = ManualClock()
    again = machine.run_clock(anchor)
    await machine.pass_(1)
    assert (again.elapsed, again.frozen_for) == ((5, 101) if frozen else (106, 0))


async def test_after_a_reboot_nobody_knows_how_long_it_was_away() -> None:
    machine = Machine()
    clock = machine.run_clock()
    clock.begin()
    await machine.pass_(5)
    anchor = clock.anchor()
    machine.boot, machine.seconds = "second", 10.0
    assert machine.run_clock(anchor).elapsed == 5


async def test_what_was_stopped_stays_stopped() -> None:
    machine = Machine()
    clock = machine.run_clock()
    clock.begin()
    await machine.pass_(5)
    clock.stop()
    anchor = ClockAnchor.model_validate_json(clock.anchor().model_dump_json())
    machine.seconds += 50
    assert machine.run_clock(anchor).elapsed == 5


@given(st.lists(st.tuples(st.sampled_from(["freeze", "thaw", "restart"]), st.floats(0, 1000))))
async def test_no_second_is_counted_twice_or_not_at_all(steps: list[tuple[str, float]]) -> None:
    machine = Machine()
    clock = machine.run_clock()
    clock.begin()
    passed = 0.0
    for step, seconds in steps:
        before = clock.elapsed
        if step == "restart":
            clock = machine.run_clock(clock.anchor())
        elif step == "freeze":
            clock.freeze()
        else:
            clock.thaw()
        await machine.pass_(seconds)
        passed += seconds
        assert clock.elapsed >= before - 1e-6
        assert clock.elapsed + clock.frozen_for == pytest.approx(passed, abs=1e-3)
