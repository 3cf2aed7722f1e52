"""The OpenAPI document, with an example of everything: what FastAPI derives, and what it cannot.

Examples are values of the models themselves (`openapi_examples.py`), so that they cannot be wrong.
Pages (`/docs`) and programs read the same document.
"""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from broker.messages import ContractError, Error, ErrorCode
from portal.errors import HTTP_STATUS, MEANING, ErrorBody, not_found
from portal.openapi_examples import AN_ID, ANOTHER_ID, USER, examples

DESCRIPTION: Final = """\
JSON over HTTP. Send the header `X-Session-ID` with a secret of 8 to 128 characters: the same one
each time is the same user. Without it a new session is made and returned in that header.

**Errors** are `{"detail": message, "error": {code, message, hint, details}}`; `code` is stable.
**Repeats** of a POST with the same `Idempotency-Key` get the same answer and change nothing twice.
**Pages** of a list end with `next`; give it as `before` (of logs: `last` as `after`) for more.
**Reads** carry an `ETag`: send it as `If-None-Match`, and 304 says that nothing changed. Files
answer `Range` and `If-Range`. Text comes as brotli or gzip to who accepts that.
**Pace**: `RateLimit` says how many requests are left and after how many seconds all are there
again; 429 and 503 name the seconds to wait in `Retry-After`. Live data comes by `/ws`.
"""

PARAMETERS: Final[Mapping[str, tuple[str, Any]]] = {
    "experiment_id": ("An experiment's id, as `start` answered it.", AN_ID),
    "node": ("A reactor's id, as `/api/nodes` lists it.", "reactor-1"),
    "status": ("Only experiments in these states; repeat it for several.", ["completed"]),
    "search": ("Only experiments in whose name, owner, reactor or id this stands.", "turbidostat"),
    "before": ("The `next` of the page before.", AN_ID),
    "after": ("An experiment's id.", ANOTHER_ID),
    "limit": ("At most so many.", 50),
    "since": ("Only those created then or later.", "2026-02-01T00:00:00Z"),
    "until": ("Only those created before that.", "2026-03-01T00:00:00Z"),
    "sort": ("By what they are ordered.", "created"),
    "ascending": ("The smallest, or the oldest, first.", False),
    "scope": ("Whose experiments.", "mine"),
    "known": ("The last change of the order that was seen.", 3),
    "experiment": ("Only of this experiment.", AN_ID),
    "token_id": ("A token's id, as the list of tokens has it.", ANOTHER_ID),
    "source": ("Only lines from these.", ["stdout"]),
    "verb": ("Only this, for example `cancel`.", "cancel"),
    "who": ("Only of this handle or user.", "teal-heron"),
    "days": ("How many days back.", 7.0),
    "event": ("Only events of these kinds; absent: all.", ["dose", "set"]),
    "new_position": ("1 is next; 0 means 1.", 1),
    "ids": (
        "Which experiments; repeat it for each.",
        [AN_ID, ANOTHER_ID],
    ),
    "channel": ("Only these; repeat it for several.", ["od", "temperature"]),
    "start": ("From here on, in seconds; absent: from the beginning.", 0.0),
    "end": ("Up to here, in seconds; absent: to the end.", 3600.0),
    "points": ("At most so many points a channel; spikes survive the thinning.", 500),
    "format": ("Absent: as `Accept` says, else JSON.", "csv"),
    "name": ("A file's name, as in the experiment's `results`.", "summary.json"),
    "idempotency-key": (
        "The same key again gets the same answer and changes nothing twice.",
        "4f1c8a50-5c2e-4f0e-9d8e-2a5d7a1b9c3d",
    ),
}
"""Description and example of parameters by name, where a route does not bring its own."""

_OF_ONE: Final[Mapping[tuple[str, str], tuple[str, Any]]] = {
    ("/api/experiments/{experiment_id}/logs", "after"): (
        "Only lines with a higher number; absent: the last lines.",
        0,
    ),
    ("/api/nodes/{node}/command/{channel}", "channel"): (
        "The channel, as the reactor's `channels` name it.",
        "temperature",
    ),
    ("/api/experiments/{experiment_id}/logs", "format"): (
        "Absent: as `Accept` says, else JSON.",
        "text",
    ),
    ("/api/admin/users", "after"): ("The `next` of the page before.", USER),
    ("/api/admin/retention", "days"): ("As if experiments were kept for so long.", 365),
    ("/api/audit", "before"): ("The `next` of the page before.", 412),
    ("/api/experiments/{experiment_id}/reorder", "before"): (
        "The experiment that shall come right after this one.",
        ANOTHER_ID,
    ),
    ("/api/experiments/{experiment_id}/reorder", "after"): (
        "The experiment that shall come right before this one.",
        ANOTHER_ID,
    ),
}
"""The same for parameters that mean something else in one call."""


def _error(error: Error) -> Mapping[str, Any]:
    body = ErrorBody(detail=error.message, error=error)
    return {
        "summary": f"{HTTP_STATUS[error.code].value} {error.code}",
        "value": body.model_dump(mode="json", exclude_none=True),
    }


def _errors(*errors: ContractError) -> Mapping[str, Any]:
    return {error.error.code.lower(): _error(error.error) for error in errors}


CLIENT_ERRORS: Final = _errors(
    ContractError(
        ErrorCode.MALFORMED,
        "start: Input should be a valid number, unable to parse string as a number",
        "compare with /docs",
        problems=[{"field": "query.start", "problem": "Input should be a valid number"}],
    ),
    ContractError(
        ErrorCode.FORBIDDEN,
        "this experiment belongs to somebody else",
        "ask its owner or an administrator",
    ),
    not_found("this experiment", "look for it in My experiments or in the queue"),
    ContractError(ErrorCode.WRONG_STATE, "it has ended already", "there is nothing to cancel"),
    ContractError(
        ErrorCode.RATE_LIMIT,
        "too many requests in a short time",
        "try again in 1 s; watch with /ws instead of asking again and again",
        retry_after=1,
    ),
)
SERVER_ERRORS: Final = _errors(
    ContractError(
        ErrorCode.UNAVAILABLE,
        "the hub does not answer since 2026-02-17 14:26:01 UTC",
        "running experiments go on and keep their data; try again when it is back",
    ),
    ContractError(
        ErrorCode.TIMEOUT,
        "the hub did not answer within 10 s",
        "it may have been done: ask again with the same Idempotency-Key",
    ),
)


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document of an application, made once; for `app.openapi`."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=DESCRIPTION,
            routes=app.routes,
        )
        for path, methods in made["paths"].items():
            for method, operation in methods.items():
                _describe(path, method, operation)
        schemas = made["components"]["schemas"]
        for name, example in examples().items():
            if name in schemas:
                schemas[name]["examples"] = [example]
        schemas["ErrorCode"]["description"] += "\n\n" + "\n".join(
            f"- `{code}` ({HTTP_STATUS[code].value}): {meaning}"
            for code, meaning in MEANING.items()
        )
        app.openapi_schema = made
    return app.openapi_schema


def _describe(path: str, method: str, operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        known = _OF_ONE.get((path, name)) or PARAMETERS.get(name)
        if known is not None:
            description, example = known
            parameter.setdefault("description", description)
            parameter.setdefault("example", example)
    answers = operation["responses"]
    for part in (operation.get("requestBody", {}), answers.get("200", {})):
        content = part.get("content", {}).get("application/json", {})
        example = _example_of(content.get("schema", {}))
        if example is not None:
            content.setdefault("example", example)
    if method == "get" and path.startswith("/api/"):
        answers["304"] = {"description": "It is what `If-None-Match` names: nothing is sent."}
    for status, meaning, told in (
        ("4XX", "It cannot be done so; the error says why and what to do.", CLIENT_ERRORS),
        ("5XX", "It cannot be done now; the error says why.", SERVER_ERRORS),
    ):
        if status in answers:
            answers[status]["description"] = meaning
            answers[status]["content"]["application/json"]["examples"] = told


def _example_of(schema: Mapping[str, Any]) -> Any:
    """Return the example of the first model that a schema names."""
    for one in (schema, *schema.get("anyOf", ())):
        name = one.get("$ref", "").rsplit("/", 1)[-1]
        if name in examples():
            return examples()[name]
    return None
