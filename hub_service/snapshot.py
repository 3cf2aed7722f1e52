"""The queue's state as the documents of one snapshot, and back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from broker.messages import Moved, Posture, QueueLimits, Reply, Time, Withheld
from hub_service.queue import views
from hub_service.queue.state import Attempt, Entry, Intent, NodeState, Plan, QueueState, Stage

Document = dict[str, Any]
Tables = Mapping[str, Mapping[str, Document]]
Upgrade = Callable[[Tables], Tables]


def _without_durations(tables: Tables) -> Tables:
    """How long scripts took is looked up in the archive since."""
    about = {k: v for k, v in tables["about"]["queue"].items() if k != "durations"}
    return {**tables, "about": {"queue": about}}


def _with_moves(tables: Tables) -> Tables:
    """The order says who changed it last; notes and exceptions to limits are empty where absent."""
    about = {"recovered": 0, "moved": None, **tables["about"]["queue"]}
    return {**tables, "about": {"queue": about}}


UPGRADES: Final[tuple[Upgrade, ...]] = (_without_durations, _with_moves)
"""For each version of the snapshot's form what makes of it the next."""
SCHEMA: Final = 1 + len(UPGRADES)
"""Version of the form that this hub writes; it refuses what is newer."""
_NO_MORE: Final = ConfigDict(extra="forbid")


class SnapshotError(ValueError):
    """The documents are not a queue; the message says where."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A request that was answered: the same id gets the same answer for a day.

    Attributes:
        lasting: Carried out once more it would do something once more; the others may be forgotten
            earlier where there are too many.
    """

    user: str
    fingerprint: str
    at: Time
    reply: Reply
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class _About:
    """The one document of the table `about`."""

    __pydantic_config__ = _NO_MORE

    schema_version: int
    store_id: str
    generation: int
    revision: int
    counter: int
    dispatched: int
    posture: Posture
    posture_reason: str
    limits: QueueLimits
    order: tuple[str, ...]
    accepted_stores: tuple[str, ...]
    seen_generation: int
    recovered: int
    moved: Moved | None
    applied_cursor: int


@dataclass(frozen=True, slots=True)
class _Node:
    """A document of the table `nodes`: what of a node outlives the hub."""

    __pydantic_config__ = _NO_MORE

    revision: int
    intent: Intent | None
    last: Attempt | None
    withheld: Withheld | None = None
    abandoned: tuple[Attempt, ...] = ()


_ABOUT: Final[TypeAdapter[_About]] = TypeAdapter(_About)
_NODE: Final[TypeAdapter[_Node]] = TypeAdapter(_Node)
_PLAN: Final[TypeAdapter[Plan]] = TypeAdapter(Plan)
_ENTRY: Final[TypeAdapter[Entry]] = TypeAdapter(Entry)
_REMEMBERED: Final[TypeAdapter[Remembered]] = TypeAdapter(Remembered)


def about(state: QueueState, cursor: int) -> Document:
    """Return the document about the whole."""
    whole = _About(
        schema_version=SCHEMA,
        store_id=state.store_id,
        generation=state.generation,
        revision=state.revision,
        counter=state.counter,
        dispatched=state.dispatched,
        posture=state.posture,
        posture_reason=state.posture_reason,
        limits=state.limits,
        order=state.order,
        accepted_stores=state.accepted_stores,
        seen_generation=state.seen_generation,
        recovered=state.recovered,
        moved=state.moved,
        applied_cursor=cursor,
    )
    document: Document = _ABOUT.dump_python(whole, mode="json")
    return document


def entry(value: Entry) -> Document:
    """Return an experiment's document."""
    document: Document = _ENTRY.dump_python(value, mode="json")
    return document


def plan(value: Plan) -> Document:
    """Return a plan's document, as the audit of a submission keeps it."""
    document: Document = _PLAN.dump_python(value, mode="json")
    return document


def read_plan(document: object) -> Plan | None:
    """Return the plan of a document, None if it is none."""
    try:
        return _PLAN.validate_python(document)
    except ValidationError:
        return None


def node(value: NodeState) -> Document:
    """Return a node's document: its durable part."""
    kept = _Node(value.revision, value.intent, value.last, value.withheld, value.abandoned)
    document: Document = _NODE.dump_python(kept, mode="json")
    return document


def remembered(value: Remembered) -> Document:
    """Return an answer's document."""
    document: Document = _REMEMBERED.dump_python(value, mode="json")
    return document


@dataclass(frozen=True, slots=True)
class Contents:
    """What a snapshot holds.

    Attributes:
        version: Of the form that it has on the disk.
    """

    state: QueueState
    cursor: int
    answers: Mapping[str, Remembered]
    version: int = SCHEMA


def upgraded(tables: Tables) -> tuple[Tables, int]:
    """Return the documents in the present form, and the version that they had.

    Raises:
        SnapshotError: They are no queue, or of a newer version.
    """
    said = tables.get("about", {}).get("queue")
    if not isinstance(said, dict) or not isinstance(said.get("schema_version"), int):
        raise SnapshotError("it is not a queue of this hub")
    version: int = said["schema_version"]
    if not 1 <= version <= SCHEMA:
        raise SnapshotError(
            f"it has schema {version}, this hub knows up to {SCHEMA}: install the version that "
            "wrote it, or a newer one"
        )
    for upgrade in UPGRADES[version - 1 :]:
        tables = upgrade(tables)
    return tables, version


def in_recovery(tables: Tables, reason: str) -> Tables:
    """Return the documents in the present form and in posture recovery.

    Raises:
        SnapshotError: They are no queue, or of a newer version.
    """
    tables, _ = upgraded(tables)
    said = {
        "schema_version": SCHEMA,
        "posture": Posture.RECOVERY.value,
        "posture_reason": reason,
    }
    return {**tables, "about": {"queue": {**tables["about"]["queue"], **said}}}


def contents(tables: Tables) -> Contents:
    """Return what the documents say, whatever version they are of.

    Raises:
        SnapshotError: They are not a queue, or one of a newer version.
    """
    tables, version = upgraded(tables)
    said = tables["about"]["queue"]
    try:
        whole = _ABOUT.validate_python(said)
        entries = {
            experiment_id: _ENTRY.validate_python(document)
            for experiment_id, document in tables.get("experiments", {}).items()
        }
        nodes = {
            name: _NODE.validate_python(document)
            for name, document in tables.get("nodes", {}).items()
        }
        answers = {
            key: _REMEMBERED.validate_python(document)
            for key, document in tables.get("answers", {}).items()
        }
    except ValidationError as error:
        raise _misfit(error) from error
    state = QueueState(
        store_id=whole.store_id,
        generation=whole.generation,
        revision=whole.revision,
        counter=whole.counter,
        dispatched=whole.dispatched,
        posture=whole.posture,
        posture_reason=whole.posture_reason,
        limits=whole.limits,
        entries=entries,
        order=whole.order,
        nodes={
            name: NodeState(n.revision, n.intent, n.last, n.withheld, n.abandoned)
            for name, n in nodes.items()
        },
        accepted_stores=whole.accepted_stores,
        seen_generation=whole.seen_generation,
        recovered=whole.recovered,
        moved=whole.moved,
    )
    _check(state)
    return Contents(state, whole.applied_cursor, answers, version)


def _misfit(error: ValidationError) -> SnapshotError:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return SnapshotError(f"{error.title} {where}: {first['msg']}")


def _check(state: QueueState) -> None:
    """Refuse a state that no sequence of events leads to, and one that could not be told."""
    for experiment_id, value in state.entries.items():
        if value.id != experiment_id:
            raise SnapshotError(f"experiment {value.id} is filed under {experiment_id}")
        try:
            views.experiment(state, value)
        except (ValueError, OverflowError) as error:
            told = _misfit(error) if isinstance(error, ValidationError) else error
            raise SnapshotError(f"experiment {experiment_id}: {told}") from error
    waiting = {i for i, e in state.entries.items() if e.stage is Stage.WAITING}
    if set(state.order) != waiting or len(state.order) != len(waiting):
        raise SnapshotError("its order does not name exactly the experiments that wait")


def with_live(state: QueueState, live: QueueState) -> QueueState:
    """Return a state read from disk with what is known in this life of the hub alone."""
    nodes = {
        name: replace(
            state.node(name),
            boot_id=known.boot_id,
            online=known.online,
            since=known.since,
            heard_at=known.heard_at,
            report=known.report,
            offer=known.offer,
        )
        for name, known in live.nodes.items()
    }
    return replace(state, nodes={**state.nodes, **nodes}, listening=live.listening, over=live.over)
