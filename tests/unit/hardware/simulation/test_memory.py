import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hardware.clock import ManualClock
from hardware.simulation.culture import Medium, Organism, Plant, inoculated
from hardware.simulation.memory import load, save
from hardware.simulation.vial import SimulatedVial

AT = datetime(2026, 2, 17, 14, 26, tzinfo=UTC)
CULTURE = replace(inoculated(Organism(), Medium(), Plant(), 15.0), temperature=37.0, biomass=0.2)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "below" / "culture.json"
    save(path, CULTURE, AT)
    assert load(path) == (CULTURE, AT)
    assert [p.name for p in path.parent.iterdir()] == ["culture.json"]


def test_nothing_was_saved(tmp_path: Path) -> None:
    assert load(tmp_path / "culture.json") is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema": 9}', '{"schema": 1}', '{"schema": 1, "culture": {"x": 1}}'],
)
def test_a_damaged_file_is_kept_beside(tmp_path: Path, text: str) -> None:
    path = tmp_path / "culture.json"
    path.write_text(text)
    assert load(path) is None
    assert not path.exists()
    assert (tmp_path / "culture.json.damaged").read_text() == text


def test_an_impossible_culture_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "culture.json"
    save(path, CULTURE, AT)
    data = json.loads(path.read_text())
    data["culture"]["volume"] = float("nan")
    path.write_text(json.dumps(data))
    assert load(path) is None


async def test_the_culture_goes_on_with_actuators_off_while_nobody_looks(tmp_path: Path) -> None:
    path = tmp_path / "culture.json"
    first = ManualClock(AT)
    async with SimulatedVial(first, seed=1, state_file=path, culture=CULTURE) as vial:
        await vial.write("heater", 25.0)
        await vial.write("stirring", 700.0)
        await first.advance(600.0)
        left = vial.culture
    assert left.biomass > CULTURE.biomass
    later = ManualClock(AT + timedelta(hours=3))
    async with SimulatedVial(later, seed=1, state_file=path) as vial:
        found = vial.culture
    assert found.temperature == pytest.approx(23.25, abs=0.2)  # it has cooled down
    assert left.biomass < found.biomass < 3 * left.biomass  # and grew, slowly, in the cold
    assert found.oxygen < left.oxygen


async def test_a_new_run_has_a_fresh_vial(tmp_path: Path) -> None:
    clock = ManualClock(AT)
    async with SimulatedVial(
        clock, seed=1, state_file=tmp_path / "culture.json", culture=CULTURE
    ) as vial:
        await vial.begin_run()
        assert vial.culture.biomass == inoculated(Organism(), Medium(), Plant(), 15.0).biomass
        assert vial.culture.temperature == pytest.approx(37.0)


async def test_a_disk_that_is_full_does_not_end_the_culture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "culture.json"
    path.with_name("culture.json.part").mkdir()  # nothing can be written there
    async with SimulatedVial(ManualClock(AT), seed=1, state_file=path) as vial:
        assert (await vial.read())["od"] is not None
    assert "could not be saved" in caplog.text
