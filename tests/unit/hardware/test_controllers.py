from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import ErrorCode
from hardware.controllers import HeatControl, Thermostat, TitrationControl
from hardware.events import Measured, Rest, Scope, Set, Tick, refuse
from hardware.safety import State, decide, initial
from hardware.simulation.equipment import EQUIPMENT

temperatures = st.floats(-20, 110)


@given(
    st.lists(st.tuples(st.floats(0, 50), temperatures, st.floats(0, 10)), min_size=1, max_size=60)
)
def test_the_duty_stays_between_its_ends(steps: list[tuple[float, float, float]]) -> None:
    thermostat = Thermostat()
    for setpoint, temperature, seconds in steps:
        assert 0.0 <= thermostat.step(setpoint, temperature, seconds) <= 70.0


def test_the_integral_does_not_wind_up() -> None:
    """A vessel that takes an hour to warm up is not overheated afterwards."""
    patient, fresh = Thermostat(), Thermostat()
    for _ in range(720):
        assert patient.step(37.0, 20.0, 5.0) == 70.0
    assert patient.step(37.0, 36.9, 5.0) == fresh.step(37.0, 36.9, 5.0)


def test_the_integral_does_not_wind_down_either() -> None:
    patient, fresh = Thermostat(), Thermostat()
    for _ in range(720):
        assert patient.step(30.0, 37.0, 5.0) == 0.0
    assert patient.step(30.0, 29.0, 5.0) == fresh.step(30.0, 29.0, 5.0)


def test_a_lasting_error_is_worked_off() -> None:
    thermostat = Thermostat()
    first = thermostat.step(37.0, 36.5, 5.0)
    later = [thermostat.step(37.0, 36.5, 5.0) for _ in range(100)]
    assert later[-1] > first + 3.0
    thermostat.reset()
    assert thermostat.step(37.0, 36.5, 5.0) == first


def held_at(setpoint: float, value: float | None, now: float, *, read_at: float) -> State:
    """Return a simulated reactor with a pH and a setpoint."""
    state = decide(EQUIPMENT, initial(EQUIPMENT, 0.0), Set("ph-setpoint", setpoint), 0.0).state
    state = decide(EQUIPMENT, state, Measured({"ph": value}), read_at).state
    return decide(EQUIPMENT, state, Tick(), now).state


def titration() -> TitrationControl:
    return TitrationControl(EQUIPMENT, EQUIPMENT.titrations[0])


@pytest.mark.parametrize(
    ("ph", "order"),
    [
        (7.0, None),
        (7.04, None),  # within the band
        (6.9, ("base", 0.04)),
        (7.1, ("acid", 0.04)),
        (4.0, ("base", 0.10)),  # never more than five times one band's dose
        (None, None),
    ],
)
def test_acid_or_base_is_dosed_as_far_as_the_ph_is_off(
    ph: float | None, order: tuple[str, float] | None
) -> None:
    found = titration().follow(held_at(7.0, ph, 2.0, read_at=1.0), 2.0)
    if order is None or found is None:
        assert found is order
    else:
        assert found[0] == order[0]
        assert found[1] == pytest.approx(order[1])


def test_a_dose_is_given_time_to_mix() -> None:
    control, off = titration(), held_at(7.0, 6.5, 2.0, read_at=1.0)
    assert control.follow(off, 2.0) is not None
    assert control.follow(held_at(7.0, 6.5, 100.0, read_at=99.0), 100.0) is None
    assert control.follow(held_at(7.0, 6.5, 123.0, read_at=122.0), 123.0) is not None


def test_it_asks_for_no_more_than_its_pump_may_dose_at_a_time() -> None:
    rule = replace(EQUIPMENT.titrations[0], dose_ml=0.2)
    most = EQUIPMENT.channels["base"].info.limits.max_dose_ml
    order = TitrationControl(EQUIPMENT, rule).follow(held_at(7.0, 4.0, 2.0, read_at=1.0), 2.0)
    assert order == ("base", most)
    assert most is not None
    assert most < 5 * 0.2


def test_what_was_not_dosed_needs_no_time_to_mix_and_is_told_once() -> None:
    control = titration()
    spent = refuse(ErrorCode.LIMIT, "spent", limit="max_hourly_ml")
    told = []
    for now in (2.0, 7.0, 12.0):
        assert control.follow(held_at(7.0, 6.5, now, read_at=now - 1.0), now) is not None
        told.append(control.not_dosed("base", spent))
    assert told == [True, False, False]
    assert control.not_dosed("base", refuse(ErrorCode.INTERLOCK, "full", limit="vessel_high"))
    assert not control.not_dosed("base")  # stopped: nothing to tell
    control.dosed()
    assert control.not_dosed("base", spent)


def test_nothing_is_dosed_on_a_stale_value_or_while_it_is_off() -> None:
    assert titration().follow(held_at(7.0, 6.5, 100.0, read_at=1.0), 100.0) is None
    assert titration().follow(held_at(0.0, 6.5, 2.0, read_at=1.0), 2.0) is None


def test_nothing_winds_up_while_the_heater_rests() -> None:
    """What is commanded then does not heat, so that it stays too cold teaches nothing."""
    control = HeatControl(EQUIPMENT, Thermostat())

    def duty(scope: Scope | None, now: float) -> float:
        state = decide(EQUIPMENT, initial(EQUIPMENT, 0.0), Set("temperature-setpoint", 37.0), 0.0)
        state = decide(EQUIPMENT, state.state, Measured({"temperature": 36.8}), now)
        command = control.follow(decide(EQUIPMENT, state.state, Rest(scope), now).state, now)
        assert isinstance(command, Set)
        return command.value

    before = duty(None, 5.0)
    assert [duty("all", 5.0 * n) for n in range(2, 10)] == [before] * 8
    assert duty("direct", 50.0) > before
