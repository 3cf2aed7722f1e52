import math
from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.simulation.culture import (
    OD_PER_GRAM,
    Culture,
    Drive,
    Plant,
    evaporation,
    inoculated,
    oxygen_saturation,
    oxygen_transfer,
    ph,
    step,
)
from hardware.simulation.organism import Medium, Organism, sourness, warmth

COLI, LB, VIAL = Organism(), Medium(), Plant()
WARM = Drive(duty=(37.0 - 23.25) / 0.6, stirring=700.0)


def live(culture: Culture, drive: Drive, hours: float, seconds: float = 5.0) -> Culture:
    for _ in range(round(hours * 3600 / seconds)):
        culture = step(culture, COLI, LB, VIAL, drive, seconds)
    return culture


def warm(**changes: float) -> Culture:
    fresh = inoculated(COLI, LB, VIAL, 15.0)
    return replace(fresh, **{"temperature": 37.0, "readiness": 1e6, **changes})


def od(culture: Culture) -> float:
    return culture.biomass * OD_PER_GRAM


def test_grows_as_fast_as_the_literature_says() -> None:
    """E. coli on glucose: 0.80 ± 0.03 1/h at its best temperature."""
    before = warm(temperature=38.5)
    drive = replace(WARM, duty=(38.5 - 23.25) / 0.6, stirring=800.0)
    after = live(before, drive, 1.0)
    rate = math.log(after.biomass / before.biomass)
    assert rate == pytest.approx(0.78, abs=0.04)


def test_has_a_lag_first() -> None:
    fresh = replace(inoculated(COLI, LB, VIAL, 15.0), temperature=37.0)
    after = live(fresh, WARM, 2.0)
    late = live(warm(), WARM, 2.0)
    lag = math.log(late.biomass / after.biomass) / 0.77
    assert lag == pytest.approx(COLI.lag / COLI.growth, abs=0.25)


def test_reaches_a_turbidostats_density_within_hours() -> None:
    fresh = inoculated(COLI, LB, VIAL, 15.0)
    assert od(fresh) == pytest.approx(0.05)
    assert od(live(fresh, WARM, 4.5)) > 0.5


def test_ends_when_the_sugar_is_gone() -> None:
    dense = warm(biomass=1.0, glucose=1.0)
    after = live(dense, replace(WARM, stirring=1000.0), 2.5)
    assert after.glucose < 0.01
    assert after.biomass - dense.biomass == pytest.approx(0.5 * 1.0, abs=0.15)
    assert live(after, WARM, 24.0).biomass < after.biomass


def test_acid_is_made_as_derived() -> None:
    """A fall of 0.17 pH for 1 g/L on 57 mmol/L per pH of phosphate, by ammonium uptake alone."""
    before, culture = warm(biomass=0.1), warm(biomass=0.1)
    for _ in range(3 * 720):
        culture = step(
            culture, replace(COLI, product=None), LB, VIAL, replace(WARM, stirring=1000.0), 5.0
        )
    change = (culture.acidity - before.acidity) / LB.buffer
    assert change / (culture.biomass - before.biomass) == pytest.approx(0.17, abs=0.02)


def test_overflow_and_carbon_dioxide_make_it_sourer() -> None:
    before = warm(biomass=0.1)
    after = live(before, replace(WARM, stirring=1000.0), 3.0)
    by_ammonium = 0.17 * (after.biomass - before.biomass)
    assert 1.3 * by_ammonium < ph(before, LB) - ph(after, LB) < 3.0 * by_ammonium


def test_acid_and_base_move_the_ph() -> None:
    sour = live(warm(), replace(WARM, acid=0.1), 10 / 3600)
    basic = live(warm(), replace(WARM, base=0.1), 10 / 3600)
    assert ph(sour, LB) == pytest.approx(7.2 - 1.0 * 0.1 * 1000 / 16 / 57, abs=0.01)
    assert ph(basic, LB) > 7.2


def test_oxygen_runs_short_without_stirring() -> None:
    still = live(warm(biomass=0.235), replace(WARM, stirring=0.0), 0.5)
    stirred = live(warm(biomass=0.235), replace(WARM, stirring=1000.0), 0.5)
    assert still.oxygen < 0.1 * oxygen_saturation(37.0)
    assert stirred.oxygen > 0.3 * oxygen_saturation(37.0)
    assert stirred.biomass > still.biomass


@pytest.mark.parametrize(("celsius", "saturation"), [(20, 9.09), (25, 8.26), (30, 7.56), (35, 6.9)])
def test_oxygen_saturation_is_that_of_the_tables(celsius: float, saturation: float) -> None:
    assert oxygen_saturation(celsius) == pytest.approx(saturation, abs=0.1)


def test_transfer_is_that_of_stirred_vials() -> None:
    assert 4 <= oxygen_transfer(VIAL, 0.0) <= 12
    assert 10 <= oxygen_transfer(VIAL, 400.0) <= 50
    assert oxygen_transfer(VIAL, 800.0) == pytest.approx(50)


def test_cardinal_values() -> None:
    assert warmth(COLI, COLI.best) == pytest.approx(1.0)
    assert warmth(COLI, 37.0) > warmth(COLI, 30.0) > warmth(COLI, 23.0) > 0.0
    assert warmth(COLI, 46.0) == warmth(COLI, 8.0) == 0.0
    assert sourness(COLI, 7.0) == pytest.approx(1.0)
    assert sourness(COLI, 4.4) == sourness(COLI, 9.5) == 0.0


def test_evaporation_is_as_derived() -> None:
    """0.1 L/min of dry gas takes 6 mL a day at 37 °C."""
    assert evaporation(replace(VIAL, gas=0.1), 37.0) * 86400 == pytest.approx(6.3, abs=0.4)


def test_the_straw_sets_the_level_and_the_vial_spills() -> None:
    assert live(warm(), replace(WARM, waste=1.0), 60 / 3600).volume == pytest.approx(14.0, abs=0.01)
    assert live(warm(volume=10.0), replace(WARM, waste=1.0), 0.1).volume == pytest.approx(
        10, abs=0.1
    )
    assert live(warm(), replace(WARM, media=1.0), 60 / 3600).volume == 20.0


def test_dilution_is_exact_enough() -> None:
    before = replace(warm(biomass=1.0), temperature=5.0)
    after = live(before, Drive(media=0.5), 4 / 3600, 1.0)
    assert after.volume == pytest.approx(17.0, abs=0.001)
    assert after.biomass == pytest.approx(1.0 * 15 / 17, rel=0.005)
    assert after.glucose == pytest.approx(5.0, rel=0.01)


def test_heat_settles_where_gain_and_loss_balance() -> None:
    hot = live(warm(biomass=0.0), Drive(duty=10.0), 2.0)
    assert hot.temperature == pytest.approx(23.25 + 6.0, abs=0.05)
    assert live(hot, Drive(), 2.0).temperature == pytest.approx(23.25, abs=0.05)


@pytest.mark.parametrize("seconds", [1.0, 30.0, 60.0])
def test_the_length_of_a_step_hardly_matters(seconds: float) -> None:
    """Whatever the speed, it is the same culture."""
    fresh = replace(inoculated(COLI, LB, VIAL, 15.0), temperature=37.0)
    reference, other = live(fresh, WARM, 5.0), live(fresh, WARM, 5.0, seconds)
    assert astuple(other)[:6] == pytest.approx(astuple(reference)[:6], rel=0.03)


def test_a_vial_that_is_forgotten_dries_up_and_no_more() -> None:
    culture = live(warm(), Drive(), 3 * 365 * 24.0, 3600.0)
    assert 0.5 < culture.volume <= 1.0
    assert all(math.isfinite(value) for value in astuple(culture))


drives = st.builds(
    Drive,
    duty=st.floats(0, 100),
    stirring=st.floats(0, 2000),
    light=st.floats(0, 100),
    media=st.sampled_from([0.0, 0.5]),
    waste=st.sampled_from([0.0, 1.0]),
    acid=st.sampled_from([0.0, 0.1]),
    base=st.sampled_from([0.0, 0.1]),
)


@given(
    st.lists(st.tuples(drives, st.floats(0.001, 60)), min_size=1, max_size=60),
    st.floats(0, 5),
    st.floats(0, 10),
)
def test_nothing_drives_it_out_of_nature(
    steps: list[tuple[Drive, float]], biomass: float, glucose: float
) -> None:
    culture = warm(biomass=biomass, glucose=glucose)
    for drive, seconds in steps:
        culture = step(culture, COLI, LB, VIAL, drive, seconds)
        assert all(math.isfinite(value) for value in astuple(culture))
        assert 0 < culture.volume <= VIAL.capacity
        assert culture.biomass >= 0
        assert culture.glucose >= 0
        assert 0 <= culture.oxygen <= 15
        assert 0 < ph(culture, LB) < 14
        assert 0 < culture.temperature < 100
