"""What the gateway says of itself in OpenAPI is what it does: every call, well and wrongly made."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tests.unit.node_service.conftest import Gate

README = Path(__file__).parents[3] / "node_service" / "README.md"
MISSING = object()
WRONG: tuple[object, ...] = (
    MISSING, None, True, -1, 0, 1e308, float("nan"), float("-inf"), "", "x", "1", "a\nb", "x" * 500,
    [], [1], {}, {"a": 1}, {"a": "b"}, {"": 1}, {"a\n": 1},
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One way to make a call: `template` as the document names it, `path` as it is made."""

    method: str
    template: str
    path: str
    body: Mapping[str, Any] | None = None
    content: bytes | None = None

    async def make(self, gate: Gate) -> httpx.Response:
        content = self.content
        if self.body is not None:
            content = json.dumps(self.body).encode()
        return await gate.client.request(self.method, self.path, content=content)


CALLS = (
    Call("get", "/v1/experiment", "/experiment"),
    Call("get", "/v1/clock", "/clock"),
    Call("get", "/v1/channels", "/channels"),
    Call("get", "/v1/channels/{name}", "/channels/od"),
    Call("get", "/v1/readings", "/readings"),
    Call("get", "/v1/parameters", "/parameters"),
    Call("get", "/v1/messages", "/messages?after=0"),
    Call(
        "post", "/v1/channels/{name}/set", "/channels/light/set",
        {"value": 5.0, "duration": 3.0, "id": "set"},
    ),
    Call("post", "/v1/record", "/record", {"values": {"od": 0.5, "none": None}, "id": "record"}),
    Call("post", "/v1/log", "/log", {"text": "hello", "level": "info"}),
    Call("put", "/v1/results/{path}", "/results/a/b.txt", content=b"kept"),
)  # fmt: skip
DOSE = Call("post", "/v1/channels/{name}/dose", "/channels/media/dose", {"ml": 0.1, "id": "dose"})
WRONG_CALLS = (
    Call("get", "/v1/channels/{name}", "/channels/nowhere"),
    Call("get", "/v1/channels/{name}", "/channels/%00%ff"),
    Call("get", "/v1/messages", "/messages?after=x"),
    Call("get", "/v1/messages", "/messages?after=-1"),
    Call("put", "/v1/results/{path}", "/results/%2e%2e%2fx", content=b"x"),
    Call("put", "/v1/results/{path}", "/results/x", content=bytes(200_000)),
    Call("post", "/v1/channels/{name}/set", "/channels/nowhere/set", {"value": 1, "id": "a"}),
    Call("post", "/v1/channels/{name}/set", "/channels/od/set", {"value": 1, "id": "b"}),
    Call("post", "/v1/channels/{name}/dose", "/channels/media/dose", {"ml": 1e9, "id": "c"}),
    Call("post", "/v1/log", "/log", content=b"\xff"),
)


@pytest.fixture
async def document(gate: Gate) -> Any:
    return await gate.get("/openapi.json")


def operation(document: Any, call: Call) -> Any:
    return document["paths"][call.template][call.method]


def validator(document: Any, schema: Any) -> Draft202012Validator:
    """Return a validator of a part of the document; references reach all of it."""
    return Draft202012Validator({**document, "allOf": [schema]})


def check_answer(document: Any, call: Call, answer: httpx.Response) -> None:
    """Compare an answer with what the document says of its status."""
    responses = operation(document, call)["responses"]
    status = str(answer.status_code)
    described = responses.get(status) or responses[f"{status[0]}XX"]
    ((kind, content),) = described["content"].items()
    assert answer.headers["content-type"] == kind
    validator(document, content["schema"]).validate(answer.json())


async def test_every_call_is_described_and_answers_so(gate: Gate, document: Any) -> None:
    described = {(m, path) for path, item in document["paths"].items() for m in item}
    assert described == {(call.method, call.template) for call in (*CALLS, DOSE)}
    for call in CALLS:
        answer = await call.make(gate)
        assert answer.status_code == 200, answer.text
        check_answer(document, call, answer)
        assert operation(document, call)["summary"]
        if call.body is not None:
            schema = operation(document, call)["requestBody"]["content"]["application/json"]
            validator(document, schema["schema"]).validate(call.body)
    gate.lease.end()
    answer = await DOSE.make(gate)
    assert answer.json()["error"]["code"] == "LEASE_ENDED"
    check_answer(document, DOSE, answer)


@pytest.mark.parametrize("call", WRONG_CALLS, ids=lambda call: f"{call.method} {call.path[:30]}")
async def test_every_refusal_is_described(gate: Gate, document: Any, call: Call) -> None:
    answer = await call.make(gate)
    assert 400 <= answer.status_code < 500, answer.text
    check_answer(document, call, answer)
    assert answer.json()["error"]["hint"]


@pytest.mark.parametrize(
    "call", [call for call in (*CALLS, DOSE) if call.body], ids=lambda call: call.path
)
async def test_no_body_is_a_surprise(gate: Gate, document: Any, call: Call) -> None:
    """Each field once of each wrong type: never an internal error, and no guessing."""
    gate.lease.end()  # so that nothing is pumped
    schema = operation(document, call)["requestBody"]["content"]["application/json"]["schema"]
    described = validator(document, schema)
    for number, body in enumerate(_spoilt(call.body or {})):
        made = replace(call, body=body if "id" not in body else {"id": f"n{number}", **body})
        answer = await made.make(gate)
        check_answer(document, call, answer)
        assert answer.status_code < 500, (body, answer.text)
        if not described.is_valid(json.loads(json.dumps(body), parse_constant=lambda _: None)):
            assert answer.status_code == 400, (body, answer.text)


async def test_the_examples_for_curl_work(gate: Gate) -> None:
    """As they stand in the README."""
    text = README.read_text()
    commands = re.findall(r"^curl --unix-socket gateway\.sock (.+)$", text, re.MULTILINE)
    assert len(commands) >= 10
    for command in commands:
        made = await _shell(
            f"curl -sS --fail-with-body --unix-socket {gate.socket} {command}", gate
        )
        assert isinstance(made, dict), command


async def _shell(command: str, gate: Gate) -> Any:
    shell = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, cwd=gate.socket.parent
    )
    talking = asyncio.create_task(shell.communicate())
    while not talking.done():
        await gate.clock.advance(0.1)  # a dose takes its time
        await asyncio.sleep(0.01)
    output, _ = await talking
    assert shell.returncode == 0, (command, output)
    return json.loads(output)


def _spoilt(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the body with one field wrong at a time, or one too many."""
    for name in body:
        for wrong in WRONG:
            rest = {key: value for key, value in body.items() if key != name}
            yield rest if wrong is MISSING else {**rest, name: wrong}
    yield {**body, "more": 1}
