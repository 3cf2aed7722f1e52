"""A small hub that speaks the real protocol on a real broker, with a queue that is a list."""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ulid import ULID

from broker.connection import Connection
from broker.messages import (
    Audited,
    AuditEntry,
    Check,
    Checked,
    ContractError,
    CreateToken,
    Done,
    Due,
    DueOf,
    Error,
    ErrorCode,
    EventRecord,
    Experiment,
    Export,
    Exported,
    ExportKind,
    Fetch,
    Fetched,
    Got,
    History,
    HistoryOf,
    HubStatus,
    Limits,
    List,
    Listed,
    LogLine,
    LogPage,
    Logs,
    Move,
    Moved,
    OnExperiment,
    ParameterInfo,
    Posture,
    Queue,
    QueueEntry,
    QueueLimits,
    ReadAudit,
    Result,
    Retention,
    RevokeToken,
    RunNow,
    ScriptInfo,
    ScriptProblem,
    Send,
    Status,
    Storage,
    Submit,
    Submitted,
    Token,
    Tokens,
    Trace,
    UserInfo,
    Users,
    UsersOf,
    utc_now,
)
from broker.requests import Asked, RequestServer
from broker.topics import Topic

STORE = str(ULID())
MEDIA_TYPES = {ExportKind.TELEMETRY_CSV: "text/csv", ExportKind.LOG: "text/plain"}


class FakeHub:
    """Answers as the hub would; what it was asked is in `asked`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.asked: list[Asked] = []
        self.experiments: dict[str, Experiment] = {}
        self.scripts: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.events: tuple[EventRecord, ...] = ()
        self.posture = Posture.RUNNING
        self.open = True
        self.revision = 0
        self.moved: Moved | None = None
        self.users: tuple[UserInfo, ...] = ()
        self.due: tuple[int, datetime | None] = (0, None)
        self.free = 60 * 1024**3
        self.audit: tuple[AuditEntry, ...] = ()
        self.tokens: tuple[Token, ...] = ()
        self.busy = False
        """Whether it answers late: the portal's side of a question says TIMEOUT then."""
        self.fetching = self.most_fetching = 0
        self.fetch_gate: Callable[[int], asyncio.Event | None] = lambda _: None
        self._remembered: dict[tuple[str, str], tuple[str, Result]] = {}
        self._boot = str(ULID())

    async def serve(self) -> None:
        """Serve until cancelled."""
        server = RequestServer(self.connection, portals=frozenset({"portal"}), handle=self._handle)
        await self.say("online")
        await self.publish_queue()
        await self._tell_tokens()
        await server.run()

    async def say(self, state: str) -> None:
        status = HubStatus(
            state="online" if state == "online" else "offline",
            version="test",
            boot_id=self._boot,
            since=utc_now(),
            store_id=STORE,
            generation=1,
        )
        topic = self.connection.topics.build(Topic.HUB_STATUS)
        await self.connection.publish(topic, status.encode(), retain=True)

    async def publish_queue(self) -> None:
        live = [e for e in self.experiments.values() if not e.status.finished]
        running = [e for e in live if e.status is Status.RUNNING]
        waiting = [e for e in live if e.status is not Status.RUNNING]
        queue = Queue(
            posture=self.posture,
            revision=self.revision,
            total_queued=sum(e.status is Status.QUEUED for e in live),
            total_running=len(running),
            total_paused=sum(e.status is Status.PAUSED for e in live),
            limits=QueueLimits(),
            moved=self.moved,
            running=tuple(_entry(e) for e in running),
            waiting=tuple(_entry(e) for e in waiting),
            open=self.open,
        )
        topic = self.connection.topics.build(Topic.QUEUE)
        await self.connection.publish(topic, queue.encode(), retain=True)

    async def change(self, experiment_id: str, **fields: object) -> Experiment:
        """Change an experiment and tell everybody."""
        self.revision += 1
        old = self.experiments[experiment_id]
        new = old.model_copy(update={**fields, "revision": self.revision})
        self.experiments[experiment_id] = new
        topic = self.connection.topics.build(Topic.EXPERIMENT, experiment=experiment_id)
        await self.connection.publish(topic, new.encode(), retain=True)
        await self.publish_queue()
        return new

    async def _handle(self, asked: Asked) -> Result:
        self.asked.append(asked)
        if self.busy:
            raise ContractError(ErrorCode.TIMEOUT, "no answer came in time")
        key = (asked.user, asked.request.id or "")
        remembered = self._remembered.get(key)
        if asked.verb == "submit" and remembered is not None:
            if remembered[0] != asked.fingerprint:
                raise ContractError(ErrorCode.ID_REUSED, "this id was used for another request")
            return remembered[1]
        result = await self._answer(asked)
        if asked.verb == "submit":
            self._remembered[key] = (asked.fingerprint, result)
        return result

    async def _answer(self, asked: Asked) -> Result:
        match asked.request:
            case Submit() as request:
                return await self._submit(asked, request)
            case Check(script=script):
                return _check(script)
            case List() as request:
                return self._list(asked, request)
            case History() as request:
                if request.experiment_id is not None:
                    self._known(request.experiment_id)
                trace = Trace(unit="1", t=(0.0, 1.0), v=(0.1, None))
                return HistoryOf(traces={"od": trace}, events=self.events)
            case Export() as request:
                return self._export(request)
            case Fetch() as request:
                return await self._fetch(request)
            case Move() as request:
                return await self._move(asked, request)
            case Users() | Due() | ReadAudit() | CreateToken() | RevokeToken():
                return await self._administrate(asked)
            case Limits() | Retention():
                return Done(outcome="done", message="changed")
            case RunNow() as request:
                await self.change(self._known(request.experiment_id).experiment_id)
                return Done(outcome="done", message="it runs next")
            case Send() as request:
                self._known(request.experiment_id)
                return Done(outcome="done", message="sent")
            case OnExperiment(experiment_id=one):
                return await self._on_experiment(asked, one)
            case _:
                pass
        if isinstance(asked.request, Logs):
            at = self._known(asked.request.experiment_id).created_at
            line = LogLine(n=1, t=at, source="stdout", text="<script>alert(1)</script>")
            return LogPage(lines=(line,), last=1, complete=False)
        if asked.verb == "storage":
            return await self._administrate(asked)
        postures = {
            "pause-queue": Posture.PAUSED,
            "resume-queue": Posture.RUNNING,
            "drain-queue": Posture.DRAINING,
        }
        self.posture = postures[asked.verb]
        self.revision += 1
        await self.publish_queue()
        return Done(outcome="done", message=f"the queue is {self.posture}")

    async def _administrate(self, asked: Asked) -> Result:
        match asked.request:
            case Users():
                return UsersOf(users=self.users)
            case Due(days=days):
                return DueOf(days=days, count=self.due[0], oldest=self.due[1])
            case ReadAudit(before=before, limit=limit):
                found = [e for e in self.audit if before is None or e.n < before]
                page = tuple(found[:limit])
                return Audited(entries=page, next=page[-1].n if len(found) > limit else None)
            case CreateToken() as request:
                made = Token(
                    token_id=request.token_id,
                    name=request.name,
                    role=request.role,
                    created_by="somebody",
                    created_at=utc_now(),
                    expires_on=request.expires_on,
                )
                await self._tell_tokens(*self.tokens, made)
                return Done(outcome="done", message="the token is admitted")
            case RevokeToken(token_id=token_id):
                await self._tell_tokens(*(t for t in self.tokens if t.token_id != token_id))
                return Done(outcome="done", message="the token is revoked")
            case _:
                low = self.free < 1024**2
                return Storage(
                    total=100 * 1024**3, free=self.free, database=1, files=1, finished=1, low=low
                )

    async def _tell_tokens(self, *tokens: Token) -> None:
        self.tokens = tokens
        topic = self.connection.topics.build(Topic.HUB_TOKENS)
        await self.connection.publish(topic, Tokens(tokens=tokens).encode(), retain=True)

    async def _move(self, asked: Asked, request: Move) -> Done:
        one = self._known(request.experiment_id)
        count = self.moved.count if self.moved else 0
        if request.known not in {None, count}:
            raise ContractError(
                ErrorCode.CHANGED_MEANWHILE, "the order was changed meanwhile", "look, then repeat"
            )
        assert asked.request.actor is not None
        self.moved = Moved(
            count=count + 1,
            experiment_id=one.experiment_id,
            name=one.name,
            by=asked.request.actor.name,
            at=utc_now(),
        )
        await self.change(one.experiment_id)
        return Done(outcome="done", message="moved", known=count + 1)

    async def _submit(self, asked: Asked, request: Submit) -> Submitted:
        checked = _check(request.script)
        if not checked.ok:
            problem = checked.problems[0].error
            raise ContractError(problem.code, problem.message, problem.hint, **problem.details)
        mine = [e for e in self.experiments.values() if e.user == asked.user]
        if sum(not e.status.finished for e in mine) >= QueueLimits().per_user:
            raise ContractError(
                ErrorCode.USER_LIMIT, "you have 5 experiments already", "wait for one to end"
            )
        experiment_id = str(ULID())
        actor = request.actor
        position = 1 + sum(e.status is Status.QUEUED for e in self.experiments.values())
        self.experiments[experiment_id] = Experiment(
            experiment_id=experiment_id,
            name=request.name or _label(request.filename or ""),
            user=asked.user,
            owner=actor.name if actor else asked.principal,
            status=Status.QUEUED,
            revision=self.revision,
            queue_position=position,
            created_at=utc_now(),
            parameters=request.parameters,
            script_sha256=hashlib.sha256(request.script.encode()).hexdigest(),
        )
        self.scripts[experiment_id] = request.script
        await self.change(experiment_id)
        return Submitted(
            experiment_id=experiment_id,
            status=Status.QUEUED,
            queue_position=position,
            message=f"queued as number {position}",
        )

    async def _on_experiment(self, asked: Asked, experiment_id: str) -> Result:
        experiment = self._known(experiment_id)
        if asked.verb == "get":
            return Got(experiment=experiment, script=self.scripts.get(experiment_id))
        if experiment.status.finished:
            raise ContractError(ErrorCode.WRONG_STATE, "it has ended already", "nothing to do")
        actor = asked.request.actor
        if experiment.user != asked.user and not asked.admin:
            raise ContractError(ErrorCode.FORBIDDEN, "it belongs to somebody else")
        assert actor is not None
        status = {
            "cancel": Status.CANCELLED,
            "pause": Status.PAUSED,
            "resume": Status.QUEUED,
        }[asked.verb]
        ended = utc_now() if status.finished else None
        place = 1 if status is Status.QUEUED else None
        await self.change(experiment_id, status=status, completed_at=ended, queue_position=place)
        return Done(outcome="done", message=f"{experiment.name} is {status}", status=status)

    def _list(self, asked: Asked, request: List) -> Listed:
        found = [
            e
            for e in sorted(self.experiments.values(), key=lambda e: e.experiment_id, reverse=True)
            if (not request.mine or e.user == asked.user)
            and (not request.status or e.status in request.status)
            and request.search.lower() in e.name.lower()
            and (request.before is None or e.experiment_id < request.before)
        ]
        page = tuple(found[: request.limit])
        following = page[-1].experiment_id if len(found) > request.limit else None
        return Listed(experiments=page, total=len(found), next=following)

    def _export(self, request: Export) -> Exported:
        self._known(request.experiment_id)
        own = f"{request.experiment_id}.zip"
        key = own if own in self.files else request.file or request.kind.value
        data = self.files.get(key)
        if data is None:
            raise ContractError(ErrorCode.NOT_FOUND, f"{key} does not exist")
        return Exported(
            ref=hashlib.sha256(key.encode()).hexdigest()[:32],
            filename=key.rsplit("/", 1)[-1],
            media_type=MEDIA_TYPES.get(request.kind, "application/octet-stream"),
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )

    async def _fetch(self, request: Fetch) -> Fetched:
        self.fetching += 1
        self.most_fetching = max(self.most_fetching, self.fetching)
        try:
            gate = self.fetch_gate(request.offset)
            if gate is not None:
                await gate.wait()
            for key, data in self.files.items():
                if hashlib.sha256(key.encode()).hexdigest()[:32] == request.ref:
                    piece = data[request.offset : request.offset + request.length]
                    return Fetched(
                        offset=request.offset,
                        size=len(data),
                        data=base64.b64encode(piece).decode(),
                    )
        finally:
            self.fetching -= 1
        raise ContractError(ErrorCode.NOT_FOUND, "this file is no longer there")

    def _known(self, experiment_id: str) -> Experiment:
        experiment = self.experiments.get(experiment_id)
        if experiment is None:
            raise ContractError(
                ErrorCode.NOT_FOUND, f"there is no experiment {experiment_id}", "look in the queue"
            )
        return experiment


def _check(script: str) -> Checked:
    problems: Sequence[ScriptProblem] = ()
    try:
        compile(script, "script.py", "exec")
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        told = Error(
            code=ErrorCode.SCRIPT_SYNTAX,
            message=f"it does not compile: {error}",
            hint="mend this line",
            details={"line": line},
        )
        problems = (ScriptProblem(severity="error", error=told, line=line),)
    target = ParameterInfo(name="target_od", default=0.5)
    text = ParameterInfo(name="label", default="a")
    info = ScriptInfo(name="Turbidostat", parameters=(target, text))
    return Checked(ok=not problems, problems=tuple(problems), script=info)


def _label(filename: str) -> str:
    return "".join(ch for ch in filename if ch.isprintable()).strip()[:120] or "Experiment"


def _entry(experiment: Experiment) -> QueueEntry:
    return QueueEntry(
        experiment_id=experiment.experiment_id,
        name=experiment.name,
        owner=experiment.owner,
        user=experiment.user,
        status=experiment.status,
        position=experiment.queue_position,
        node=experiment.node,
        created_at=experiment.created_at,
        started_at=experiment.started_at,
        estimated_start=experiment.created_at + timedelta(hours=1),
        reactors=("reactor-1",) if experiment.node is None else (),
    )
