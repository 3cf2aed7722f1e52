import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hardware.clock import ManualClock
from hardware.simulation.actuators import Actuators, Outputs
from hardware.simulation.actuators import load as load_outputs
from hardware.simulation.culture import Culture, Plant, inoculated
from hardware.simulation.memory import Saved, load, save
from hardware.simulation.organism import Medium, Organism
from hardware.simulation.vial import SimulatedVial
from hardware.simulation.wear import Wear

AT = datetime(2026, 2, 17, 14, 26, tzinfo=UTC)
CULTURE = replace(inoculated(Organism(), Medium(), Plant(), 15.0), temperature=37.0, biomass=0.2)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "below" / "culture.json"
    saved = Saved(CULTURE, Wear({"media": 12.5}, {"ph": 0.01}), AT)
    save(path, saved)
    assert load(path) == saved
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
    save(path, Saved(CULTURE, Wear(), AT))
    data = json.loads(path.read_text())
    data["culture"]["volume"] = float("nan")
    path.write_text(json.dumps(data))
    assert load(path) is None


async def left_on(path: Path) -> Culture:
    """Return the culture of a vial that was left at 14:36, with its outputs on."""
    clock = ManualClock(AT)
    async with SimulatedVial(clock, seed=1, state_file=path, culture=CULTURE) as vial:
        await vial.write("heater", 25.0)
        await vial.write("stirring", 700.0)
        await clock.advance(600.0)
        return vial.culture


async def test_the_culture_goes_on_with_its_outputs_until_they_are_switched_off(
    tmp_path: Path,
) -> None:
    path, outputs = tmp_path / "culture.json", tmp_path / "outputs.json"
    await left_on(path)
    assert load_outputs(outputs) == Outputs(duty=25.0, stirring=700.0)
    async with SimulatedVial(ManualClock(AT + timedelta(hours=3)), seed=1, state_file=path) as vial:
        assert vial.culture.temperature == pytest.approx(23.25 + 0.6 * 25, abs=0.5)
    assert load_outputs(outputs) == Outputs(off_since=AT + timedelta(hours=3))


async def test_outputs_of_before_a_reboot_are_off(tmp_path: Path) -> None:
    path, outputs = tmp_path / "culture.json", tmp_path / "outputs.json"
    await left_on(path)
    data = json.loads(outputs.read_text())
    outputs.write_text(json.dumps({**data, "boot": "another"}))
    assert load_outputs(outputs) is None
    async with SimulatedVial(ManualClock(AT + timedelta(hours=3)), seed=1, state_file=path) as vial:
        assert vial.culture.temperature == pytest.approx(23.25, abs=0.2)


async def test_the_culture_goes_on_with_actuators_off_while_nobody_looks(tmp_path: Path) -> None:
    path = tmp_path / "culture.json"
    left = await left_on(path)
    actuators = Actuators(path.with_name("outputs.json"))
    actuators.write(Outputs(duty=25.0, stirring=700.0, off_since=AT + timedelta(seconds=602)))
    actuators.close()
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
