"""The safety rules and the simulation: what they take of the node's time."""

import asyncio
import timeit
from time import process_time

from hardware.clock import RealClock
from hardware.events import DoseAsked, Event, MakeSafe, Measured, Set, Tick
from hardware.reactors import simulated_reactor
from hardware.safety import decide, initial
from hardware.simulation.equipment import EQUIPMENT

Row = tuple[str, float, str, float, str]

READINGS = {"od": 0.1, "temperature": 36.9, "ph": 7.0, "do": 90.0, "volume": 15.0}
EVENTS: tuple[Event, ...] = (
    Measured(READINGS),
    Set("light", 40.0, 1000.0),
    Set("light", 400.0, 1000.0),
    Set("heater", 21.0, 15.0, by_controller=True),
    DoseAsked("media", 1.0),
    DoseAsked("media", 100.0),
    MakeSafe(),
    Tick(),
)
SECONDS = 3.0


def slowest_decision() -> float:
    """Return the time of the slowest kind of decision, µs: the best of many tries of each."""
    state = initial(EQUIPMENT, 0.0)
    for event in (Measured(READINGS), Set("stirring", 600.0), Set("light", 50.0, 1000.0), Tick()):
        state = decide(EQUIPMENT, state, event, state.now + 1.0).state
    now = state.now + 1.0

    def took(event: Event) -> float:
        tries = timeit.repeat(lambda: decide(EQUIPMENT, state, event, now), number=100, repeat=50)
        return min(tries) / 100

    return max(took(event) for event in EVENTS) * 1e6


async def load(speed: float) -> float:
    """Return the part of a core that a heated, stirred, simulated reactor takes, in %."""
    clock = RealClock(speed)
    async with simulated_reactor(clock, seed=1, state_file=None) as reactor:
        await reactor.set("temperature-setpoint", 37.0)
        await reactor.set("stirring", 700.0)
        before = process_time()
        for _ in range(int(SECONDS)):
            await asyncio.sleep(1.0)
            await reactor.read()
        return 100.0 * (process_time() - before) / SECONDS


def rows() -> list[Row]:
    """Return the measurements."""
    return [
        ("safety: the slowest decision", slowest_decision(), "µs", 50.0, "the budget"),
        *(
            (
                f"simulated reactor at speed {speed:g}",
                asyncio.run(load(speed)),
                "%",
                100.0,
                "a core",
            )
            for speed in (1.0, 60.0, 3600.0)
        ),
    ]
