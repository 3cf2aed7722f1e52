"""What the nodes say: presence, offers, reports; and when their memory proves ours incomplete."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.messages import (
    Activity,
    Error,
    ErrorCode,
    LedgerEntry,
    NodeReport,
    Outcome,
    Phase,
    Posture,
)
from hub_service.queue.commands import stop
from hub_service.queue.endings import end, finish
from hub_service.queue.events import (
    Decision,
    Effect,
    Identified,
    NodeOffered,
    NodePresence,
    NodeReported,
    Noted,
)
from hub_service.queue.evidence import adopt
from hub_service.queue.state import (
    NO_SCRIPT,
    Attempt,
    Entry,
    Finish,
    NodeState,
    Plan,
    QueueState,
    Stage,
    Want,
)

LEDGER_PATIENCE = timedelta(seconds=60)
"""How long the journal may stay silent on an end that the node's ledger reports."""
MEMORY_PATIENCE = timedelta(minutes=10)
"""How long a node that is there and owes nothing may leave an end incomplete: it has a new disk.

Its report may be some seconds older than what it did, and that it is away is noticed late.
"""


def presence(state: QueueState, event: NodePresence, now: datetime) -> Decision:
    """Note who is online; a last will of an earlier boot says nothing."""
    node = state.node(event.node)
    if not event.online and node.online and event.boot_id != node.boot_id:
        return Decision(state)
    was_known = node.known
    node = replace(
        node,
        boot_id=event.boot_id,
        online=event.online,
        since=event.since,
        heard_at=now if event.online else node.heard_at,
    )
    state = state.put_node(event.node, node)
    if node.known and not was_known and node.report is not None:
        return reported(state, NodeReported(event.node, node.report), now)
    return Decision(state)


def offered(state: QueueState, event: NodeOffered) -> Decision:
    """Note what a node offers."""
    return Decision(state.put_node(event.node, replace(state.node(event.node), offer=event.offer)))


def reported(state: QueueState, event: NodeReported, now: datetime) -> Decision:
    """Note a report and what it proves."""
    node = replace(state.node(event.node), report=event.report, heard_at=now)
    state = state.put_node(event.node, node)
    if not node.known:
        return Decision(state)  # its presence says another boot: one of the two is stale
    effects: tuple[Effect, ...] = ()
    doubt = _doubt(state, event.report)
    if doubt is not None:
        state, effects = doubted(state, doubt)
    if event.report.seen_store_id == state.store_id:
        seen = max(state.seen_generation, event.report.seen_generation)
        if seen > state.generation or state.seen_generation > state.generation:
            state = replace(state, seen_generation=seen)
    if state.posture is Posture.RECOVERY:
        state, adopted = _adopt_found(state, event.node, event.report, now)
        effects += adopted
    state, concluded = _conclude(state, event.node, event.report, now)
    return Decision(state, effects + concluded)


def doubted(state: QueueState, reason: str) -> tuple[QueueState, tuple[Effect, ...]]:
    """Enter recovery: adopt, collect, and start nothing until an administrator resumes."""
    if state.posture is Posture.RECOVERY:
        return state, ()
    after = replace(state, posture=Posture.RECOVERY, posture_reason=reason)
    return after, (Noted("recovery", reason),)


def identified(state: QueueState, event: Identified) -> Decision:
    """Fill in what an experiment that was found running is; quota and owner count from here."""
    entry = state.entries.get(event.plan.experiment_id)
    if entry is None or entry.plan.script_sha256 != NO_SCRIPT:
        return Decision(state)
    return Decision(state.put(replace(entry, plan=event.plan)))


def leapt(state: QueueState, leap: timedelta, now: datetime) -> QueueState:
    """Let what is timed by the hub's clock last as long as before the clock was set.

    What is dated after now was noted in an earlier life of the hub, by a clock that was ahead: it
    counts from now, lest it last until that date.
    """
    for entry in list(state.entries.values()):
        if entry.frozen_at is not None or entry.ledger_since is not None:
            moved = replace(
                entry,
                frozen_at=_moved(entry.frozen_at, leap, now),
                ledger_since=_moved(entry.ledger_since, leap, now),
            )
            if moved != entry:
                state = state.put(moved)
    if leap:
        for name, node in state.nodes.items():
            heard = node.heard_at
            if heard is not None:
                # By whichever of the clocks it was: at worst a node looks lively a little longer.
                heard = min(max(heard, heard + leap), now)
                state = state.put_node(name, replace(node, heard_at=heard))
    return state


def _moved(at: datetime | None, leap: timedelta, now: datetime) -> datetime | None:
    return None if at is None else min(at + leap, now)


def ticked(state: QueueState, now: datetime) -> Decision:
    """Stop what was paused too long; conclude ends that the journal never told."""
    effects: tuple[Effect, ...] = ()
    for entry in list(state.entries.values()):
        if (
            entry.frozen_at is not None
            and entry.want == "pause"
            and (now - entry.frozen_at).total_seconds() > state.limits.max_pause
        ):
            reason = Error(
                code=ErrorCode.TIMEOUT,
                message=f"paused for longer than {state.limits.max_pause / 3600:g} h",
                hint="a paused experiment holds its reactor: resume or cancel it in time",
            )
            state = stop(state, entry, reason, now)
            effects += (Noted("stopped", reason.message, entry.id, entry.node),)
    for name, node in state.nodes.items():
        if node.known and node.report is not None:
            state, concluded = _conclude(state, name, node.report, now)
            effects += concluded
    return Decision(state, effects)


def _doubt(state: QueueState, report: NodeReport) -> str | None:
    """Return why the store cannot be the whole history, by what a node has seen."""
    if report.seen_store_id is None:
        return None
    if report.seen_store_id == state.store_id:
        if report.seen_generation > max(state.generation, state.seen_generation):
            return (
                f"{report.node} has seen generation {report.seen_generation} of the hub's store, "
                f"this is generation {state.generation}: it was restored from a backup"
            )
        known = state.node(report.node).revision
        if report.seen_revision > known and report.seen_generation >= state.recovered:
            # A backup of a hub that lived on in the same generation shows in nothing else.
            return (
                f"{report.node} was told revision {report.seen_revision} by the hub's store, which "
                f"knows of {known} only: it was restored from a backup"
            )
        return None
    if report.seen_store_id in state.accepted_stores:
        return None
    unknown = report.activity is not None and report.activity.experiment_id not in state.entries
    if state.dispatched == 0 or unknown:
        return f"{report.node} worked for another store of the hub, which this one knows nothing of"
    return None


def _adopt_found(
    state: QueueState, name: str, report: NodeReport, now: datetime
) -> tuple[QueueState, tuple[Effect, ...]]:
    """Adopt what runs on a node, and what its ledger knows of experiments that wait here."""
    effects: list[Effect] = []
    activity = state.node(name).activity
    if activity is not None and name not in state.occupants():
        entry = state.entries.get(activity.experiment_id)
        if entry is None:
            state, entry = _found_running(state, activity, now)
        if entry.stage is Stage.WAITING and activity.attempt >= entry.attempt:
            state = adopt(state, entry, name, activity.attempt, activity.since)
            state = state.put(_as_found(state.entries[entry.id], activity, now))
            detail = f"found running on {name}, attempt {activity.attempt}"
            effects.append(Noted("adopted", detail, entry.id, name))
    for known in report.ledger:
        entry = state.entries.get(known.experiment_id)
        if entry is None or entry.stage is Stage.ENDED or known.attempt <= entry.attempt:
            continue
        state = adopt(state, entry, name, known.attempt, now)
        if known.state != "accepted":
            entry = state.entries[known.experiment_id]
            state = state.put(replace(entry, stage=Stage.RELEASED))
        detail = f"the ledger of {name} knows attempt {known.attempt}: {known.state}"
        effects.append(Noted("adopted", detail, known.experiment_id, name))
    return state, tuple(effects)


def _as_found(entry: Entry, activity: Activity, now: datetime) -> Entry:
    """Return an adopted entry at the stage in which it was found; the journal told it long ago."""
    stage = {
        Phase.PREPARING: Stage.ACCEPTED,
        Phase.EXECUTING: Stage.EXECUTING,
        Phase.PAUSING: Stage.EXECUTING,
        Phase.FROZEN: Stage.FROZEN,
        Phase.RESUMING: Stage.FROZEN,
        Phase.STOPPING: Stage.STOPPING,
    }.get(activity.phase, Stage.ASSIGNED)
    want: Want = "pause" if activity.phase in {Phase.PAUSING, Phase.FROZEN} else "run"
    return replace(
        entry,
        stage=stage,
        want=want,
        started_at=activity.started_at,
        frozen_at=now if stage is Stage.FROZEN else None,
    )


def _found_running(
    state: QueueState, activity: Activity, now: datetime
) -> tuple[QueueState, Entry]:
    """Make an entry for an experiment that this store never heard of."""
    plan = Plan(
        activity.experiment_id,
        name="found running",
        user="mqtt:hub",
        owner="unknown",
        script_sha256=NO_SCRIPT,
    )
    number = state.counter + 1
    entry = Entry(plan, number, created_at=activity.started_at or activity.since, since=now)
    return replace(state.put(entry), counter=number, order=(*state.order, entry.id)), entry


def _conclude(
    state: QueueState, name: str, report: NodeReport, now: datetime
) -> tuple[QueueState, tuple[Effect, ...]]:
    """Draw what follows from a report for the attempts assigned to its node."""
    effects: tuple[Effect, ...] = ()
    ledger = {Attempt(k.experiment_id, k.attempt): k for k in report.ledger}
    for entry in [e for e in state.entries.values() if e.node == name]:
        if entry.stage in {Stage.WAITING, Stage.ENDED}:
            continue
        known = ledger.get(entry.run)
        if _never_accepted(state, name, entry, report, known):
            state, more = end(state, entry, "cancelled", now, entry.stop_error)
        else:
            conclusion = _conclusion(entry, state.node(name), report, known, now)
            state, more = _conclude_silence(state, entry, conclusion, now)
        effects += more
    return state, effects


def _never_accepted(
    state: QueueState, name: str, entry: Entry, report: NodeReport, known: LedgerEntry | None
) -> bool:
    """Whether the node has read that the attempt is to stop, and never began it.

    It persists the highest revision it has seen and ignores lower ones: it never will.
    """
    node = state.node(name)
    return (
        entry.stage is Stage.ASSIGNED
        and not entry.adopted
        and entry.want == "stop"
        and known is None
        and report.activity is None
        and node.intent is not None
        and node.intent.desired == "stop"
        and node.intent.about(entry.run)
        and report.seen_revision >= node.revision
    )


class _Conclusion(NamedTuple):
    """How an attempt ended, as far as that can still be known."""

    finish: Finish
    why: str
    patience: timedelta


def _conclude_silence(
    state: QueueState, entry: Entry, conclusion: _Conclusion | None, now: datetime
) -> tuple[QueueState, tuple[Effect, ...]]:
    """End an attempt whose node has nothing more to tell, once that was so for long enough."""
    if conclusion is None:
        forgotten = replace(entry, ledger_since=None)
        return (state if entry.ledger_since is None else state.put(forgotten)), ()
    if entry.ledger_since is None:
        return state.put(replace(entry, ledger_since=now)), ()
    if now - entry.ledger_since < conclusion.patience:
        return state, ()
    if conclusion.finish.told:
        plan = replace(entry.plan, warnings=(*entry.plan.warnings, conclusion.why))
        entry = replace(entry, plan=plan)
    state, effects = finish(state, entry, conclusion.finish)
    return state, (*effects, Noted("concluded", conclusion.why, entry.id, entry.node))


def _conclusion(
    entry: Entry, node: NodeState, report: NodeReport, known: LedgerEntry | None, now: datetime
) -> _Conclusion | None:
    """Return what is to be concluded of an attempt, if every record of its node is here."""
    if _owes(report, "records"):
        return None
    silent = node.online and not _owes(report, "files") and "files" in report.backlog
    if entry.finish is not None:
        # The files that its node still had to send are not there any more, nor is their journal.
        lost = f"result files that {entry.node} had not sent yet were lost there"
        told = replace(entry.finish, files_upto=None)
        return _Conclusion(told, lost, MEMORY_PATIENCE) if silent else None
    if known is not None:
        return _from_ledger(entry, known, now)
    if entry.stage is not Stage.RELEASED or not silent:
        return None  # what holds the reactor is asked for; a node that does not know it says so
    outcome: Outcome = "failed" if entry.stop_error is None else "cancelled"
    error = entry.stop_error or Error(
        code=ErrorCode.INTERRUPTED,
        message=f"{entry.node} lost its memory before it told how attempt {entry.attempt} ended",
        hint="what it recorded until then is kept",
    )
    return _Conclusion(
        Finish(outcome, now, error=error, told=False),
        f"{entry.node} lost its memory, and how attempt {entry.attempt} ended",
        MEMORY_PATIENCE,
    )


def _from_ledger(entry: Entry, known: LedgerEntry, now: datetime) -> _Conclusion | None:
    """Return the end that the node's ledger knows of.

    The record that told it was lost, which the archive shows as a gap.
    """
    if known.state != "finished" or known.outcome is None:
        return None
    error = None
    if known.outcome != "completed":
        error = entry.stop_error or Error(
            code=ErrorCode.INTERNAL,
            message="the record of how it ended was lost",
            hint=f"the ledger of {entry.node} says only that it {known.outcome}",
        )
    return _Conclusion(
        Finish(known.outcome, now, error=error, told=False),
        f"the journal lost its end; the ledger of {entry.node} says {known.outcome}",
        LEDGER_PATIENCE,
    )


def _owes(report: NodeReport, stream: str) -> bool:
    """Whether a node has entries that the hub has not acknowledged."""
    backlog = report.backlog.get(stream)
    return backlog is not None and backlog.entries > 0
