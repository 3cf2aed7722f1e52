"""The OpenAPI document, with an example of everything: what FastAPI derives, and what it cannot.

Examples are values of the models themselves, so that they cannot be wrong; they tell of one
laboratory with one experiment. Pages (`/docs`) and programs read the same document.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from broker import VERSION
from broker.messages import (
    Checked,
    ContractError,
    Error,
    ErrorCode,
    HistoryOf,
    LogLine,
    LogPage,
    ParameterInfo,
    Phase,
    Posture,
    QueueEntry,
    QueueLimits,
    ResultFile,
    ScriptInfo,
    StartForecast,
    Status,
    Trace,
)
from portal.errors import HTTP_STATUS, MEANING, ErrorBody, not_found
from portal.site import Health
from portal.views import (
    CheckRequest,
    Commanded,
    DeadBody,
    EstopBody,
    ExperimentOf,
    ExperimentView,
    Freshness,
    LimitsRequest,
    Mine,
    NodeOf,
    Nodes,
    ParametersRequest,
    QueueOf,
    ReleaseBody,
    RetentionRequest,
    RunNowRequest,
    Started,
    StartRequest,
    StatusOf,
)

AN_ID: Final = "01JM9ZQ8E6Y7W5V4T3S2R1Q0P9"
ANOTHER_ID: Final = "01JM9ZTA0V4X6Z8B0D2F4H6K8M"
_AT: Final = datetime(2026, 2, 17, 14, 26, 1, tzinfo=UTC)
_SCRIPT: Final = """\
from bioreactor import experiment, reactor

for _ in experiment.every(seconds=60, duration=3600):
    experiment.record(od=reactor.read("od"))
"""
_SHA256: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_USER: Final = "web:3Qh7nZl0vT5uY2cX8bM1kR4s"

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
    "new_position": ("1 is next; 0 means 1.", 1),
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


def _experiment(status: Status, **more: Any) -> ExperimentView:
    return ExperimentView(
        experiment_id=AN_ID,
        name="Turbidostat",
        user=_USER,
        owner="teal-heron",
        status=status,
        revision=12,
        created_at=_AT,
        parameters={"target_od": 0.4},
        script_sha256=_SHA256,
        **more,
    )


def _entry(experiment: str, name: str, status: Status, **more: Any) -> QueueEntry:
    return QueueEntry(
        experiment_id=experiment,
        name=name,
        owner="teal-heron",
        user=_USER,
        status=status,
        created_at=_AT,
        **more,
    )


def _examples() -> Iterable[BaseModel]:
    """Return a value of each model that is sent or answered."""
    soon = _AT + timedelta(minutes=40)
    fresh = Freshness(age_seconds=0.0, hub="online", broker_connected=True)
    waiting = _experiment(Status.QUEUED, queue_position=2, estimated_start=soon)
    done = _experiment(
        Status.COMPLETED,
        node="reactor-1",
        attempt=1,
        started_at=_AT,
        completed_at=_AT + timedelta(hours=1),
        exit_code=0,
        results=(ResultFile(name="summary.json", size=24, sha256=_SHA256),),
    )
    reactor = NodeOf(
        id="reactor-1",
        label="Reactor 1",
        online=True,
        since=_AT,
        simulated=False,
        speed=1.0,
        channels=None,
        report=None,
        withheld=None,
        readings={"od": 0.412, "temperature": 37.02, "ph": None},
    )
    yield StartRequest(script_content=_SCRIPT, name="Turbidostat", parameters={"target_od": 0.4})
    yield CheckRequest(script_content=_SCRIPT, parameters={"target_od": 0.4})
    yield RunNowRequest(node="reactor-1", stop_running=False)
    yield ParametersRequest(parameters={"target_od": 0.6})
    yield LimitsRequest(per_user=3, max_duration=7 * 86400.0, max_script=128 * 1024)
    yield RetentionRequest(days=365)
    yield DeadBody(power_is_off=True)
    yield EstopBody(reason="the tubing has come off")
    yield ReleaseBody(latch=ANOTHER_ID)
    yield Started(
        experiment_id=AN_ID,
        status=Status.QUEUED,
        queue_position=2,
        message="Turbidostat is queued as number 2",
        estimated_start=soon,
        forecast=StartForecast(earliest=_AT, likely=soon, latest=None, basis="declared"),
    )
    yield Checked(
        ok=True,
        script=ScriptInfo(
            name="Turbidostat",
            needs=("od", "media", "waste"),
            parameters=(ParameterInfo(name="target_od", default=0.4, unit="OD600"),),
        ),
        suitable_nodes=("reactor-1",),
    )
    yield Commanded(message="Turbidostat is cancelled", outcome="done", status=Status.CANCELLED)
    yield Mine(experiments=(done,), total=61, next=AN_ID, freshness=fresh)
    yield ExperimentOf(experiment=done, script=_SCRIPT, freshness=fresh)
    yield StatusOf(experiment=waiting, freshness=fresh)
    yield HistoryOf(
        started_at=_AT,
        traces={"od": Trace(unit="OD600", t=(0.0, 60.0, 120.0), v=(0.101, 0.104, None))},
    )
    yield LogPage(
        lines=(LogLine(n=1, t=_AT, source="stdout", text="dilution 1"),), last=1, complete=False
    )
    yield QueueOf(
        total_queued=1,
        total_running=1,
        total_paused=0,
        queue=(_entry(AN_ID, "Turbidostat", Status.QUEUED, position=1, estimated_start=soon),),
        running=(
            _entry(
                ANOTHER_ID,
                "Growth curve",
                Status.RUNNING,
                phase=Phase.EXECUTING,
                node="reactor-1",
                started_at=_AT,
            ),
        ),
        posture=Posture.RUNNING,
        posture_reason="",
        limits=QueueLimits(),
        withheld={},
        revision=118,
        freshness=fresh,
    )
    yield reactor
    yield Nodes(nodes=(reactor,), freshness=fresh)
    yield Health(
        status="ok",
        ready=True,
        version=VERSION,
        broker_connected=True,
        hub="online",
        age_seconds=0.0,
        nodes_online=1,
    )


@cache
def examples() -> Mapping[str, Any]:
    """Return an example of each model by its name in the document."""
    return {
        type(example).__name__: example.model_dump(mode="json", exclude_none=_sent(example))
        for example in _examples()
    }


def _sent(example: BaseModel) -> bool:
    """Whether a model is sent to the portal: what is absent then stays as it is."""
    return type(example).__name__.endswith(("Request", "Body"))


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
