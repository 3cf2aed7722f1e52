"""The reference is whole: each call, parameter, answer, error, topic; its examples hold."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from broker.connection import Connection
from broker.messages import ErrorCode
from broker.settings import BrokerSettings
from broker.topics import SPECS
from portal.app import create_app
from portal.contract import EYES
from portal.errors import HTTP_STATUS, MEANING
from portal.settings import PortalSettings

ROOT = Path(__file__).parents[3]
WEBSOCKET = (ROOT / "docs" / "reference" / "websocket.md").read_text("utf-8")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = PortalSettings(data_dir=tmp_path_factory.mktemp("portal"))
    app = create_app(settings, Connection(BrokerSettings(), client_id="reference"))
    return app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def check(document: dict[str, Any], schema: dict[str, Any], example: Any, where: str) -> None:
    whole = {**schema, "components": document["components"]}
    errors = [error.message for error in Draft202012Validator(whole).iter_errors(example)]
    assert not errors, f"{where}: {errors}"


def test_every_call_is_described(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert len(operation.get("description", "")) > 10, name
        assert operation["tags"], name
        if not name.split()[1].startswith(("/health", "/metrics")):
            assert {"4XX", "5XX"} <= operation["responses"].keys(), name


def test_every_parameter_has_a_meaning_and_an_example_that_holds(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            where = f"{name} {parameter['name']}"
            assert parameter.get("description"), where
            assert "example" in parameter, where
            check(document, parameter["schema"], parameter["example"], where)


def test_every_body_and_answer_has_an_example_that_holds(document: dict[str, Any]) -> None:
    shown = 0
    for name, operation in operations(document):
        for part in (operation.get("requestBody"), operation["responses"].get("200")):
            content = (part or {}).get("content", {}).get("application/json")
            if content is None:
                continue
            assert "example" in content, name
            check(document, content["schema"], content["example"], name)
            shown += 1
    assert shown > 30


def test_every_error_has_a_meaning_and_the_body_of_all(document: dict[str, Any]) -> None:
    assert MEANING.keys() == HTTP_STATUS.keys() == set(ErrorCode)
    told = document["components"]["schemas"]["ErrorCode"]["description"]
    assert all(f"`{code}` ({HTTP_STATUS[code].value})" in told for code in ErrorCode)
    for name, operation in operations(document):
        for status in {"4XX", "5XX"} & operation["responses"].keys():
            content = operation["responses"][status]["content"]["application/json"]
            for example in content["examples"].values():
                check(document, content["schema"], example["value"], f"{name} {status}")


def test_the_websockets_reference_names_what_may_be_watched_and_nothing_else() -> None:
    rows = {line.split("`")[1] for line in WEBSOCKET.splitlines() if line.startswith("| `")}
    topics = {topic.value for topic in SPECS}
    written = {row.replace("{id}", "{experiment}") for row in rows}
    assert {topic.value for topic in EYES} == written & topics
    for kind in ("link", "snapshot", "change", "telemetry", "console", "pong", "error"):
        assert kind in rows
