"""What the journal's phase records prove. The true outcome wins over whatever was wanted."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from broker.messages import Error, ErrorCode, Outcome, PhaseRecord
from hub_service.queue.endings import finish, start_over
from hub_service.queue.events import Decision, Evidence, Noted
from hub_service.queue.state import HOLDING, MAX_ATTEMPTS, Attempt, Entry, Finish, QueueState, Stage

_BEGUN = frozenset({Stage.ASSIGNED, Stage.ACCEPTED})
_STEPS: Final[Mapping[str, tuple[frozenset[Stage], Stage]]] = {
    "accepted": (frozenset({Stage.ASSIGNED}), Stage.ACCEPTED),
    "executing": (_BEGUN, Stage.EXECUTING),
    "paused": (_BEGUN | {Stage.EXECUTING}, Stage.FROZEN),
    "resumed": (frozenset({Stage.FROZEN}), Stage.EXECUTING),
    "stopping": (HOLDING - {Stage.STOPPING}, Stage.STOPPING),
    "released": (HOLDING, Stage.RELEASED),
}
"""From which stages a phase leads to which; in any other it is a repetition."""


_LAST_WORDS: Final = frozenset({"finished", "interrupted"})


def evidence(state: QueueState, event: Evidence, now: datetime) -> Decision:
    """Apply one phase record; a repeated, an old and a foreign one change nothing."""
    record = event.record
    if record.experiment_id is None or record.attempt is None:
        return Decision(state)
    told = Attempt(record.experiment_id, record.attempt)
    state = _note_release(state, event.node, told, record)
    entry = state.entries.get(told.experiment_id)
    if entry is None or entry.stage is Stage.ENDED:
        return _returned(state, event.node, told, record)
    if told.attempt > entry.attempt:
        # This store is older than the attempt: it was restored. What happened is true.
        state = adopt(state, entry, event.node, told.attempt, record.t)
        entry = state.entries[entry.id]
    if entry.stage is Stage.WAITING or told != entry.run or event.node != entry.node:
        return Decision(state)  # an old attempt that returned: its data is kept, that is all
    return _progress(state, entry, record, now)


def adopt(state: QueueState, entry: Entry, node: str, attempt: int, at: datetime) -> QueueState:
    """Let an experiment run where it was found running, whatever this store believed."""
    running = replace(
        entry,
        stage=Stage.ASSIGNED,
        since=at,
        held=False,
        want="run",
        want_since=None,
        stop_error=None,
        attempt=attempt,
        node=node,
        adopted=True,
        started_at=None,
        released_at=None,
        finish=None,
        frozen_at=None,
        ledger_since=None,
    )
    return replace(
        state.put(running),
        order=tuple(i for i in state.order if i != entry.id),
        counter=max(state.counter, entry.number),
    )


def _returned(state: QueueState, name: str, told: Attempt, record: PhaseRecord) -> Decision:
    """Note that an attempt which was given up with its reactor has come to an end there."""
    node = state.node(name)
    if told not in node.abandoned or record.phase not in _LAST_WORDS:
        return Decision(state)
    left = tuple(run for run in node.abandoned if run != told)
    detail = (
        f"attempt {told.attempt} came back with {name}, which had been declared dead, and was "
        f"{record.outcome or record.phase} there; what it recorded meanwhile is kept"
    )
    after = state.put_node(name, replace(node, abandoned=left))
    return Decision(after, (Noted("returned", detail, told.experiment_id, name),))


def _note_release(state: QueueState, name: str, told: Attempt, record: PhaseRecord) -> QueueState:
    """Remember who gave the reactor back last, so that a report read late is not believed."""
    node = state.node(name)
    if record.phase not in {"released", *_LAST_WORDS} or node.last == told:
        return state
    return state.put_node(name, replace(node, last=told))


def _progress(state: QueueState, entry: Entry, record: PhaseRecord, now: datetime) -> Decision:
    changed = replace(
        entry,
        image=record.image or entry.image,
        isolation=record.isolation or entry.isolation,
    )
    if record.phase == "finished":
        if entry.finish is not None and entry.finish.told:
            return Decision(state)
        return Decision(*finish(state, changed, _finished(changed, record)))
    if record.phase == "interrupted":
        return _interrupted(state, changed, record, now)
    before, after = _STEPS[record.phase]
    if entry.stage in before:
        changed = replace(changed, stage=after, since=record.t)
        changed = replace(changed, frozen_at=now if after is Stage.FROZEN else None)
        if record.phase == "executing":
            changed = replace(changed, started_at=record.t)
        if record.phase == "released":
            changed = replace(changed, released_at=record.t)
    return Decision(state if changed == entry else state.put(changed))


def _finished(entry: Entry, record: PhaseRecord) -> Finish:
    outcome: Outcome = record.outcome or ("completed" if record.exit_code == 0 else "failed")
    error = record.error
    if outcome == "cancelled" and entry.stop_error is not None:
        error = entry.stop_error
    if outcome == "failed" and error is None:
        error = Error(
            code=ErrorCode.SCRIPT_FAILED,
            message=f"the script ended with exit code {record.exit_code}"
            if record.exit_code is not None
            else "the script failed",
            hint="the end of its log says why",
        )
    return Finish(
        outcome,
        record.t,
        exit_code=record.exit_code,
        error=error,
        files=record.files,
        files_upto=record.files_upto,
    )


def _interrupted(state: QueueState, entry: Entry, record: PhaseRecord, now: datetime) -> Decision:
    """The container was lost: fail, or start over where the author asked for it."""
    if entry.finish is not None and entry.finish.told:
        return Decision(state)
    stopped = entry.want == "stop"
    if not stopped and entry.plan.on_interruption == "requeue" and entry.attempt < MAX_ATTEMPTS:
        return Decision(*start_over(state, entry, now))
    error = record.error or Error(
        code=ErrorCode.INTERRUPTED,
        message=f"the run on {entry.node} was interrupted in attempt {entry.attempt}",
        hint='to have it repeated, set on_interruption = "requeue" in the script; '
        f"it is started {MAX_ATTEMPTS} times at most",
    )
    outcome: Outcome = "failed"
    if stopped:
        outcome, error = "cancelled", entry.stop_error or error
    told = Finish(
        outcome,
        record.t,
        exit_code=record.exit_code,
        error=error,
        files=record.files,
        files_upto=record.files_upto,
    )
    return Decision(*finish(state, entry, told))
