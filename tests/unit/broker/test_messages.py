import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from broker.asyncapi import PAYLOADS
from broker.messages import (
    ADMIN_REQUESTS,
    MAX_PAYLOAD_BYTES,
    RECORD,
    REQUESTS,
    Assignment,
    ContractError,
    ErrorCode,
    Experiment,
    FileChunk,
    Payload,
    Plain,
    Queue,
    Record,
    Reply,
    ServiceStatus,
    Submit,
    Telemetry,
    decode,
)

MODELS = sorted(
    {*PAYLOADS.values(), *REQUESTS.values(), *ADMIN_REQUESTS.values()}, key=lambda m: m.__name__
)
HUBS_OWN = {Assignment, Experiment, Queue, Reply}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(model=st.sampled_from(MODELS), payload=st.binary(max_size=300))
def test_bytes_are_parsed_or_refused_with_a_typed_error(
    model: type[Payload], payload: bytes
) -> None:
    check(model, payload)


@given(model=st.sampled_from(MODELS), value=JSON, data=st.data())
def test_json_is_parsed_or_refused_with_a_typed_error(
    model: type[Payload], value: object, data: st.DataObject
) -> None:
    fields = st.dictionaries(st.sampled_from([*model.model_fields, "other"]), JSON, max_size=4)
    for candidate in (value, data.draw(fields)):
        check(model, json.dumps(candidate).encode())


def unbounded(schema: object, path: str = "") -> Iterator[str]:
    """Yield where a schema takes integers of any size."""
    if isinstance(schema, list):
        for item in schema:
            yield from unbounded(item, path)
    elif isinstance(schema, dict):
        if schema.get("type") == "integer" and not {"maximum", "exclusiveMaximum"} & schema.keys():
            yield path
        for key, value in schema.items():
            yield from unbounded(value, f"{path}/{key}")


@pytest.mark.parametrize("model", [*(m for m in MODELS if m not in HUBS_OWN), FileChunk, RECORD])
def test_no_integer_is_larger_than_every_parser_carries(
    model: type[Payload] | TypeAdapter[Record],
) -> None:
    """Nor than snapshot and database hold: one of them ended what it passed through."""
    whole = model.json_schema() if isinstance(model, TypeAdapter) else model.model_json_schema()
    assert list(unbounded(whole)) == []


def check(model: type[Payload], payload: bytes) -> None:
    try:
        parsed = decode(model, payload)
    except ContractError as refused:
        error = refused.error
    else:
        assert decode(model, parsed.encode()) == parsed
        return
    assert error.code is ErrorCode.MALFORMED
    assert error.message


def test_an_empty_payload_is_one_without_fields() -> None:
    assert decode(Plain, b"") == Plain()


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ContractError) as caught:
        decode(Submit, b'{"script": 3, "colour": "red"}')

    problems = caught.value.error.details["problems"]
    assert isinstance(problems, list)
    assert {problem["field"] for problem in problems if isinstance(problem, dict)} == {
        "script",
        "colour",
    }


def test_too_much_is_refused_unparsed() -> None:
    with pytest.raises(ContractError) as caught:
        decode(Submit, b"[" * (MAX_PAYLOAD_BYTES + 1))

    assert caught.value.error.code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    with pytest.raises(ContractError):
        decode(Telemetry, b'{"t": "2026-02-17T14:26:01Z", "values": {"od": %s}}' % number.encode())


def test_numbers_that_are_none_are_never_sent() -> None:
    telemetry = Telemetry.model_construct(
        t=datetime(2026, 2, 17, tzinfo=UTC), values={"od": math.nan}, series={}
    )

    assert b"NaN" not in telemetry.encode()


def test_times_are_in_utc_and_carry_their_offset() -> None:
    status = {"state": "online", "version": "1", "boot_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}

    parsed = decode(
        ServiceStatus, json.dumps({**status, "since": "2026-02-17T15:26:01+01:00"}).encode()
    )
    assert b'"2026-02-17T14:26:01Z"' in parsed.encode()
    with pytest.raises(ContractError, match="offset"):
        decode(ServiceStatus, json.dumps({**status, "since": "2026-02-17T15:26:01"}).encode())


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01"])
def test_a_time_beyond_the_calendar_is_malformed(time: str) -> None:
    with pytest.raises(ContractError, match="the years are 1 to 9999") as refused:
        decode(Plain, json.dumps({"expires_at": time}).encode())
    assert refused.value.error.code is ErrorCode.MALFORMED
