"""The script's interface to its reactor: a small REST interface on a unix socket of its own.

The socket says which attempt calls, so no call names one. Calls that do something carry an id and
are done once per id; calls that act on the reactor need the lease, and are answered when what they
did is on record. What is asked for wrongly is answered with a typed error and a remedy and never
reaches the reactor.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Final

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from broker.messages import (
    ContractError,
    Error,
    ErrorCode,
    EventRecord,
    ResultFile,
    RunLimits,
    SeriesRecord,
    Telemetry,
)
from hardware.reactor import Reactor
from node_service.answers import Answers, reused
from node_service.console import Console, Source
from node_service.doses import Doses, told_again
from node_service.gateway_models import (
    ChannelList,
    ClockInfo,
    DoseAnswer,
    DoseRequest,
    ErrorAnswer,
    ExperimentInfo,
    LogRequest,
    Messages,
    MessageToScript,
    Nothing,
    ParametersAnswer,
    Reading,
    Readings,
    RecordRequest,
    SetAnswer,
    SetRequest,
)
from node_service.inbox import Inbox
from node_service.lease import Lease
from node_service.live import Screen
from node_service.recorder import Recorder
from node_service.runclock import RunClock
from node_service.runs import RunKey
from node_service.sampler import finite
from node_service.saves import Saves

MAX_SERIES: Final = 200
"""Distinct names of an attempt's own series."""

_READ_MORE: Final = "GET /v1/openapi.json lists the calls and what each takes"
_OTHERS: Final = HTTPStatus.INTERNAL_SERVER_ERROR
HTTP_STATUS: Final[Mapping[ErrorCode, HTTPStatus]] = MappingProxyType(
    dict.fromkeys(ErrorCode, _OTHERS)
    | {
        ErrorCode.MALFORMED: HTTPStatus.BAD_REQUEST,
        ErrorCode.ID_REQUIRED: HTTPStatus.BAD_REQUEST,
        ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
        ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
        ErrorCode.UNKNOWN_CHANNEL: HTTPStatus.NOT_FOUND,
        ErrorCode.UNKNOWN_VERB: HTTPStatus.METHOD_NOT_ALLOWED,
        ErrorCode.ID_REUSED: HTTPStatus.CONFLICT,
        ErrorCode.OUTPUTS_RESET: HTTPStatus.CONFLICT,
        ErrorCode.WRONG_STATE: HTTPStatus.CONFLICT,
        ErrorCode.REACTOR_BUSY: HTTPStatus.CONFLICT,
        ErrorCode.LEASE_ENDED: HTTPStatus.GONE,
        ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ErrorCode.NOT_AN_ACTUATOR: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorCode.OUT_OF_RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorCode.LIMIT: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorCode.INTERLOCK: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorCode.ESTOP: HTTPStatus.LOCKED,
        ErrorCode.RATE_LIMIT: HTTPStatus.TOO_MANY_REQUESTS,
        ErrorCode.HARDWARE: HTTPStatus.BAD_GATEWAY,
        ErrorCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
        ErrorCode.STORAGE_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
        ErrorCode.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Codes that no call of a script can meet are told as internal errors if one does."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one attempt reaches through its gateway.

    Attributes:
        keep_setpoints: Keeps the controllers' setpoints for a restart of the node.
        series: Names of its own series so far; grows.
    """

    key: RunKey
    name: str | None
    limits: RunLimits
    clock: RunClock
    reactor: Reactor
    lease: Lease
    inbox: Inbox
    answers: Answers
    doses: Doses
    saves: Saves
    recorder: Recorder
    console: Console
    live: Screen
    keep_setpoints: Callable[[], Awaitable[None]]
    series: set[str]


def create_app(access: Access) -> FastAPI:
    """Return the interface of one attempt."""
    app = FastAPI(
        title="Bioreactor gateway",
        version="1",
        description=__doc__ or "",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": ErrorAnswer}, "5XX": {"model": ErrorAnswer}},
    )
    app.include_router(_questions(access), prefix="/v1")
    app.include_router(_mail(access), prefix="/v1")
    app.include_router(_acts(access), prefix="/v1")
    app.include_router(_records(access), prefix="/v1")
    app.add_exception_handler(ContractError, _told)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _no_such_call)
    return app


def _questions(access: Access) -> APIRouter:
    router = APIRouter(tags=["ask"])
    reactor, run_clock = access.reactor, access.clock

    def clock_info() -> ClockInfo:
        return ClockInfo(
            elapsed=run_clock.elapsed, speed=reactor.clock.speed, now=reactor.clock.now()
        )

    @router.get("/experiment")
    async def experiment() -> ExperimentInfo:
        """Say which experiment this is."""
        _note_seen(access)
        return ExperimentInfo(
            experiment_id=access.key.experiment_id,
            attempt=access.key.attempt,
            name=access.name,
            parameters=access.inbox.parameters,
            clock=clock_info(),
            limits=access.limits,
        )

    @router.get("/clock")
    async def clock() -> ClockInfo:
        """Say what time it is for the experiment."""
        return clock_info()

    @router.get("/channels")
    async def channels() -> ChannelList:
        """List the channels of the reactor."""
        return ChannelList(channels=tuple(reactor.channels.values()))

    @router.get("/channels/{name}")
    async def channel(name: str) -> Reading:
        """Read one channel."""
        info = reactor.channels.get(name)
        if info is None:
            raise _unknown(name, reactor)
        values = finite(await reactor.read())
        return Reading(name=name, value=values.get(name), unit=info.unit, t=reactor.clock.now())

    @router.get("/readings")
    async def readings() -> Readings:
        """Read all channels."""
        values = finite(await reactor.read())
        return Readings(t=reactor.clock.now(), elapsed=run_clock.elapsed, values=values)

    return router


def _mail(access: Access) -> APIRouter:
    router = APIRouter(tags=["ask"])

    @router.get("/parameters")
    async def parameters() -> ParametersAnswer:
        """Say the parameters; they may change while the script runs."""
        _note_seen(access)
        return ParametersAnswer(parameters=access.inbox.parameters, revision=access.inbox.revision)

    @router.get("/messages")
    async def messages(after: Annotated[int, Query(ge=0)] = 0) -> Messages:
        """Give the messages after a number, 0 for the first."""
        new = access.inbox.after(after)
        if any(message.parameters is not None for message in new):
            _note_seen(access)
        return Messages(
            messages=tuple(
                MessageToScript(n=m.n, t=m.t, text=m.text, parameters=m.parameters) for m in new
            )
        )

    return router


def _note_seen(access: Access) -> None:
    """Record that the script has the latest parameters, the first time that it gets them."""
    if access.inbox.look():
        access.recorder.post(
            EventRecord(
                t=access.reactor.clock.now(),
                mono=access.reactor.clock.monotonic(),
                experiment_id=access.key.experiment_id,
                attempt=access.key.attempt,
                elapsed=access.clock.elapsed,
                event="parameters-seen",
                data={"revision": access.inbox.revision},
            )
        )


def _acts(access: Access) -> APIRouter:
    router = APIRouter(tags=["act"])
    reactor = access.reactor

    @router.post("/channels/{name}/set")
    async def set_channel(name: str, body: SetRequest) -> SetAnswer:
        """Set an output or a setpoint; the answer is the value in force."""
        info = reactor.channels.get(name)
        if info is None:
            raise _unknown(name, reactor)

        async def work() -> SetAnswer:
            value = await access.lease.act(
                lambda: reactor.set(name, body.value, duration=body.duration)
            )
            if info.kind == "setpoint":
                await access.keep_setpoints()
            if not reactor.is_off(name, body.value):  # to switch off the next does not wait either
                await access.recorder.settled()
            return SetAnswer(value=value)

        return await access.answers.once(body.id, f"set {name} {body!r}", work)

    @router.post("/channels/{name}/dose")
    async def dose(name: str, body: DoseRequest) -> DoseAnswer:
        """Pump a volume; answered when it is delivered."""
        if name not in reactor.channels:
            raise _unknown(name, reactor)

        return await access.answers.once(
            body.id, f"dose {name} {body!r}", lambda: _dose(access, name, body)
        )

    return router


async def _dose(access: Access, name: str, body: DoseRequest) -> DoseAnswer:
    """Pump, unless an earlier process of the node did or was about to."""

    async def pump() -> DoseAnswer:
        try:
            done = await access.reactor.dose(
                name,
                body.ml,
                begin=lambda: access.doses.begin(
                    body.id, name, body.ml, access.reactor.clock.now()
                ),
                call=body.id,
            )
        except ContractError as error:
            await access.recorder.settled()
            await access.doses.end(body.id, error=error.error)
            raise
        answer = DoseAnswer(
            requested_ml=done.requested_ml, delivered_ml=done.delivered_ml, seconds=done.seconds
        )
        await access.recorder.settled()  # before the dose counts as told of
        await access.doses.end(body.id, answer=answer)
        return answer

    earlier = access.doses.earlier(body.id)
    if earlier is None:
        return await access.lease.act(pump)
    if (earlier.channel, earlier.ml) != (name, body.ml):
        raise reused(body.id)
    if not earlier.ended:
        access.lease.tell_reset()
    return told_again(earlier)


def _records(access: Access) -> APIRouter:
    router = APIRouter(tags=["record"])
    clock = access.reactor.clock

    @router.post("/record")
    async def record(body: RecordRequest) -> Nothing:
        """Record values of the author's own series; on the node's disk when answered."""
        fresh = body.values.keys() - access.series
        if len(access.series) + len(fresh) > MAX_SERIES:
            raise ContractError(
                ErrorCode.LIMIT,
                f"an experiment may have at most {MAX_SERIES} series of its own",
                "use fewer names; put what varies into the values",
                limit=MAX_SERIES,
            )
        access.series.update(fresh)

        async def work() -> Nothing:
            if access.answers.recorded(body.id):
                return Nothing()
            entry = SeriesRecord(
                t=clock.now(),
                mono=clock.monotonic(),
                experiment_id=access.key.experiment_id,
                attempt=access.key.attempt,
                elapsed=access.clock.elapsed,
                values=body.values,
                id=body.id,
            )
            await access.recorder.write([entry])
            await access.live.telemetry(
                Telemetry(
                    t=entry.t,
                    experiment_id=entry.experiment_id,
                    elapsed=entry.elapsed,
                    series=entry.values,
                )
            )
            return Nothing()

        return await access.answers.once(body.id, f"record {body!r}", work)

    @router.post("/log")
    async def log(body: LogRequest) -> Nothing:
        """Write into the experiment's log; on the node's disk when answered."""
        source: Source = "stderr" if body.level in {"warning", "error"} else "stdout"

        async def work() -> Nothing:
            done = 0 if body.id is None else access.answers.recorded(body.id)
            await access.console.say(body.text, source, body.id, done=done)
            return Nothing()

        if body.id is None:
            return await work()
        return await access.answers.once(body.id, f"log {body!r}", work)

    @router.put(
        "/results/{path:path}",
        openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}}},
    )
    async def results(path: str, request: Request) -> ResultFile:
        """Save a file into the results; whole on the node's disk when answered."""
        return await access.saves.save(path, request.stream())

    return router


def _unknown(name: str, reactor: Reactor) -> ContractError:
    return ContractError(
        ErrorCode.UNKNOWN_CHANNEL,
        f"this reactor has no channel {name[:60]!r}",
        f"its channels are {', '.join(reactor.channels)}",
        channel=name[:60],
    )


def answer(error: Error) -> Response:
    """Return the response that tells an error."""
    return Response(
        ErrorAnswer(error=error).encode(),
        status_code=HTTP_STATUS[error.code],
        media_type="application/json",
    )


async def _told(_: Request, error: Exception) -> Response:
    if not isinstance(error, ContractError):
        raise error
    return answer(error.error)


async def _malformed(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [
        {"field": ".".join(str(part) for part in item["loc"][1:]), "problem": item["msg"]}
        for item in error.errors()[:10]
    ]
    first = problems[0]
    return answer(
        Error(
            code=ErrorCode.MALFORMED,
            message=f"{first['field'] or 'the body'}: {first['problem']}",
            hint=_READ_MORE,
            details={"problems": [dict(problem) for problem in problems]},
        )
    )


async def _no_such_call(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            code = ErrorCode.NOT_FOUND
        case HTTPStatus.METHOD_NOT_ALLOWED:
            code = ErrorCode.UNKNOWN_VERB
        case _:
            return answer(
                Error(code=ErrorCode.MALFORMED, message="the body is no JSON", hint=_READ_MORE)
            )
    path = request.url.path[:200]
    return answer(
        Error(code=code, message=f"there is no call {request.method} {path}", hint=_READ_MORE)
    )
