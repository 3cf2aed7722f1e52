import json
from typing import Any

import pytest

from broker import asyncapi
from broker.messages import ADMIN_REQUESTS, REQUESTS, ErrorCode
from broker.topics import SPECS, Topic


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(asyncapi.render())
    return loaded


def test_the_committed_document_is_fresh() -> None:
    assert asyncapi.DESTINATION.read_bytes() == asyncapi.render(), (
        "the contract changed: run `python -m broker.asyncapi`, and raise VERSION in "
        "broker/asyncapi.py if something that was valid no longer is"
    )


def test_every_topic_is_documented(document: dict[str, Any]) -> None:
    assert document["channels"].keys() == {topic.name for topic in Topic} == {t.name for t in SPECS}
    for topic in Topic:
        channel = document["channels"][topic.name]
        assert channel["address"] == topic.value
        assert len(channel["description"]) > 10
        assert channel["messages"]
        for level in channel.get("parameters", {}).values():
            assert level["description"]


def test_every_verb_is_documented(document: dict[str, Any]) -> None:
    for topic, verbs in (("HUB_REQUEST", REQUESTS), ("HUB_ADMIN", ADMIN_REQUESTS)):
        channel = document["channels"][topic]
        assert channel["x-verbs"].keys() == set(channel["parameters"]["verb"]["enum"]) == set(verbs)


def test_every_error_code_is_documented(document: dict[str, Any]) -> None:
    documented = {
        entry["const"]: entry["description"]
        for entry in document["components"]["schemas"]["ErrorCode"]["oneOf"]
    }
    assert documented.keys() == set(ErrorCode)
    assert all(text.endswith(".") for text in documented.values())
    assert len(set(documented.values())) == len(documented)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = list(references(document))
    assert len(found) > 100
    for reference in found:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_every_message_has_a_summary(document: dict[str, Any]) -> None:
    for name, message in document["components"]["messages"].items():
        assert len(message["summary"]) > 10, name


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for inner in value.values() for ref in references(inner)]
    if isinstance(value, list):
        return [ref for inner in value for ref in references(inner)]
    return []
