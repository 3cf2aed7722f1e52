"""Rules that take long would hold the whole node up: each decision has 50 µs."""

import timeit

import pytest

from hardware.events import DoseAsked, Event, MakeSafe, Measured, Set, Tick
from hardware.safety import decide, initial
from hardware.simulation.equipment import EQUIPMENT

READINGS = {"od": 0.1, "temperature": 36.9, "ph": 7.0, "do": 90.0, "volume": 15.0}


@pytest.mark.parametrize(
    "event",
    [
        Measured(READINGS),
        Set("light", 40.0, 1000.0),
        Set("light", 400.0, 1000.0),
        Set("heater", 21.0, 15.0, by_controller=True),
        DoseAsked("media", 1.0),
        DoseAsked("media", 100.0),
        Tick(),
        MakeSafe(),
    ],
)
def test_a_decision_takes_50_microseconds(event: Event) -> None:
    state = initial(EQUIPMENT, 0.0)
    for before in (
        Measured(READINGS),
        Set("stirring", 600.0),
        Set("temperature-setpoint", 37.0),
        Set("light", 50.0, 1000.0),
        Tick(),
        DoseAsked("waste", 5.0),
    ):
        state = decide(EQUIPMENT, state, before, state.now + 1.0).state
    now = state.now + 1.0
    times = timeit.repeat(lambda: decide(EQUIPMENT, state, event, now), number=20, repeat=100)
    assert min(times) / 20 <= 50e-6
