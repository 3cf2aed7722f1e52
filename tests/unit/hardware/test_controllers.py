from hypothesis import given
from hypothesis import strategies as st

from hardware.controllers import Thermostat

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
