"""Every payload of the contract and every error code, in this one place.

Payloads are JSON in UTF-8. They are parsed once, at the door, into frozen models: unknown fields,
NaN, wrong types and oversize payloads are a typed error there and never reach the logic. Times
are ISO 8601 in UTC with an offset, ids are ULIDs, durations are seconds.
"""

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, Literal, NewType, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from broker.topics import EXPERIMENT_ID, NAME

MAX_PAYLOAD_BYTES: Final = 768 * 1024
"""The largest payload that is ever published; brokers disconnect the sender at 1 MiB."""
MAX_BATCH_BYTES: Final = 256 * 1024
"""The largest journal batch, encoded."""
MAX_SCRIPT_BYTES: Final = 256 * 1024
"""The largest experiment script, in UTF-8."""
MAX_FETCH_BYTES: Final = 256 * 1024
"""The largest piece of a stored file that one reply carries, before base64."""
MAX_HISTORY_POINTS: Final = 2000
"""The most points a channel has in one history reply."""
MAX_EXCEPTIONS: Final = 200
"""The most users that have a limit of their own: all of them stand in the retained queue."""
MAX_REACTORS: Final = 12
"""How many reactors that satisfy an experiment its line in the queue names at most."""
MAX_EXPORT_CHANNELS: Final = 100
"""The most channels that an export of telemetry names."""
MAX_KEEP_DAYS: Final = 36500
"""The longest that finished experiments are kept before they are deleted, if they are at all."""

MAX_NAME: Final = 120
"""Characters of an experiment's name, of a token's, and of a handle."""
MAX_NOTE: Final = 4000
"""Characters of the note that people keep with an experiment."""
MAX_TOKENS: Final = 200
"""The most tokens for scripts that are valid at a time."""

NodeId = NewType("NodeId", str)
ExperimentId = NewType("ExperimentId", str)


class ErrorCode(StrEnum):
    """What can go wrong, as told to people and programs. Stable: never renamed, never reused."""

    MALFORMED = "MALFORMED"
    TOO_LARGE = "TOO_LARGE"
    UNKNOWN_VERB = "UNKNOWN_VERB"
    EXPIRED = "EXPIRED"
    RETAINED_COMMAND = "RETAINED_COMMAND"
    ID_REQUIRED = "ID_REQUIRED"
    ID_REUSED = "ID_REUSED"
    CONFIRMATION_REQUIRED = "CONFIRMATION_REQUIRED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    USER_LIMIT = "USER_LIMIT"
    RATE_LIMIT = "RATE_LIMIT"
    WRONG_STATE = "WRONG_STATE"
    CHANGED_MEANWHILE = "CHANGED_MEANWHILE"
    SCRIPT_EMPTY = "SCRIPT_EMPTY"
    SCRIPT_ENCODING = "SCRIPT_ENCODING"
    SCRIPT_TOO_LARGE = "SCRIPT_TOO_LARGE"
    SCRIPT_SYNTAX = "SCRIPT_SYNTAX"
    SCRIPT_METADATA = "SCRIPT_METADATA"
    SCRIPT_IMPORT = "SCRIPT_IMPORT"
    SCRIPT_PARAMETERS = "SCRIPT_PARAMETERS"
    SCRIPT_FAILED = "SCRIPT_FAILED"
    INTERRUPTED = "INTERRUPTED"
    CANCELLED = "CANCELLED"
    NO_SUITABLE_REACTOR = "NO_SUITABLE_REACTOR"
    UNKNOWN_CHANNEL = "UNKNOWN_CHANNEL"
    NOT_AN_ACTUATOR = "NOT_AN_ACTUATOR"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    LIMIT = "LIMIT"
    INTERLOCK = "INTERLOCK"
    ESTOP = "ESTOP"
    LEASE_ENDED = "LEASE_ENDED"
    OUTPUTS_RESET = "OUTPUTS_RESET"
    HARDWARE = "HARDWARE"
    REACTOR_BUSY = "REACTOR_BUSY"
    STORAGE_FULL = "STORAGE_FULL"
    ENGINE = "ENGINE"
    TIMEOUT = "TIMEOUT"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


def utc_now() -> datetime:
    """Return the wall clock's time in UTC."""
    return datetime.now(UTC)


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs its offset, for example 2026-02-17T14:26:01Z")
    return value.astimezone(UTC)


def _printable(value: str) -> str:
    if any(ch in value for ch in "\x00\r\n") or not value.isprintable():
        raise ValueError("control characters are not allowed")
    return value


def _lines(value: str) -> str:
    """Return text of several lines, each ended as here."""
    plain = value.replace("\r\n", "\n").replace("\r", "\n").strip()
    if any(unicodedata.category(ch) in {"Cc", "Cs"} for ch in plain if ch not in "\n\t"):
        raise ValueError("control characters are not allowed")
    return plain


def _inside(value: str) -> str:
    if any(part in {"", ".", ".."} for part in value.split("/")):
        raise ValueError("a path inside the results without '.' and '..' is wanted")
    return value


Time = Annotated[datetime, AfterValidator(_in_utc)]
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
Ulid = Annotated[str, StringConstraints(pattern=rf"^{EXPERIMENT_ID.pattern}$")]
RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME),
    AfterValidator(_printable),
]
Text = Annotated[str, StringConstraints(max_length=4000)]
UserId = Annotated[
    str, StringConstraints(pattern=rf"^(mqtt:{NAME.pattern}|web:[A-Za-z0-9_-]{{8,64}})$")
]
"""Who owns experiments: a principal of the broker, or a portal's session."""
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=120), AfterValidator(_printable)
]
Note = Annotated[str, StringConstraints(max_length=MAX_NOTE), AfterValidator(_lines)]
"""What people keep with an experiment, in as many lines as they like."""
FileName = Annotated[
    str,
    StringConstraints(pattern=r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]{0,239}$"),
    AfterValidator(_inside),
]
"""A result file's path relative to the results, with '/' between levels."""
Seconds = Annotated[float, Field(ge=0)]
Quota = Annotated[int, Field(ge=1, le=1000)]
Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""An integer that every JSON parser carries exactly; a larger one is taken as a float."""
Parameters = Mapping[str, bool | Whole | float | str]
LogSource = Literal["stdout", "stderr", "system"]


class Payload(BaseModel):
    """Base of every payload: frozen, closed, finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null"
    )

    def encode(self) -> bytes:
        """Return the payload as JSON; fields that are None are left out."""
        return self.model_dump_json(exclude_none=True).encode()


class Error(Payload):
    """What went wrong, for people and programs.

    Attributes:
        code: For programs.
        message: One sentence: what is wrong.
        hint: One sentence: what to do.
        details: Facts for programs, for example ``{"line": 3, "field": "max_duration"}``.
    """

    code: ErrorCode
    message: str
    hint: str = ""
    details: Mapping[str, JsonValue] = Field(default_factory=dict)


class ContractError(Exception):
    """An error that is told to whoever asked. Knows nothing of HTTP or exit codes."""

    def __init__(self, code: ErrorCode, message: str, hint: str = "", **details: JsonValue) -> None:
        super().__init__(message)
        self.error = Error(code=code, message=message, hint=hint, details=details)


P = TypeVar("P", bound=Payload)
_QUOTED: Final = 300
"""Characters of a malformed message that its error repeats at most."""


def decode(model: type[P], payload: bytes, limit: int = MAX_PAYLOAD_BYTES) -> P:
    """Parse a payload at the door.

    Raises:
        ContractError: TOO_LARGE or MALFORMED; the details name each wrong field.
    """
    if len(payload) > limit:
        raise ContractError(
            ErrorCode.TOO_LARGE,
            f"the message has {len(payload)} bytes, at most {limit} are allowed",
            "send less in one message",
            bytes=len(payload),
            limit=limit,
        )
    try:
        return model.model_validate_json(payload or b"{}", strict=False)
    except ValidationError as error:
        # Both may quote the sender, who may have sent megabytes.
        found = [
            (".".join(str(part) for part in item["loc"])[:_QUOTED], item["msg"][:_QUOTED])
            for item in error.errors(include_url=False, include_input=False)[:10]
        ]
        problems: list[JsonValue] = [{"field": field, "problem": told} for field, told in found]
        raise ContractError(
            ErrorCode.MALFORMED,
            f"{found[0][0] or 'message'}: {found[0][1]}",
            "compare the message with docs/reference/asyncapi.json",
            problems=problems,
        ) from error


# Presence


class ServiceStatus(Payload):
    """Online or offline; retained, and the last will of its sender's connection.

    Attributes:
        boot_id: Fresh at every start, so that a stale last will is known as such.
        since: When the service entered this state; for a last will: when it connected.
    """

    state: Literal["online", "offline"]
    version: str
    boot_id: Ulid
    since: Time


class HubStatus(ServiceStatus):
    """The hub's presence, with the identity of its store.

    Attributes:
        store_id: Made with the store. Another one means another history.
        generation: Grows with every start of the hub on this store.
    """

    store_id: Ulid
    generation: int = Field(ge=0)


# Experiments and the queue


class Status(StrEnum):
    """The six states of an experiment."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"

    @property
    def finished(self) -> bool:
        """Whether the state never changes again."""
        return self in {Status.COMPLETED, Status.FAILED, Status.CANCELLED}


Outcome = Literal["completed", "failed", "cancelled"]


class Phase(StrEnum):
    """What a running experiment is doing."""

    ASSIGNED = "assigned"  # the node was asked, has not answered yet
    PREPARING = "preparing"  # the node accepted; image and container are made ready
    EXECUTING = "executing"
    PAUSING = "pausing"
    FROZEN = "frozen"
    RESUMING = "resuming"
    STOPPING = "stopping"
    COLLECTING = "collecting"  # the container is gone, results are on their way


class ResultFile(Payload):
    """One file of the results."""

    name: FileName
    size: int = Field(ge=0)
    sha256: Sha256


class StartForecast(Payload):
    """When a waiting experiment starts, as far as the length of what is in front of it is known.

    It holds while nobody pauses, moves or cancels anything in front, and no reactor comes or goes.

    Attributes:
        earliest: Absent where nothing says how short a run may be. May be past: any moment now.
        likely: Absent where a length in front is unknown, or longer already than it ever was.
        latest: Absent where nothing says how long a run may be.
        basis: The weakest ground of `likely`: a reactor is ``free`` now, the author ``declared`` a
            duration, or earlier runs of the same ``script``, or of the same ``user``, tell it.
    """

    earliest: Time | None = None
    likely: Time | None = None
    latest: Time | None = None
    basis: Literal["free", "declared", "script", "user"] | None = None


class Experiment(Payload):
    """An experiment as everybody may see it, retained at `experiments/{id}`.

    Attributes:
        owner: A handle for people; never the secret behind it.
        user: `mqtt:{principal}` or `web:{keyed hash}`.
        queue_position: 1 is next; absent unless queued.
        estimated_start: The forecast's likely one.
        phase_detail: One sentence, for example "waiting for the reactor since 14:02", or why
            nothing starts it: "needs co2: no reactor has it".
        node: The reactor that runs or ran it.
        unreachable_since: When its reactor was last heard of, while that is away. It may well be
            running on: what is said of it is as old as this.
        exit_code: Of the script; negative is the signal that ended it.
        error: Why it failed or was cancelled.
        results: Manifest of what the script saved; telemetry, log and series come with the export.
        revision: Grows with each change, so that the later one is known.
        note: What people keep with it.
        edition: How often name and note were changed: who changes them says which they saw.
    """

    experiment_id: Ulid
    name: Label
    note: Note = ""
    edition: int = Field(default=0, ge=0)
    user: str
    owner: str
    status: Status
    revision: int = Field(ge=0)
    phase: Phase | None = None
    phase_detail: str = ""
    phase_since: Time | None = None
    queue_position: int | None = None
    estimated_start: Time | None = None
    forecast: StartForecast | None = None
    attempt: int = Field(default=0, ge=0)
    node: Name | None = None
    unreachable_since: Time | None = None
    wanted_node: Name | None = None
    created_at: Time
    started_at: Time | None = None
    completed_at: Time | None = None
    max_duration: Seconds | None = None
    exit_code: int | None = None
    error: Error | None = None
    parameters: Parameters = Field(default_factory=dict)
    needs: tuple[Name, ...] = ()
    script_sha256: Sha256
    image: str | None = None
    isolation: str | None = None
    warnings: tuple[str, ...] = ()
    results: tuple[ResultFile, ...] = ()
    gaps: int = Field(default=0, ge=0)


class Posture(StrEnum):
    """How the hub dispatches."""

    RUNNING = "running"
    PAUSED = "paused"
    DRAINING = "draining"
    RECOVERY = "recovery"


class QueueEntry(Payload):
    """One experiment in the queue's order; `detail` is the experiment's `phase_detail`.

    Attributes:
        reactors: Of one that waits: reactors that satisfy it, busy or not, `MAX_REACTORS` at most.
    """

    experiment_id: Ulid
    name: Label
    owner: str
    user: str
    status: Status
    position: int | None = None
    phase: Phase | None = None
    detail: str = ""
    node: Name | None = None
    unreachable_since: Time | None = None
    created_at: Time
    started_at: Time | None = None
    estimated_start: Time | None = None
    forecast: StartForecast | None = None
    reactors: tuple[Name, ...] = ()


class QueueLimits(Payload):
    """Limits that an administrator may change while the hub runs.

    Attributes:
        exceptions: Users who may have another number of unfinished experiments than `per_user`.
        max_script: Bytes of a script in UTF-8.
        keep_days: Finished experiments are deleted so long after their end; absent: never.
    """

    per_user: Quota = 5
    exceptions: Annotated[Mapping[UserId, Quota], Field(max_length=MAX_EXCEPTIONS)] = Field(
        default_factory=dict
    )
    max_duration: Seconds = 14 * 86400.0
    max_pause: Seconds = 86400.0
    max_script: int = Field(default=MAX_SCRIPT_BYTES, ge=1, le=MAX_SCRIPT_BYTES)
    keep_days: int | None = Field(default=None, ge=1, le=MAX_KEEP_DAYS)

    def of(self, user: str) -> int:
        """Return how many unfinished experiments a user may have."""
        return self.exceptions.get(user, self.per_user)


class Withheld(Payload):
    """Why a reactor is given nothing new, until an administrator gives it back to the queue.

    Attributes:
        reason: ``drained``: what runs there is finished. ``dead``: an administrator said that its
            power is off; what ran there has failed.
        by: A handle for people.
    """

    reason: Literal["drained", "dead"]
    by: str
    since: Time


class Moved(Payload):
    """The last change that somebody made to the order of those that wait.

    Attributes:
        count: How often the order was changed; only grows. Who moves something says up to which
            change they know the order, so that nobody undoes what they have not seen.
        by: A handle for people.
    """

    count: int = Field(ge=1)
    experiment_id: Ulid
    name: Label
    by: str
    at: Time


class Queue(Payload):
    """The queue, retained at `queue`.

    Attributes:
        moved: Absent as long as nobody has changed the order.
        running: Those on a reactor (running, or paused there), oldest start first.
        waiting: Those that wait, in order; paused ones keep their rank without a position.
        withheld: Reactors that are given nothing new, by name.
    """

    posture: Posture
    posture_reason: str = ""
    revision: int = Field(ge=0)
    total_queued: int = Field(ge=0)
    total_running: int = Field(ge=0)
    total_paused: int = Field(ge=0)
    limits: QueueLimits
    moved: Moved | None = None
    running: tuple[QueueEntry, ...] = ()
    waiting: tuple[QueueEntry, ...] = ()
    withheld: Mapping[Name, Withheld] = Field(default_factory=dict)


# Requests to the hub


class Actor(Payload):
    """The person behind a portal's request. Believed only from portals.

    Attributes:
        user: ``web:`` and a keyed hash of the session's secret.
        name: A handle that others may see.
        admin: The portal vouches that this session may administrate.
    """

    user: Annotated[str, StringConstraints(pattern=r"^web:[A-Za-z0-9_-]{8,64}$")]
    name: Label
    admin: bool = False


class Request(Payload):
    """What every request carries. `mosquitto_pub -n` is a valid one where the verb allows.

    Attributes:
        id: Idempotency key, remembered for a day: the same id gives the same answer.
        client: Where to reply, below `reply/{principal}/`. Absent: fire and forget.
        expires_at: Not to be executed after this.
    """

    id: RequestId | None = None
    client: Name | None = None
    expires_at: Time | None = None
    actor: Actor | None = None


class Submit(Request):
    """Queue an experiment. Requires an id.

    Attributes:
        script: At most `MAX_SCRIPT_BYTES` in UTF-8; the bound here is wider, so that a longer one
            is answered SCRIPT_TOO_LARGE.
    """

    script: Annotated[str, StringConstraints(max_length=MAX_PAYLOAD_BYTES)]
    name: Label | None = None
    filename: Annotated[str, StringConstraints(max_length=200)] | None = None
    parameters: Parameters = Field(default_factory=dict)


class Check(Request):
    """Check a script as `submit` would, without queueing it."""

    script: Annotated[str, StringConstraints(max_length=MAX_PAYLOAD_BYTES)]
    parameters: Parameters = Field(default_factory=dict)


class OnExperiment(Request):
    """Cancel, pause, resume or get one experiment."""

    experiment_id: Ulid


class Move(Request):
    """Move a waiting experiment; exactly one of the three says where. Requires an id.

    Attributes:
        known: The `count` of the last change of the order that the asker has seen, 0 for none. If
            there was a later one, nothing is moved. Absent: moved in any case.
    """

    experiment_id: Ulid
    position: int | None = Field(default=None, ge=1)
    before: Ulid | None = None
    after: Ulid | None = None
    known: int | None = Field(default=None, ge=0)


class RunNow(Request):
    """Put a waiting experiment first, on a named reactor if given. Requires an id.

    Attributes:
        stops: What the asker has agreed to stop; if another one holds the reactor, nothing is
            done. Absent: with `stop_running`, whatever runs there is stopped.
    """

    experiment_id: Ulid
    node: Name | None = None
    stop_running: bool = False
    stops: Ulid | None = None


class Annotate(Request):
    """Change an experiment's name, its note, or both; what is absent stays.

    Attributes:
        edition: The `edition` that the asker saw: where it is another one by now, nothing is
            changed and the refusal's details have what stands there. Absent: whatever stands there.
    """

    experiment_id: Ulid
    name: Label | None = None
    note: Note | None = None
    edition: int | None = Field(default=None, ge=0)


class SortKey(StrEnum):
    """What a list of experiments can be ordered by."""

    CREATED = "created"
    STARTED = "started"
    FINISHED = "finished"
    DURATION = "duration"  # from start to end
    NAME = "name"


class List(Request):
    """List experiments, newest first unless told otherwise.

    Attributes:
        mine: Only the asker's.
        search: Part of name, note, owner, reactor or id; case does not matter.
        node: Only those that ran, or run, on this reactor.
        since: Only those created then or later; with `until`, before that.
        sort: What is not known (the start of one that waits) comes last in either direction.
        before: The `next` of the page before, asked for with the same sort.
    """

    mine: bool = False
    status: tuple[Status, ...] = ()
    search: Annotated[str, StringConstraints(max_length=100)] = ""
    node: Name | None = None
    since: Time | None = None
    until: Time | None = None
    sort: SortKey = SortKey.CREATED
    ascending: bool = False
    before: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_=-]{1,1000}$")] | None = None
    limit: int = Field(default=50, ge=1, le=200)


class ReadAudit(Request):
    """Read who did what, newest first.

    Attributes:
        experiment_id: Only what was done to this experiment; absent: everything.
        verb: Only what was asked for by this verb, or what the hub called it.
        who: Only what this one did: a handle, or a user's id.
        before: The `next` of the page before.
    """

    experiment_id: Ulid | None = None
    verb: Name | None = None
    who: Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)] | None = None
    before: int | None = Field(default=None, ge=1, le=2**53)
    limit: int = Field(default=50, ge=1, le=200)


class History(Request):
    """Samples and series of an experiment, or of a node, downsampled by min and max.

    Attributes:
        channels: Absent: all.
        start: With end, seconds of the experiment's clock for an experiment.
        points: At most so many a channel.
        events: Only events of these kinds, `alarm` for example; absent: all.
    """

    experiment_id: Ulid | None = None
    node: Name | None = None
    channels: tuple[str, ...] | None = None
    events: tuple[Name, ...] | None = None
    start: float | None = None
    end: float | None = None
    points: int = Field(default=MAX_HISTORY_POINTS, ge=2, le=MAX_HISTORY_POINTS)


class Logs(Request):
    """Log lines of an experiment after a number; absent `after`: the last ones.

    Attributes:
        search: Only lines with this text; capital letters of ASCII are like small ones.
        sources: Only lines of these; empty: of all.
    """

    experiment_id: Ulid
    after: int | None = Field(default=None, ge=0, le=2**53)
    search: Annotated[str, StringConstraints(max_length=200)] = ""
    sources: tuple[LogSource, ...] = ()
    limit: int = Field(default=500, ge=1, le=2000)


class Send(Request):
    """Change parameters of a running experiment.

    Attributes:
        expected: What some of them are now; where they are not, nothing is changed. So nobody
            overwrites what somebody else has changed meanwhile.
    """

    experiment_id: Ulid
    parameters: Parameters
    expected: Parameters = Field(default_factory=dict)


class ExportKind(StrEnum):
    """What can be exported from an experiment."""

    RESULTS = "results"  # one ZIP with everything
    TELEMETRY_CSV = "telemetry-csv"
    TELEMETRY_PARQUET = "telemetry-parquet"
    LOG = "log"
    SCRIPT = "script"
    FILE = "file"  # one file of the results


class Export(Request):
    """Make a file ready to be fetched; answered when it is.

    Attributes:
        file: Which of the results, for kind ``file``.
        channels: Of telemetry alone: only these columns, and only rows that have one of them;
            those that were never recorded are left out. Absent: all.
        start: Of telemetry alone: with end, seconds of the experiment's clock, both included.
    """

    experiment_id: Ulid
    kind: ExportKind
    file: FileName | None = None
    channels: Annotated[tuple[str, ...], Field(max_length=MAX_EXPORT_CHANNELS)] | None = None
    start: float | None = None
    end: float | None = None


class Fetch(Request):
    """Fetch a piece of an exported file."""

    ref: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
    offset: int = Field(default=0, ge=0, le=2**53)
    length: int = Field(default=MAX_FETCH_BYTES, ge=1, le=MAX_FETCH_BYTES)


class Limits(Request):
    """Change limits of the queue; what is absent stays.

    Attributes:
        user: Whose limit `per_user` is, in place of everybody's; without `per_user` the exception
            made for this user ends.
    """

    user: UserId | None = None
    per_user: Quota | None = None
    max_duration: Seconds | None = None
    max_pause: Seconds | None = None
    max_script: int | None = Field(default=None, ge=1, le=MAX_SCRIPT_BYTES)


class Retention(Request):
    """Delete finished experiments some days after their end; absent: keep them for ever."""

    days: int | None = Field(default=None, ge=1, le=MAX_KEEP_DAYS)


class Users(Request):
    """List users, with what they have and had.

    Attributes:
        after: The `next` of the page before.
    """

    after: UserId | None = None
    limit: int = Field(default=100, ge=1, le=200)


class Due(Request):
    """Ask what a retention of so many days would delete now."""

    days: int = Field(ge=1, le=MAX_KEEP_DAYS)


class OnNode(Request):
    """An administrator's word about one node."""

    node: Name


class DeclareDead(OnNode):
    """Give up a node: the experiment that it holds has failed and is not run again.

    Attributes:
        power_is_off: The administrator has seen to it that the reactor's power is off.
    """

    power_is_off: bool = False


class Halt(Request):
    """Pause or drain the queue, and say why."""

    reason: Reason = ""


class Role(StrEnum):
    """What the holder of a token may."""

    USER = "user"
    ADMINISTRATOR = "administrator"


class CreateToken(Request):
    """Have a token for scripts admitted; its text is made by who asks, and never sent here.

    Attributes:
        token_id: Chosen by the asker; said again with the same fields, nothing changes.
        expires_on: It is refused from then on; absent: never.
    """

    token_id: Ulid
    name: Label
    role: Role = Role.USER
    expires_on: Time | None = None


class RevokeToken(Request):
    """Have a token refused from now on."""

    token_id: Ulid


class Plain(Request):
    """A request without fields of its own, for example pause-queue."""


REQUESTS: Final[Mapping[str, type[Request]]] = {
    "submit": Submit,
    "check": Check,
    "cancel": OnExperiment,
    "pause": OnExperiment,
    "resume": OnExperiment,
    "move": Move,
    "get": OnExperiment,
    "list": List,
    "history": History,
    "logs": Logs,
    "send": Send,
    "annotate": Annotate,
    "delete": OnExperiment,
    "restore": OnExperiment,
    "audit": ReadAudit,
    "export": Export,
    "fetch": Fetch,
}
"""Verbs below `hub/request/{principal}/`."""

ADMIN_REQUESTS: Final[Mapping[str, type[Request]]] = {
    "pause-queue": Halt,
    "resume-queue": Plain,
    "drain-queue": Halt,
    "run-now": RunNow,
    "move": Move,
    "cancel": OnExperiment,
    "pause": OnExperiment,
    "resume": OnExperiment,
    "annotate": Annotate,
    "delete": OnExperiment,
    "restore": OnExperiment,
    "audit": ReadAudit,
    "create-token": CreateToken,
    "revoke-token": RevokeToken,
    "limits": Limits,
    "retention": Retention,
    "drain-node": OnNode,
    "resume-node": OnNode,
    "declare-dead": DeclareDead,
    "estop": OnNode,
    "users": Users,
    "due": Due,
    "storage": Plain,
}
"""Verbs below `hub/admin/{principal}/`."""

ID_REQUIRED: Final = frozenset({"submit", "move", "run-now"})
"""Verbs that must not be executed twice and are not naturally idempotent."""


class Submitted(Payload):
    """The experiment is durable in the queue."""

    kind: Literal["submitted"] = "submitted"
    experiment_id: Ulid
    status: Status
    queue_position: int | None = None
    estimated_start: Time | None = None
    forecast: StartForecast | None = None
    warnings: tuple[str, ...] = ()
    message: str


class Done(Payload):
    """A command's outcome.

    Attributes:
        outcome: ``done``, ``accepted`` (the node's evidence is awaited) or ``unchanged``.
        known: Of the order as it is now: what a next move is to bring as `known`.
        edition: Of the experiment, after its name or note was changed.
        undo_seconds: For so long at least `restore` takes a deletion back.
    """

    kind: Literal["done"] = "done"
    outcome: Literal["done", "accepted", "unchanged"]
    message: str
    experiment_id: Ulid | None = None
    status: Status | None = None
    queue_position: int | None = None
    known: int | None = None
    edition: int | None = None
    undo_seconds: Seconds | None = None


class ScriptProblem(Payload):
    """Something in a script that its author should know, with the line it stands on."""

    severity: Literal["error", "warning"]
    error: Error
    line: int | None = Field(default=None, ge=1)
    column: int | None = Field(default=None, ge=1)


class ParameterInfo(Payload):
    """A parameter that the script declares, for a form.

    Attributes:
        choices: The only values that it may have; empty: any of its kind.
    """

    name: Label
    default: bool | int | float | str
    unit: str = ""
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[int | float | str, ...] = ()


class ScriptInfo(Payload):
    """What a script says of itself, parsed from its inline metadata.

    Attributes:
        duration: How long its author expects it to run; nothing enforces it.
        max_duration: It is stopped then.
    """

    name: Label | None = None
    duration: Seconds | None = None
    max_duration: Seconds | None = None
    max_silence: Seconds | None = None
    needs: tuple[Name, ...] = ()
    node: Name | None = None
    on_interruption: Literal["fail", "requeue"] = "fail"
    dependencies: tuple[str, ...] = ()
    image: Name = "standard"
    parameters: tuple[ParameterInfo, ...] = ()


class Prospect(Payload):
    """Where a submission would stand, were it made now.

    Attributes:
        queue_position: Absent: it would start at once.
        waiting_for: One sentence on what nothing starts it for, where that is known.
        refusal: Why it would not be queued although nothing is wrong with it: the quota.
    """

    queue_position: int | None = None
    forecast: StartForecast | None = None
    waiting_for: str = ""
    refusal: Error | None = None


class Checked(Payload):
    """A script's problems and metadata.

    Attributes:
        unsuitable_nodes: Why each of the other reactors cannot run it, in a few words.
        prospect: Absent where the script is not right.
    """

    kind: Literal["checked"] = "checked"
    ok: bool
    problems: tuple[ScriptProblem, ...] = ()
    script: ScriptInfo | None = None
    suitable_nodes: tuple[Name, ...] = ()
    unsuitable_nodes: Mapping[Name, str] = Field(default_factory=dict)
    prospect: Prospect | None = None


class Milestone(Payload):
    """Something rare in the life of an experiment, for its timeline.

    Attributes:
        attempt: 0 where it concerns none.
        what: As phase records and events call it, or a gap in the record.
        elapsed: Seconds of the experiment's clock; absent before that began.
        detail: One sentence, or nothing.
        parameters: What changed.
        revision: Of the parameters; the script has seen them where it is told as seen.
        simulated: With executing: whether no real reactor stood behind it.
        speed: With executing: seconds of the reactor's clock in one second.
    """

    attempt: int = Field(ge=0)
    node: Name | None = None
    what: Literal[
        "accepted", "executing", "paused", "resumed", "stopping", "released", "finished",
        "interrupted", "adopted", "parameters", "parameters-seen", "gap",
    ]  # fmt: skip
    t: Time
    elapsed: float | None = None
    detail: str = ""
    parameters: Parameters = Field(default_factory=dict)
    revision: int | None = None
    simulated: bool | None = None
    speed: float | None = Field(default=None, gt=0)


class Got(Payload):
    """One experiment; the script only for those who may see it.

    Attributes:
        info: What the script says of itself; for whom the script is.
        milestones: In order; of all attempts, the last few hundred.
    """

    kind: Literal["experiment"] = "experiment"
    experiment: Experiment
    script: str | None = None
    info: ScriptInfo | None = None
    milestones: tuple[Milestone, ...] = ()


class Listed(Payload):
    """A page of experiments in the order asked for; `next` is the `before` of the next page."""

    kind: Literal["experiments"] = "experiments"
    experiments: tuple[Experiment, ...]
    total: int
    next: str | None = None


class AuditEntry(Payload):
    """Who did what, and what came of it.

    Attributes:
        n: Grows with each entry.
        by: A handle for people; ``hub`` for what the hub did of itself.
        outcome: ``done``, ``accepted``, ``unchanged``, what the hub did, or an error's code.
        name: Of the experiment, where it is still known.
        message: Why it was refused, or what the hub noted. Like all that follows it is told to
            administrators, and to others of what they did themselves.
        details: The request, or for a submission the whole plan.
    """

    n: int
    at: Time
    by: str
    verb: str
    outcome: str
    experiment_id: Ulid | None = None
    name: str | None = None
    message: str = ""
    principal: str | None = None
    user: str | None = None
    details: Mapping[str, JsonValue] = Field(default_factory=dict)


class Audited(Payload):
    """A page of the audit, newest first; `next` is the `before` of the next page."""

    kind: Literal["audit"] = "audit"
    entries: tuple[AuditEntry, ...]
    next: int | None = None


class Trace(Payload):
    """One channel or series, downsampled: arrays of equal length.

    Attributes:
        t: Seconds of the experiment's clock (an experiment) or of the Unix epoch (a node).
        v: Values; null where the device gave none.
        downsampled: Whether points were left out (minima and maxima never are).
    """

    unit: str = ""
    series: bool = False
    t: tuple[float, ...]
    v: tuple[float | None, ...]
    downsampled: bool = False


class HistoryOf(Payload):
    """Answer to history.

    Attributes:
        started_at: When the experiment's clock stood at 0.
        traces: By channel; the author's own series stand as `series.{name}`, since a series may be
            called like a channel; the container's use of resources, only where asked for by name,
            as `container.{field}`.
    """

    kind: Literal["history"] = "history"
    started_at: Time | None = None
    traces: Mapping[str, Trace]
    events: tuple["EventRecord", ...] = ()
    gaps: tuple["Gap", ...] = ()


class Gap(Payload):
    """Entries that a node no longer had: a visible hole in the record."""

    node: Name
    stream: Literal["records", "files"]
    epoch: Ulid
    first: int
    upto: int
    noticed_at: Time


class LogLine(Payload):
    """One line of an experiment's log; `n` counts from 1 within the experiment."""

    n: int
    t: Time
    source: LogSource
    text: str


class LogPage(Payload):
    """Log lines; `last` is the number to ask on from.

    Attributes:
        found: Of how many lines in the whole log the page is one, where they were searched.
    """

    kind: Literal["logs"] = "logs"
    lines: tuple[LogLine, ...]
    last: int
    complete: bool
    found: int | None = None


class Exported(Payload):
    """A file that is ready to be fetched for an hour at least."""

    kind: Literal["exported"] = "exported"
    ref: str
    filename: str
    media_type: str
    size: int
    sha256: Sha256


class Fetched(Payload):
    """A piece of a file, base64."""

    kind: Literal["fetched"] = "fetched"
    offset: int
    size: int
    data: str


class UserInfo(Payload):
    """A user, and how many experiments they have by state.

    Attributes:
        owner: The handle of the last one.
        limit: How many unfinished ones they may have.
        excepted: Whether that is a limit of their own.
    """

    user: UserId
    owner: str
    queued: int = Field(ge=0)
    running: int = Field(ge=0)
    paused: int = Field(ge=0)
    completed: int = Field(ge=0)
    failed: int = Field(ge=0)
    cancelled: int = Field(ge=0)
    limit: int
    excepted: bool = False
    last_submitted: Time | None = None


class UsersOf(Payload):
    """A page of users in the order of their ids; `next` is the `after` of the next page."""

    kind: Literal["users"] = "users"
    users: tuple[UserInfo, ...]
    next: UserId | None = None


class DueOf(Payload):
    """What a retention would delete now.

    Attributes:
        oldest: When the oldest of them ended.
    """

    kind: Literal["due"] = "due"
    days: int
    count: int = Field(ge=0)
    oldest: Time | None = None


class Storage(Payload):
    """The hub's disk, in bytes.

    Attributes:
        database: Of the archive's database.
        files: Of all result files.
        finished: Experiments in the archive.
        low: So little is free that nothing new is queued.
    """

    kind: Literal["storage"] = "storage"
    total: int = Field(ge=0)
    free: int = Field(ge=0)
    database: int = Field(ge=0)
    files: int = Field(ge=0)
    finished: int = Field(ge=0)
    low: bool = False


Result = Annotated[
    Submitted
    | Done
    | Checked
    | Got
    | Listed
    | Audited
    | HistoryOf
    | LogPage
    | Exported
    | Fetched
    | UsersOf
    | DueOf
    | Storage,
    Field(discriminator="kind"),
]


class Reply(Payload):
    """The answer of the hub, or of a node to manual control: a result or an error, never both."""

    id: str | None = None
    result: Result | None = None
    error: Error | None = None


# What the hub desires of a node


class RunLimits(Payload):
    """What one run may use; sizes in bytes, times in seconds.

    Attributes:
        max_duration: After so long it is stopped; a script may ask for less.
        max_silence: Of a script that says nothing; left out: silence is no fault.
        grace: What a script that is stopped has to save its results, before it is killed.
        memory: Of all its processes; swap is none.
        cpus: Processors' worth of time.
        pids: Processes and threads.
        tmp: Of its `/tmp`, which counts as memory.
        results: What it may save.
        log: What it may print.
    """

    max_duration: Seconds = 14 * 86400.0
    max_silence: Seconds | None = None
    grace: Seconds = 10.0
    memory: int = Field(default=512 * 1024**2, ge=32 * 1024**2)
    cpus: float = Field(default=1.0, gt=0)
    pids: int = Field(default=64, ge=8)
    tmp: int = Field(default=64 * 1024**2, ge=1024**2)
    results: int = Field(default=512 * 1024**2, ge=1024**2)
    log: int = Field(default=32 * 1024**2, ge=64 * 1024)


class Assignment(Payload):
    """Desired, retained at `nodes/{node}/assignment`.

    Attributes:
        revision: Grows for ever; a node ignores what is lower than it has seen.
        store_id: Of the hub's store.
        generation: Of the hub's store.
        desired: ``idle`` is said only after `released` was committed.
        stop_reason: Why, for the author, where desired is ``stop``.
    """

    revision: int = Field(ge=1)
    store_id: Ulid
    generation: int = Field(ge=0)
    desired: Literal["idle", "run", "pause", "stop"]
    experiment_id: Ulid | None = None
    attempt: int | None = Field(default=None, ge=1)
    name: Label | None = None
    owner: str = ""
    script: str | None = None
    script_sha256: Sha256 | None = None
    image: Name = "standard"
    parameters: Parameters = Field(default_factory=dict)
    limits: RunLimits = RunLimits()
    stop_reason: Error | None = None


# What a node reports


class Quantity(StrEnum):
    """What a channel measures or moves; the unit stands beside it."""

    OPTICAL_DENSITY = "optical_density"
    TEMPERATURE = "temperature"
    PH = "ph"
    DISSOLVED_OXYGEN = "dissolved_oxygen"
    CO2 = "co2"
    VOLUME = "volume"
    FLOW = "flow"
    SPEED = "speed"
    POWER = "power"
    LIGHT = "light"
    OTHER = "other"


class ChannelLimits(Payload):
    """Limits that every command obeys, whoever sent it; absent means none."""

    minimum: float | None = None
    maximum: float | None = None
    slew_per_s: float | None = Field(default=None, gt=0)
    max_on_time: Seconds | None = None
    max_dose_ml: float | None = Field(default=None, gt=0)
    max_hourly_ml: float | None = Field(default=None, gt=0)
    max_total_ml: float | None = Field(default=None, gt=0)


class CalibrationInfo(Payload):
    """How good a calibration is, and by what it was made.

    Attributes:
        way: ``curve``: readings are brought onto a curve; ``volume``: a pump's volumes are scaled;
            ``device``: the device keeps it itself, and this is the record of it.
        unit: Of `error`.
        points: How many standards it was made of.
        error: By how much the worst of them is off, in `unit`; absent where nothing tells.
        note: Who made it, with which standards.
    """

    way: Literal["curve", "volume", "device"]
    unit: str = ""
    points: int = Field(default=0, ge=0)
    error: float | None = Field(default=None, ge=0)
    note: Annotated[str, StringConstraints(max_length=200)] = ""


class ChannelInfo(Payload):
    """A sensor or an actuator.

    Attributes:
        kind: ``sensor`` is read; ``actuator`` is set directly and its command carries a duration;
            ``setpoint`` is set and held by a controller of the node; ``pump`` doses volumes.
        safe_value: What the channel is set to when nobody is in control.
        period: Seconds between samples.
        calibration: Which one its values are brought to truth with; absent: none is known.
        calibrated_at: When that was made.
        calibration_info: How good that is.
    """

    name: Name
    kind: Literal["sensor", "actuator", "setpoint", "pump"]
    quantity: Quantity
    unit: str
    label: str
    driver: str
    period: Seconds
    limits: ChannelLimits = ChannelLimits()
    safe_value: float | None = None
    precision: int = Field(default=3, ge=0, le=9)
    calibration: Annotated[str, StringConstraints(max_length=80)] | None = None
    calibrated_at: Time | None = None
    calibration_info: CalibrationInfo | None = None


class Channels(Payload):
    """The node's channels, retained at `nodes/{node}/channels`.

    Attributes:
        simulated: Whether no real reactor stands behind it.
        speed: Seconds of the reactor's clock in one second; 1 unless simulated.
        packages: What the images offer, for checks at submission: import name → distribution.
    """

    node: Name
    label: str
    simulated: bool = False
    speed: float = Field(default=1.0, gt=0)
    channels: tuple[ChannelInfo, ...]
    images: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)


class ContainerStatus(Payload):
    """The container, measured each second; memory in bytes, uptime in seconds.

    Attributes:
        cpu_limit: In cores.
    """

    container_id: str
    image: str
    state: Literal["created", "running", "paused", "exited"]
    cpu_percent: float = Field(ge=0)
    memory: int = Field(ge=0)
    memory_limit: int = Field(ge=0)
    pids: int = Field(ge=0)
    results_bytes: int = Field(default=0, ge=0)
    log_bytes: int = Field(default=0, ge=0)
    uptime: Seconds
    cpu_limit: float | None = Field(default=None, gt=0)
    pids_limit: int | None = Field(default=None, gt=0)
    results_limit: int | None = Field(default=None, gt=0)
    log_limit: int | None = Field(default=None, gt=0)


class LedgerEntry(Payload):
    """What became of one attempt on this node; kept for good."""

    experiment_id: Ulid
    attempt: int = Field(ge=1)
    state: Literal["accepted", "released", "finished"]
    outcome: Outcome | None = None


class Activity(Payload):
    """What runs on the node."""

    experiment_id: Ulid
    attempt: int
    phase: Phase
    detail: str = ""
    since: Time
    started_at: Time | None = None
    elapsed: Seconds = 0.0
    frozen_for: Seconds = 0.0
    lease: bool = False
    outputs_reset: bool = False


class StreamBacklog(Payload):
    """What of a journal stream the hub has not acknowledged."""

    entries: int = Field(ge=0)
    bytes: int = Field(ge=0)
    oldest: Time | None = None


class Alarm(Payload):
    """Something that people should look at."""

    id: str
    severity: Literal["warning", "critical"]
    message: str
    channel: Name | None = None
    since: Time


class Estop(Payload):
    """A latched emergency stop."""

    latch: Ulid
    by: str
    since: Time
    reason: str = ""


class ManualHold(Payload):
    """Somebody controls the reactor by hand; no experiment starts there meanwhile.

    Attributes:
        by: A handle for people.
        since: The first command.
        until: Everything is made safe then, unless there is another command before.
    """

    by: str
    since: Time
    until: Time


class NodeReport(Payload):
    """Reported, retained at `nodes/{node}/report`; sent on change and each second of a run."""

    node: Name
    boot_id: Ulid
    at: Time
    seen_revision: int = Field(ge=0)
    seen_store_id: Ulid | None = None
    seen_generation: int = Field(default=0, ge=0)
    accepts: bool
    refusal: Error | None = None
    isolation: str
    isolation_note: str = ""
    activity: Activity | None = None
    container: ContainerStatus | None = None
    ledger: tuple[LedgerEntry, ...] = ()
    safe: bool
    manual: ManualHold | None = None
    estop: Estop | None = None
    alarms: tuple[Alarm, ...] = ()
    backlog: Mapping[str, StreamBacklog] = Field(default_factory=dict)


# Live, for eyes


class Telemetry(Payload):
    """One reading of a node's channels, live.

    Attributes:
        elapsed: Seconds of the experiment's clock; absent while idle.
        values: By channel; null where the device gave none.
        series: The author's own series, as recorded.
    """

    t: Time
    experiment_id: Ulid | None = None
    elapsed: float | None = None
    values: Mapping[str, float | None] = Field(default_factory=dict)
    series: Mapping[str, float | None] = Field(default_factory=dict)


class Console(Payload):
    """Log lines, live; `n` counts from 1 within the experiment."""

    experiment_id: Ulid
    lines: tuple[LogLine, ...]


# The journal


class Recorded(Payload):
    """What every record carries.

    Attributes:
        t: Wall time in UTC.
        mono: The node's monotonic clock in seconds; comparable within one epoch only.
        elapsed: Seconds of the experiment's clock.
    """

    t: Time
    mono: float = 0.0
    experiment_id: Ulid | None = None
    attempt: int | None = None
    elapsed: float | None = None


class SampleRecord(Recorded):
    """One reading of the channels."""

    kind: Literal["sample"] = "sample"
    values: Mapping[str, float | None]


class SeriesRecord(Recorded):
    """The author's own values.

    Attributes:
        id: Of the script's call, by which a node that was restarted knows that it is recorded.
    """

    kind: Literal["series"] = "series"
    values: Mapping[str, float | None]
    id: RequestId | None = None


class LogRecord(Recorded):
    """One log line."""

    kind: Literal["log"] = "log"
    n: int
    source: LogSource
    text: str


class EventRecord(Recorded):
    """Something that happened: a setpoint, a dose, an alarm, dropped entries.

    Attributes:
        event: Its name: set, dose, alarm, alarm-cleared, dropped, parameters, message, estop …
    """

    kind: Literal["event"] = "event"
    event: Name
    channel: Name | None = None
    value: float | None = None
    data: Mapping[str, JsonValue] = Field(default_factory=dict)


class ContainerRecord(Recorded):
    """The container's use of resources, kept as series."""

    kind: Literal["container"] = "container"
    status: ContainerStatus


class PhaseRecord(Recorded):
    """A step in the life of an attempt; the queue follows these.

    Attributes:
        phase: In order: accepted, executing, (paused, resumed)*, stopping?, released, finished.
            interrupted stands in place of finished after a reboot or a lost container.
        simulated: With executing: whether no real reactor stands behind it.
        speed: With executing: seconds of the reactor's clock in one second.
        files_upto: With finished: `[epoch, n]` of the last entry in the files stream that
            belongs to the attempt; absent if there is none.
    """

    kind: Literal["phase"] = "phase"
    phase: Literal[
        "accepted", "executing", "paused", "resumed", "stopping", "released", "finished",
        "interrupted",
    ]  # fmt: skip
    outcome: Outcome | None = None
    exit_code: int | None = None
    error: Error | None = None
    image: str | None = None
    isolation: str | None = None
    simulated: bool | None = None
    speed: float | None = Field(default=None, gt=0)
    files: tuple[ResultFile, ...] = ()
    files_upto: tuple[Ulid, int] | None = None


Record = Annotated[
    SampleRecord | SeriesRecord | LogRecord | EventRecord | ContainerRecord | PhaseRecord,
    Field(discriminator="kind"),
]


class FileChunk(Payload):
    """A piece of a result file, base64; pieces of a file come in order.

    Attributes:
        last: Whether the file ends here; then size and sha256 of the whole are given.
    """

    kind: Literal["chunk"] = "chunk"
    experiment_id: Ulid
    attempt: int
    name: FileName
    offset: int = Field(ge=0)
    data: str
    last: bool = False
    size: int | None = None
    sha256: Sha256 | None = None


class Batch(Payload):
    """Entries `first`, `first + 1`, … of one epoch of a stream.

    Attributes:
        epoch: Fresh at every opening of the journal.
        order: Grows with each opening; older epochs are sent first.
        floor: The oldest number of this epoch that the node still has.
    """

    epoch: Ulid
    order: int = Field(ge=1)
    floor: int = Field(ge=1)
    first: int = Field(ge=1)
    entries: tuple[JsonValue, ...]


class JournalAck(Payload):
    """Committed by the hub: for each epoch all entries up to a number."""

    epochs: Mapping[Ulid, int]


RECORD: Final[TypeAdapter[Record]] = TypeAdapter(Record)


# Manual control


class ByHand(Payload):
    """What every order of manual control carries; live only, at most 10 s old.

    Attributes:
        id: The same id is carried out once, and answered alike each time.
        client: Where to reply, below `reply/{principal}/`: within a second, a `Done` or an error.
            Nodes are told it, so it is another one than is used towards the hub. Absent: only
            what is wrong is told, on `errors/{principal}`.
        actor: The person behind a portal's order, who must be an administrator.
    """

    id: RequestId
    client: Name | None = None
    expires_at: Time
    actor: Actor | None = None


class Command(ByHand):
    """Set or dose one channel of a reactor that nobody holds: a value or a volume, not both.

    It holds the reactor for the sender, see `ManualHold`. What is not done soon is answered
    ``accepted``; if it fails later, that is told on `errors/{principal}` under its id.

    Attributes:
        value: In the channel's unit.
        dose_ml: Of a pump, mL.
        duration: Seconds of the reactor's clock; direct outputs need one.
    """

    value: float | None = None
    dose_ml: float | None = Field(default=None, gt=0)
    duration: Seconds | None = None


class ManualEnd(ByHand):
    """End manual control: everything is made safe."""


class EstopRequest(Payload):
    """Engage the emergency stop. Any non-empty payload does; this is the polite form."""

    reason: Annotated[str, StringConstraints(max_length=200)] = ""


class EstopRelease(Payload):
    """Release the emergency stop with this latch; the reason is kept with it."""

    latch: Ulid
    reason: Annotated[str, StringConstraints(max_length=200)] = ""


class ErrorReport(Payload):
    """Sent to `errors/{principal}` for a message that asked for no reply."""

    id: str | None = None
    topic: str
    error: Error


# Notifications and figures

NotificationKind = Literal["finished", "failed", "interrupted", "alarm"]


class Notification(Payload):
    """Something that people want to be told of, sent to `notifications/{kind}`.

    Attributes:
        id: The same at each repeat, and of nothing else.
        kind: ``finished`` is completed or cancelled; ``interrupted``: its node lost the run, which
            failed or starts over; ``alarm``: one was raised.
        at: When it happened, by the clock of where it happened.
        title: A few words.
        message: One or more sentences.
        severity: Of an alarm.
    """

    id: RequestId
    kind: NotificationKind
    at: Time
    title: str
    message: str
    experiment_id: Ulid | None = None
    attempt: int | None = None
    name: Label | None = None
    owner: str | None = None
    status: Status | None = None
    node: Name | None = None
    channel: Name | None = None
    severity: Literal["warning", "critical"] | None = None
    error: Error | None = None


class HubMetrics(Payload):
    """The hub's figures, retained at `hub/metrics`.

    Attributes:
        at: When they were taken.
        text: Prometheus' text format; all names begin with ``bioreactor_hub_``.
    """

    at: Time
    text: str


class Token(Payload):
    """A token for scripts, as the hub admits it; what its holder sends is not in here.

    Attributes:
        created_by: A handle for people.
        expires_on: It is refused from then on; absent: never.
    """

    token_id: Ulid
    name: Label
    role: Role
    created_by: str
    created_at: Time
    expires_on: Time | None = None


class Tokens(Payload):
    """The tokens that are admitted, retained at `hub/tokens`: what is not in it is refused."""

    tokens: tuple[Token, ...] = ()


def dumps(value: JsonValue) -> bytes:
    """Encode plain JSON; NaN becomes null."""
    return orjson.dumps(value)


HistoryOf.model_rebuild()
