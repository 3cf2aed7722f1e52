"""Each example runs, on a real gateway before the simulated reactor, and finds what is true."""

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from broker.messages import Parameters, SeriesRecord
from hub_service.scripts.metadata import parse
from hub_service.scripts.parameters import effective
from node_service.image.recipe import DEFAULT
from node_service.image.tree import INTERPRETER, PackageTrees
from tests.support.gateway import Ended, bench

pytestmark = pytest.mark.timeout(900)  # the first test waits for all of them
EXAMPLES = Path(__file__).parents[2] / "examples"
SPEED = 3000.0


async def _unheard(_: str) -> None:
    return


def parameters(script: str, given: Parameters) -> Parameters:
    """Return the script's own defaults, overridden, as the hub sends them to the node."""
    metadata, problems = parse(script)
    values, wrong = effective(metadata.info.parameters, given)
    assert not problems
    assert not wrong
    return values


RUNS: Mapping[str, tuple[str, Parameters]] = {
    "growth": ("growth_curve.py", {"hours": 5}),
    "held": ("turbidostat.py", {"hours": 6, "target_od": 0.4}),
    "fed": ("chemostat.py", {"hours": 6, "start_od": 0.1}),
    "washed out": ("chemostat.py", {"hours": 4, "start_od": 0, "dilution_rate": 1.0}),
    "warmed": ("temperature_profile.py", {"hours": 6, "steps": 3}),
    "documented": ("../docs/guides/write-an-experiment.md", {"target_od": 0.05}),
    "lit": ("light_dark_cycle.py", {"hours": 6, "light_hours": 1.5, "dark_hours": 1.5}),
}


@dataclass(frozen=True)
class Run:
    """What a finished example left behind."""

    ended: Ended
    saved: Path
    series: Sequence[SeriesRecord]
    alarms: frozenset[str]

    @property
    def summary(self) -> Any:
        assert self.ended.code == 0, self.ended.out + self.ended.err
        assert self.ended.err == ""
        return json.loads((self.saved / "summary.json").read_bytes())


def source(path: Path) -> str:
    """Return a script, or the first one in a page of the documentation."""
    text = path.read_text()
    if path.suffix == ".py":
        return text
    script, *_ = re.findall(r"^```python[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return str(script)


async def run(directory: Path, packages: Path, name: str, given: Parameters) -> Run:
    script = source(EXAMPLES / name)
    values = parameters(script, given)
    async with bench(directory, speed=SPEED, parameters=values, steady=True) as it:
        done = await it.run(script, python=str(INTERPRETER), packages=packages, seconds=800)
        series = [record for record in await it.records() if record.kind == "series"]
        alarms = frozenset(alarm.id for alarm in it.reactor.alarms)
    return Run(done, it.saves.saved, series, alarms)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Run]:
    """All examples, run side by side: they mostly wait."""
    directory = tmp_path_factory.mktemp("examples")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bioreactor"
    cache.mkdir(parents=True, exist_ok=True)

    async def all_of_them() -> Mapping[str, Run]:
        trees = PackageTrees(cache, {"standard": DEFAULT})
        packages = trees.tree(await trees.prepare("standard", _unheard)).packages
        done = await asyncio.gather(
            *(run(directory / key, packages, *what) for key, what in RUNS.items())
        )
        return dict(zip(RUNS, done, strict=True))

    return asyncio.run(all_of_them())


def test_growth_curve(runs: Mapping[str, Run]) -> None:
    growth = runs["growth"]
    assert growth.summary["growth_rate_per_hour"] == pytest.approx(0.77, abs=0.15)
    assert growth.summary["final_od"] > 0.8
    assert (growth.saved / "growth_curve.png").read_bytes().startswith(b"\x89PNG")
    table = (growth.saved / "growth_curve.csv").read_text().splitlines()
    assert table[0] == "hours,od,temperature,do,growth_rate"
    assert len(table) > 150


def test_turbidostat(runs: Mapping[str, Run]) -> None:
    held = runs["held"]
    assert held.summary["mean_od"] == pytest.approx(0.4, abs=0.04)
    assert {name for record in held.series for name in record.values} == {
        "od_median", "dilution_rate",
    }  # fmt: skip
    # Doses are counted over an hour, where one more or less is 0.07: so their mean over two.
    rates = [record.values["dilution_rate"] or 0 for record in held.series[-120:]]
    assert mean(rates) == pytest.approx(0.75, abs=0.15)
    assert not held.alarms


def test_chemostat(runs: Mapping[str, Run]) -> None:
    fed = runs["fed"]
    assert fed.summary["medium_ml"] == pytest.approx(0.3 * 14 * 4.5, rel=0.3)
    assert not fed.alarms


def test_a_chemostat_that_is_too_fast_washes_out(runs: Mapping[str, Run]) -> None:
    assert runs["washed out"].summary["final_od"] < 0.04


def test_temperature_profile(runs: Mapping[str, Run]) -> None:
    profile = runs["warmed"].summary["profile"]
    rates = [step["growth_rate_per_hour"] for step in profile]
    assert rates == sorted(rates)
    temperatures = [step["temperature"] for step in profile]
    assert temperatures == pytest.approx([28, 32.5, 37], abs=0.3)


def test_light_dark_cycle(runs: Mapping[str, Run]) -> None:
    light, dark = (runs["lit"].summary[f"growth_rates_{name}"] for name in ("light", "dark"))
    assert len(dark) == 2
    assert len(light) in {2, 3}  # the last phase is just as long as the run
    assert mean(light[1:]) < mean(dark)  # after the lag


def test_the_script_in_the_documentation(runs: Mapping[str, Run]) -> None:
    documented = runs["documented"]
    assert documented.summary["rounds"] == 31
    assert {name for record in documented.series for name in record.values} == {"od_mean"}
