import statistics

import pytest

from hardware.simulation.wear import Ageing, Wear

PUMPS = ("media", "waste")


def test_most_pieces_are_as_calibrated_and_a_few_have_a_bubble() -> None:
    ageing = Ageing(3, PUMPS)
    flows = [ageing.flow(Wear(), "media") for _ in range(6000)]
    usual = statistics.median(flows)
    assert usual == pytest.approx(1.0, abs=0.04)
    bubbles = [flow for flow in flows if flow < 0.95 * usual]
    assert len(bubbles) / len(flows) == pytest.approx(1 / 300, rel=0.6)
    assert min(bubbles) >= 0.5 * usual


def test_a_tube_wears_with_what_it_moved_until_it_is_worn_out() -> None:
    def usual(litres: float) -> float:
        ageing, worn = Ageing(3, PUMPS), Wear().moved("media", 1000.0 * litres)
        return statistics.median(ageing.flow(worn, "media") for _ in range(9))

    assert usual(5.0) == pytest.approx(0.9 * usual(0.0))
    assert usual(100.0) == pytest.approx(0.7 * usual(0.0))


def test_what_one_pump_moved_does_not_wear_another() -> None:
    worn = Wear().moved("media", 1.5).moved("media", 2.0).moved("waste", 1.0)
    assert worn.pumped == {"media": 3.5, "waste": 1.0}


def test_probes_drift_as_far_as_they_are_known_to() -> None:
    ends = []
    for seed in range(40):
        ageing, wear = Ageing(seed, PUMPS), Wear()
        wear = ageing.drift(wear, 40 * 3600.0)
        ends.append(wear.drift)
    # After one time constant, sqrt(1 - exp(-2)) of what they reach in the end.
    assert statistics.pstdev(end["od"] for end in ends) == pytest.approx(0.0186, rel=0.35)
    assert 0.005 < statistics.pstdev(end["ph"] for end in ends) < 0.03


def test_it_does_not_matter_who_looks_when() -> None:
    once, often = Ageing(1, PUMPS), Ageing(1, PUMPS)
    wear = Wear()
    for _ in range(120):
        wear = often.drift(wear, 30.0)
    assert wear.drift == once.drift(Wear(), 3600.0).drift
