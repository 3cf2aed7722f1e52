"""Short ways to say what the queue's tests talk about."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from broker.messages import (
    Activity,
    Error,
    ErrorCode,
    LedgerEntry,
    NodeReport,
    Phase,
    PhaseRecord,
    Posture,
    StreamBacklog,
)
from hub_service.queue import Decision, Event, Plan, QueueState, decide
from hub_service.queue.events import (
    Answered,
    Ended,
    Evidence,
    NodeOffered,
    NodePresence,
    NodeReported,
    Noted,
    Submitted,
)
from hub_service.queue.state import Entry, Intent, Offer

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STORE = "01STRE00000000000000000000"
OTHER_STORE = "01STRE00000000000000000009"
IMAGES = {"standard": {"numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn"}}
CHANNELS = frozenset({"od", "temperature", "media", "waste"})


def ulid(number: int, kind: str = "EXP") -> str:
    """A readable id that is a valid ULID."""
    return f"01{kind}{number:021d}"


def boot(number: int) -> str:
    return ulid(number, "BAT")


def plan(number: int, user: str = "mqtt:ada", **more: Any) -> Plan:
    return Plan(
        ulid(number), f"experiment {number}", user, user.partition(":")[2], "a" * 64, **more
    )


def empty(generation: int = 1) -> QueueState:
    return QueueState(STORE, generation)


def report(
    node: str = "reactor-1",
    *,
    boot_number: int = 1,
    seen: int = 0,
    accepts: bool = True,
    running: tuple[str, int] | None = None,
    phase: Phase = Phase.EXECUTING,
    ledger: Iterable[tuple[str, int, str, str | None]] = (),
    store: str | None = None,
    generation: int = 0,
    backlog: int = 0,
    at: datetime = T0,
) -> NodeReport:
    return NodeReport(
        node=node,
        boot_id=boot(boot_number),
        at=at,
        seen_revision=seen,
        seen_store_id=store,
        seen_generation=generation,
        accepts=accepts,
        isolation="docker",
        safe=running is None,
        activity=None
        if running is None
        else Activity(experiment_id=running[0], attempt=running[1], phase=phase, since=T0),
        ledger=tuple(
            LedgerEntry.model_validate({"experiment_id": i, "attempt": a, "state": s, "outcome": o})
            for i, a, s, o in ledger
        ),
        backlog={"records": StreamBacklog(entries=backlog, bytes=0)},
    )


def phase(
    number: int, name: str, attempt: int = 1, *, at: datetime = T0, **more: Any
) -> PhaseRecord:
    return PhaseRecord.model_validate(
        {"t": at, "experiment_id": ulid(number), "attempt": attempt, "phase": name, **more}
    )


class Desk:
    """A queue with a clock: applies events and keeps what followed."""

    def __init__(self, state: QueueState | None = None) -> None:
        self.state = state or empty()
        self.now = T0
        self.decisions: list[Decision] = []

    def do(self, event: Event, seconds: float = 1.0) -> Decision:
        self.now += timedelta(seconds=seconds)
        decision = decide(self.state, event, self.now)
        self.state = decision.state
        self.decisions.append(decision)
        return decision

    def submit(self, *numbers: int, user: str = "mqtt:ada", **more: Any) -> Self:
        for number in numbers:
            decision = self.do(Submitted(plan(number, user, **more)))
            assert decision.refusal is None, decision.refusal
        return self

    def node(
        self,
        name: str = "reactor-1",
        channels: frozenset[str] = CHANNELS,
        speed: float = 1.0,
        **more: Any,
    ) -> Self:
        """A node comes up, idle, and says so."""
        self.do(NodePresence(name, boot(more.get("boot_number", 1)), online=True))
        self.do(NodeOffered(name, Offer(channels, IMAGES, speed)))
        self.do(NodeReported(name, report(name, **more)))
        return self

    def says(self, number: int, *names: str, node: str = "reactor-1", **more: Any) -> Decision:
        """Phase records of an experiment arrive."""
        decision = Decision(self.state)
        for name in names:
            record = phase(number, name, **{"at": self.now, **more})
            decision = self.do(Evidence(node, record))
        return decision

    def entry(self, number: int) -> Entry:
        return self.state.entries[ulid(number)]

    def intent(self, node: str = "reactor-1") -> Intent | None:
        return self.state.nodes[node].intent

    def posture(self) -> Posture:
        return self.state.posture

    def waiting(self) -> list[int]:
        return [entry.number for entry in self.state.waiting()]


def outcome(decision: Decision) -> str:
    """How a command went: done, accepted, unchanged, or the code of the refusal."""
    if decision.refusal is not None:
        return str(decision.refusal.code)
    assert isinstance(decision.answer, Answered)
    return decision.answer.outcome


def ended(decision: Decision) -> list[str]:
    return [e.experiment_id for e in decision.effects if isinstance(e, Ended)]


def noted(decision: Decision) -> list[str]:
    return [e.what for e in decision.effects if isinstance(e, Noted)]


def error(code: ErrorCode) -> Error:
    return Error(code=code, message=f"it is {code}")
