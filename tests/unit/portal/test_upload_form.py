"""The upload form: what a parameter's text means, at both ends of the line."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from broker.messages import ParameterInfo
from hub_service.scripts.parameters import changed
from portal.sdk import Member, sdk
from portal.upload_form import Upload, texts_for

CASES: Final[list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("parameter_cases.json").read_text(encoding="utf-8")
)
"""The pages' own scripts are held to the same: `portal/frontend/test/parameters.test.js`."""
NAMED: Final = "parameter 'od': "
TARGET: Final = ParameterInfo(name="od", default=0.5, unit="OD600", minimum=0.05, maximum=4)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"] or "empty")
def test_portal_and_hub_say_what_the_browser_said(case: dict[str, Any]) -> None:
    text = case["text"].strip()
    given = Upload(parameters={"od": text} if text else {})
    values, errors = given.typed([TARGET])
    said = [error.message for error in errors.values()]
    if not said:
        values, problems = changed([TARGET], values)
        said = [
            f"{p.error.message.removeprefix(NAMED)}. {p.error.hint[:1].upper()}{p.error.hint[1:]}"
            for p in problems
        ]
    sentences = [f"{message[:1].upper()}{message[1:]}." for message in said]
    assert sentences == ([case["wrong"]] if "wrong" in case else [])
    if "value" in case:
        assert values == {"od": case["value"]}


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [
        (True, "off", False),
        (False, "true", True),
        (3, "4", 4),
        (3, "4.5", 4.5),
        ("K-12", "12", "12"),
    ],
)
def test_texts_become_what_the_default_is(default: Any, text: str, value: object) -> None:
    given = Upload(parameters={"x": text, "unknown": "1"})
    values, errors = given.typed([ParameterInfo(name="x", default=default)])
    assert (values, errors) == ({"x": value}, {})
    assert type(values["x"]) is type(value)
    again, errors = Upload(parameters=texts_for(values)).typed(
        [ParameterInfo(name="x", default=default)]
    )
    assert (again, errors) == (values, {})


def test_the_editor_knows_what_scripts_may_call() -> None:
    members: dict[str, dict[str, Member]] = {
        module.name: {member.name: member for member in module.members} for module in sdk()
    }
    dose = members["reactor"]["dose"]
    assert dose.signature == "(channel: str, *, ml: float) -> Dose"
    assert dose.arguments == ("ml",)
    assert "DoseLimitError" in dose.doc
    assert members["reactor"]["DoseLimitError"].doc
    assert members["experiment"]["parameters"].kind == "property"
    assert all(m.doc for module in members.values() for m in module.values())
    assert not any(name.startswith("_") for module in members.values() for name in module)
