"""What goes over the socket comes out as it went in, or is refused."""

import inspect
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_service.runner import wire
from node_service.runner.interface import (
    Attempt,
    ContainerStatus,
    Exit,
    Found,
    Leftover,
    Limits,
    LogChunk,
    Runner,
    RunnerError,
    RunnerInfo,
    RunSpec,
)

ATTEMPT = {"experiment_id": "01J0000000000000000000000A", "attempt": 1}
numbers = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(float, numbers)
st.register_type_strategy(datetime, st.datetimes(timezones=st.just(UTC)))
st.register_type_strategy(
    Attempt,
    st.builds(
        Attempt,
        st.from_regex(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", fullmatch=True),
        st.integers(1, 10**6),
    ),
)


@pytest.mark.parametrize(
    "kind", [Found, Exit, RunSpec, RunnerInfo, ContainerStatus, LogChunk, Leftover, Limits]
)
@given(data=st.data())
def test_all_values_come_through(kind: type, data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    through = wire.parse(wire.line({"result": value}))["result"]
    assert wire.decode(kind, through) == value


def test_every_method_of_a_runner_can_be_called() -> None:
    methods = {name for name, _ in inspect.getmembers(Runner, inspect.isfunction)}
    assert {call.value for call in wire.Call} == {m for m in methods if not m.startswith("_")}
    for call in wire.Call:
        kind = wire.signature(call)
        assert kind.items is (call is wire.Call.LOGS)
        assert kind.progress is (call is wire.Call.PREPARE)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Attempt, {"experiment_id": "../../../etc", "attempt": 1}),
        (Attempt, {**ATTEMPT, "attempt": 0}),
        (Attempt, {**ATTEMPT, "attempt": True}),
        (Attempt, {**ATTEMPT, "attempt": 1.5}),
        (Attempt, {**ATTEMPT, "more": 1}),
        (Attempt, {"attempt": 1}),
        (Attempt, []),
        (Limits, {"cpus": float("nan")}),
        (Limits, {"cpus": "1"}),
        (float, True),
        (str, None),
        (RunSpec, {"run": ATTEMPT, "image": "x", "limits": {"memory": None}}),
    ],
)
def test_what_is_not_of_the_interface_is_refused(kind: type, value: Any) -> None:
    with pytest.raises(ValueError, match=r"value|names no attempt"):
        wire.decode(kind, value)


def test_errors_keep_their_words() -> None:
    error = RunnerError("it is broken", "mend it", "STORAGE_FULL")
    again = wire.decode_error(wire.encode_error(error))
    assert (again.message, again.hint, again.code) == ("it is broken", "mend it", "STORAGE_FULL")
