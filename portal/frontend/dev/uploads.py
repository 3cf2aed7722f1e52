# ruff: noqa: INP001 - run by its path or with -m, no package
"""What the sample laboratories say of sample uploads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from broker.messages import (
    Checked,
    Error,
    ErrorCode,
    ParameterInfo,
    Prospect,
    ScriptInfo,
    ScriptProblem,
    StartForecast,
)
from portal.examples import Example
from portal.frontend.dev import records
from portal.upload_form import Upload

EXAMPLES: Final = (
    Example(
        "growth_curve", "Growth curve", "Keep 37 °C, stir, and watch the culture grow to its end.",
        records.SCRIPT,
    ),
    Example(
        "turbidostat", "Turbidostat", "Hold the optical density at a target by replacing medium.",
        records.SCRIPT,
    ),
    Example(
        "chemostat", "Chemostat", "Feed at a constant dilution rate and settle in a steady state.",
        records.SCRIPT,
    ),
    Example(
        "temperature_profile", "Temperature profile",
        "Go through a list of temperatures, each for a while.", records.SCRIPT,
    ),
)  # fmt: skip
PROBLEMS: Final = (
    ScriptProblem(
        severity="error", line=9, column=8,
        error=Error(
            code=ErrorCode.SCRIPT_IMPORT, message="line 9: the package requests is not allowed",
            hint="Allowed are: numpy, scipy, pandas, matplotlib, sklearn, PIL, simple_pid.",
        ),
    ),
    ScriptProblem(
        severity="warning", line=5,
        error=Error(
            code=ErrorCode.SCRIPT_METADATA, message="line 5: max_duration is not declared",
            hint="Without it nobody knows when the next one starts.",
        ),
    ),
)  # fmt: skip
PARAMETERS: Final = (
    ParameterInfo(
        name="target_od", default=0.4, unit="OD600", description="Where to hold the culture",
        minimum=0.05, maximum=3,
    ),
    ParameterInfo(name="dose_ml", default=1.0, unit="mL", description="One replacement"),
    ParameterInfo(name="medium", default="LB", choices=("LB", "M9 + glucose", "TB")),
    ParameterInfo(name="stop_at_night", default=False, description="Pause from 20 to 6 h"),
    ParameterInfo(name="strain", default="E. coli MG1655"),
)  # fmt: skip
LIMIT: Final = Error(
    code=ErrorCode.USER_LIMIT,
    message="you have 5 unfinished experiments, at most 5 may be queued, running or paused",
    hint="wait until one is over or cancel one, then submit again",
)
AWAY: Final = Error(
    code=ErrorCode.UNAVAILABLE, message="the hub does not answer since 2026-11-24 11:37:00 UTC",
    hint="running experiments go on and keep their data; try again when it is back",
)  # fmt: skip


@dataclass
class Found:
    """What is said of an upload."""

    checked: Checked | None = None
    errors: dict[str, Error] = field(default_factory=dict)
    problems: Sequence[ScriptProblem] = ()


def check(script: str) -> Checked:
    """Answer as the hub would."""
    bad = "requests" in script
    soon = records.NOW + timedelta(hours=2)
    return Checked(
        ok=not bad,
        problems=PROBLEMS[0 if bad else 1 :],
        script=ScriptInfo(
            name="Turbidostat at 37 °C",
            duration=36000,
            max_duration=86400,
            parameters=PARAMETERS,
        ),
        suitable_nodes=() if bad else ("reactor-1", "reactor-2"),
        unsuitable_nodes={"reactor-3": "it does not have co2"},
        prospect=None
        if bad
        else Prospect(
            queue_position=3,
            forecast=StartForecast(
                earliest=soon - timedelta(hours=1), likely=soon,
                latest=soon + timedelta(hours=3), basis="declared",
            ),
        ),
    )  # fmt: skip


def found(upload: Upload, query: Mapping[str, Sequence[str]]) -> Found:
    """Return what a check of an upload finds in the laboratory that a page shows."""
    match query.get("state", ["busy"])[0]:
        case "hub-offline":
            return Found(errors={"check": AWAY})
        case "quota":
            checked = check("").model_copy(update={"prospect": Prospect(refusal=LIMIT)})
        case _:
            checked = check(upload.script)
    return Found(checked, {}, checked.problems)


def given(state: str) -> tuple[Upload, Found]:
    """Return what the form shows in a state of the laboratory."""
    parameters = {"target_od": "lots", "dose_ml": "1.5"}
    bad = records.SCRIPT.replace("reactor\n\n", "reactor\nimport requests\n\n", 1)
    match state:
        case "errors":
            checked = check(bad)
            errors = {
                "form": LIMIT,
                "param.target_od": Error(
                    code=ErrorCode.SCRIPT_PARAMETERS, message="a number is wanted"
                ),
            }
            return (
                Upload(bad, name="Turbidostat", filename="turbidostat.py", parameters=parameters),
                Found(checked, errors, checked.problems),
            )
        case "again":
            checked = check("")
            given_again = Upload(
                records.SCRIPT, name="Turbidostat", parameters={"dose_ml": "1.5"}, again="0" * 26
            )
            return given_again, Found(checked, {}, checked.problems)
        case "hub-offline":
            return Upload(records.SCRIPT, name="Turbidostat"), Found(errors={"check": AWAY})
        case "quota":
            checked = check("").model_copy(update={"prospect": Prospect(refusal=LIMIT)})
            return Upload(records.SCRIPT), Found(checked, {}, checked.problems)
        case _:
            return Upload(), Found()
