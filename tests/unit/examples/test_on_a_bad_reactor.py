"""The examples that feed or light a culture, before a reactor that does not do as it is told."""

import math
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bioreactor
from bioreactor import reactor

EXAMPLES = Path(__file__).parents[3] / "examples"
STRAW = 14.0


@dataclass
class Vial:
    """A vessel with a straw, and what a script does to it; `fails` says what becomes of a dose."""

    minutes: int = 600
    od: Callable[[int], float] = lambda _minute: 1.0
    fails: Callable[["Vial", str, float], float] = lambda _vial, _pump, ml: ml
    volume: float = STRAW
    highest: float = STRAW
    minute: int = 0
    doses: list[tuple[int, str, float]] = field(default_factory=list)
    lit: list[tuple[float, float]] = field(default_factory=list)
    saved: dict[str, Any] = field(default_factory=dict)
    ended: object = None

    def read(self, name: str) -> float:
        if name == "media":
            return sum(ml for _, pump, ml in self.doses if pump == "media")
        return self.od(self.minute) if name == "od" else self.volume

    def dose(self, pump: str, ml: float) -> reactor.Dose:
        delivered = self.fails(self, pump, ml)
        self.moved(pump, delivered)
        return reactor.Dose(ml, delivered, 1.0)

    def set(self, name: str, _value: float, seconds: float = math.inf) -> None:
        if name == "light":
            self.lit.append((self.minute * 60.0, self.minute * 60.0 + seconds))

    def moved(self, pump: str, ml: float) -> None:
        self.doses.append((self.minute, pump, ml))
        if pump == "media":
            self.volume += ml
        else:
            self.volume = max(self.volume - ml, min(self.volume, STRAW))
        self.highest = max(self.highest, self.volume)

    def every(self, *, seconds: float, duration: float) -> Iterator[float]:
        del duration
        while self.minute < self.minutes:
            yield self.minute * 60.0
            self.minute += int(seconds / 60)

    def fed(self) -> list[float]:
        return [ml for _, pump, ml in self.doses if pump == "media"]

    def save(self, _name: str, content: dict[str, Any]) -> None:
        self.saved = content


def run(monkeypatch: pytest.MonkeyPatch, script: str, vial: Vial, **parameters: float) -> Vial:
    mine = {n: getattr(reactor, n) for n in dir(reactor) if not n.startswith("_")}
    mine |= {"read": vial.read, "dose": vial.dose, "set": vial.set}
    experiment = SimpleNamespace(
        parameters={"temperature": 37, "hours": vial.minutes / 60, **parameters},
        every=vial.every,
        record=lambda **_: None,
        log=lambda *_, **__: None,
        save=vial.save,
    )
    monkeypatch.setattr(bioreactor, "reactor", SimpleNamespace(**mine), raising=False)
    monkeypatch.setattr(bioreactor, "experiment", experiment, raising=False)
    try:
        runpy.run_path(str(EXAMPLES / script))
    except SystemExit as ended:
        vial.ended = ended.code
    return vial


def chemostat(monkeypatch: pytest.MonkeyPatch, vial: Vial, rate: float = 0.3) -> Vial:
    return run(monkeypatch, "chemostat.py", vial, dilution_rate=rate, start_od=0.1)


def turbidostat(monkeypatch: pytest.MonkeyPatch, vial: Vial) -> Vial:
    return run(monkeypatch, "turbidostat.py", vial, target_od=0.5, dose=1.0)


BOTH = pytest.mark.parametrize("script", [chemostat, turbidostat])


def falling(minute: int) -> float:
    return 0.52 if minute % 10 < 5 else 0.48


def half_the_waste(_: Vial, pump: str, ml: float) -> float:
    return ml / 2 if pump == "waste" else ml


@BOTH
def test_no_medium_comes_for_which_no_culture_went(
    monkeypatch: pytest.MonkeyPatch, script: Callable[..., Vial]
) -> None:
    """A pause cuts off what is under way: it says how much went."""
    vial = script(monkeypatch, Vial(od=falling, fails=half_the_waste, minutes=50))
    assert [pump for _, pump, _ in vial.doses if pump == "media"] == []
    assert any(pump == "waste" for _, pump, _ in vial.doses)
    assert vial.highest == STRAW


@BOTH
def test_a_dose_that_was_under_way_when_the_node_died_has_come(
    monkeypatch: pytest.MonkeyPatch, script: Callable[..., Vial]
) -> None:
    def cut_off(vial: Vial, pump: str, ml: float) -> float:
        if pump == "media" and len(vial.fed()) == 2:
            vial.moved(pump, ml)
            details = {"delivered_ml": ml}
            raise reactor.OutputsReset("restarted", details=details)
        return ml

    def fed(fails: Callable[[Vial, str, float], float]) -> float:
        return sum(script(monkeypatch, Vial(od=falling, fails=fails, minutes=100)).fed())

    assert fed(cut_off) == pytest.approx(fed(Vial.fails))


@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0])
def test_a_chemostat_feeds_at_its_rate_in_doses_that_pumps_can_give(
    monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    vial = chemostat(monkeypatch, Vial(), rate)
    assert vial.ended is None
    assert sum(vial.fed()) == pytest.approx(rate * STRAW * 10, rel=0.12, abs=0.6)
    assert min(ml for _, _, ml in vial.doses) >= 0.5


def test_a_chemostat_makes_up_for_what_it_missed_little_by_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(vial: Vial, pump: str, ml: float) -> float:
        if 100 < vial.minute < 150:
            raise reactor.InterlockError("doubted")
        if ml > 5.0:
            raise reactor.DoseLimitError(f"{pump}: too much")
        return ml

    vial = chemostat(monkeypatch, Vial(fails=away), 1.0)
    assert max(vial.fed()) <= 3.0
    assert sum(ml for minute, pump, ml in vial.doses if pump == "media" and minute > 150) > 80


def test_a_chemostat_that_cannot_feed_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(vial: Vial, pump: str, ml: float) -> float:
        if vial.minute > 100:
            raise reactor.DoseLimitError(f"{pump}: {ml}")
        return ml

    vial = chemostat(monkeypatch, Vial(fails=empty))
    assert "nothing could be fed for an hour" in str(vial.ended)
    assert vial.saved["medium_ml"] > 0
    assert vial.minute < 200


def test_a_silent_sensor_feeds_no_turbidostat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with what it said last, either."""
    vial = turbidostat(monkeypatch, Vial(od=lambda minute: 0.6 if minute < 5 else math.nan))
    assert {minute for minute, _, _ in vial.doses} <= {4}
    assert vial.ended is None


def test_a_silent_sensor_breaks_no_chemostat(monkeypatch: pytest.MonkeyPatch) -> None:
    vial = Vial(od=lambda minute: math.nan if minute > 30 else 1.0)
    volume, read = iter([STRAW, math.nan] * 1000), vial.read
    monkeypatch.setattr(
        vial, "read", lambda name: next(volume) if name == "volume" else read(name), raising=True
    )
    chemostat(monkeypatch, vial)
    assert (vial.ended, vial.saved["final_od"]) == (None, 1.0)
    assert sum(vial.fed()) == pytest.approx(0.3 * STRAW * 10, abs=0.2 * STRAW)


def test_a_sensor_that_is_stuck_washes_no_culture_out(monkeypatch: pytest.MonkeyPatch) -> None:
    vial = turbidostat(monkeypatch, Vial(od=lambda minute: 0.6 + 0.01 * (minute % 3)))
    assert "does not fall" in str(vial.ended)
    assert sum(vial.fed()) < 1.2 * STRAW


def test_a_dense_culture_is_diluted_to_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    def od(_: int) -> float:
        culture = 5.0
        for ml in vial.fed():
            culture *= STRAW / (STRAW + ml)
        return culture

    vial = Vial()
    vial.od = od
    assert turbidostat(monkeypatch, vial).ended is None
    assert od(0) == pytest.approx(0.45, abs=0.06)


def test_the_light_goes_off_in_time_for_the_dark(monkeypatch: pytest.MonkeyPatch) -> None:
    numpy = SimpleNamespace(log=math.log, transpose=lambda p: zip(*p, strict=True))
    numpy.polyfit = lambda *_: [0.0]  # what is made of the density does not matter here
    monkeypatch.setitem(sys.modules, "numpy", numpy)  # it is in the image, not in the tests
    vial = Vial(minutes=60)
    run(
        monkeypatch, "light_dark_cycle.py", vial, level=80, light_hours=1 / 40, dark_hours=1 / 24
    )  # 90 s of each four minutes
    assert {(begun % 240, end % 240) for begun, end in vial.lit} == {(0, 75), (60, 90)}
