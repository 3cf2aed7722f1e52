"""What people's commands do to the queue: the table of commands and states, row by row."""

from dataclasses import replace
from datetime import datetime
from typing import Literal

from broker.messages import MAX_EXCEPTIONS, Error, ErrorCode, Posture, QueueLimits, Status
from hub_service.queue.endings import end
from hub_service.queue.events import (
    Answered,
    CancelAsked,
    Decision,
    LimitsAsked,
    PauseAsked,
    PostureAsked,
    ResumeAsked,
    RetentionAsked,
    SendAsked,
    refuse,
)
from hub_service.queue.state import MAX_LIVE, Entry, Plan, QueueState, Stage


def submitted(state: QueueState, plan: Plan, now: datetime) -> Decision:
    """Take an experiment in at the end of the queue."""
    limit = state.limits.of(plan.user)
    if state.count(plan.user) >= limit:
        return refuse(
            state,
            ErrorCode.USER_LIMIT,
            f"you have {state.count(plan.user)} unfinished experiments, at most {limit} "
            "may be queued, running or paused at a time",
            "wait until one is over or cancel one, then submit again",
            limit=limit,
        )
    if len(state.entries) >= MAX_LIVE:
        return refuse(
            state,
            ErrorCode.LIMIT,
            f"the queue is full: it takes {MAX_LIVE} unfinished experiments",
            "submit again when some of them are over",
            limit=MAX_LIVE,
        )
    if plan.experiment_id in state.entries:
        return refuse(state, ErrorCode.WRONG_STATE, "an experiment with this id is queued already")
    number = state.counter + 1
    entry = Entry(plan, number, created_at=now, since=now)
    entries, order = {**state.entries, entry.id: entry}, (*state.order, entry.id)
    after = replace(state, entries=entries, counter=number, order=order)
    return Decision(after, (Answered("done", "the experiment is queued", entry.id),))


def found(state: QueueState, experiment_id: str) -> Entry | Decision:
    """Return the entry, or the refusal where there is none or it is over."""
    entry = state.entries.get(experiment_id)
    status = state.over.get(experiment_id) if entry is None else entry.status
    if status is not None and status.finished:
        return _refuse_over(state, status)
    if entry is None:
        return refuse(
            state,
            ErrorCode.NOT_FOUND,
            f"there is no experiment {experiment_id}",
            "compare the id with the list of experiments",
        )
    return entry


def cancel(state: QueueState, event: CancelAsked, now: datetime) -> Decision:
    """End what waits; ask the node to stop what runs."""
    entry = found(state, event.experiment_id)
    if isinstance(entry, Decision):
        return entry
    reason = Error(code=ErrorCode.CANCELLED, message=f"cancelled by {event.by}")
    if entry.stage is Stage.WAITING:
        after, effects = end(state, entry, "cancelled", now, reason)
        return Decision(
            after, (Answered("done", "the experiment is cancelled", entry.id), *effects)
        )
    if entry.stage is Stage.RELEASED:
        return _unchanged(state, entry, "the script has ended, its results are being collected")
    if entry.want == "stop":
        return _unchanged(state, entry, "the experiment is being stopped already")
    return Decision(
        stop(state, entry, reason, now),
        (Answered("accepted", "the reactor is asked to stop it; what it saved is kept", entry.id),),
    )


def stop(state: QueueState, entry: Entry, reason: Error, now: datetime) -> QueueState:
    """Want an attempt that holds a reactor stopped."""
    return state.put(replace(entry, want="stop", want_since=now, stop_error=reason))


def pause(state: QueueState, event: PauseAsked, now: datetime) -> Decision:
    """Pass over what waits; ask the node to freeze what runs."""
    entry = found(state, event.experiment_id)
    if isinstance(entry, Decision):
        return entry
    if entry.stage is Stage.WAITING:
        if entry.held:
            return _unchanged(state, entry, "the experiment is paused already")
        after = state.put(replace(entry, held=True, since=now))
        return Decision(
            after, (Answered("done", "the experiment keeps its place, passed over", entry.id),)
        )
    refusal = _refuse_if_ending(state, entry)
    if refusal is not None:
        return refusal
    if entry.want == "pause":
        return _unchanged(state, entry, "the experiment is paused, or about to be")
    after = state.put(replace(entry, want="pause", want_since=now))
    return Decision(after, (Answered("accepted", "the reactor is asked to hold", entry.id),))


def resume(state: QueueState, event: ResumeAsked, now: datetime) -> Decision:
    """Take a pause back, whether the node has followed it yet or not."""
    entry = found(state, event.experiment_id)
    if isinstance(entry, Decision):
        return entry
    if entry.stage is Stage.WAITING:
        if not entry.held:
            return _refuse_not_paused(state, entry)
        after = state.put(replace(entry, held=False, since=now))
        return Decision(
            after, (Answered("done", "the experiment is queued in its old place", entry.id),)
        )
    refusal = _refuse_if_ending(state, entry)
    if refusal is not None:
        return refusal
    if entry.want == "run":
        if entry.stage is Stage.FROZEN:
            return _unchanged(state, entry, "the experiment is being resumed already")
        return _refuse_not_paused(state, entry)
    after = state.put(replace(entry, want="run", want_since=now))
    return Decision(after, (Answered("accepted", "the reactor is asked to go on", entry.id),))


def send(state: QueueState, event: SendAsked) -> Decision:
    """Change parameters of one that holds a reactor; the script sees them at its next look."""
    entry = found(state, event.experiment_id)
    if isinstance(entry, Decision):
        return entry
    if entry.stage is Stage.WAITING:
        return refuse(
            state,
            ErrorCode.WRONG_STATE,
            f"the experiment is {entry.status}: parameters can be changed while it runs",
            "cancel it and submit it with other parameters, or wait until it runs",
            status=entry.status,
        )
    refusal = _refuse_if_ending(state, entry)
    if refusal is not None:
        return refusal
    now = entry.plan.parameters
    moved = sorted(name for name, value in event.expected.items() if now.get(name) != value)
    if moved:
        return refuse(
            state,
            ErrorCode.CHANGED_MEANWHILE,
            f"somebody else has changed {', '.join(moved)} meanwhile",
            "look at what stands there now, then send again",
            parameters={name: now.get(name) for name in moved},
        )
    parameters = {**entry.plan.parameters, **event.parameters}
    if parameters == entry.plan.parameters:
        return _unchanged(state, entry, "the parameters have these values already")
    after = state.put(replace(entry, plan=replace(entry.plan, parameters=parameters)))
    return Decision(after, (Answered("accepted", "the parameters are on their way", entry.id),))


def posture(state: QueueState, event: PostureAsked) -> Decision:
    """Pause, resume or drain the queue; resuming also ends a recovery."""
    wanted = event.posture
    if state.posture is wanted:
        return Decision(state, (Answered("unchanged", f"the queue is {wanted} already"),))
    if wanted is Posture.RUNNING:
        return Decision(resumed(state), (Answered("done", "the queue is running"),))
    if state.posture is Posture.RECOVERY:
        return refuse(
            state,
            ErrorCode.WRONG_STATE,
            f"the queue is in recovery: {state.posture_reason}",
            "nothing is started now; when what runs and waits is as it should be, resume the queue",
        )
    told = {
        Posture.PAUSED: "the queue is paused: what runs goes on, nothing is started",
        Posture.DRAINING: "the queue is draining: what runs is finished, nothing is started",
    }[wanted]
    reason = f"{event.reason} (by {event.by})" if event.reason else f"by {event.by}"
    after = replace(state, posture=wanted, posture_reason=reason)
    return Decision(after, (Answered("done", told),))


def resumed(state: QueueState) -> QueueState:
    """Return the state dispatching again; nodes that knew more of the past are taken over.

    After a recovery a new generation begins: what nodes saw before it proves nothing any more.
    """
    served = (n.report.seen_store_id for n in state.nodes.values() if n.report is not None)
    foreign = {store for store in served if store is not None and store != state.store_id}
    accepted = sorted(foreign | set(state.accepted_stores))
    recovering = state.posture is Posture.RECOVERY
    generation = max(state.generation, state.seen_generation) + 1
    return replace(
        state,
        posture=Posture.RUNNING,
        posture_reason="",
        accepted_stores=tuple(accepted),
        generation=generation if recovering else state.generation,
        recovered=generation if recovering else state.recovered,
    )


def limits(state: QueueState, event: LimitsAsked) -> Decision:
    """Change limits for what comes; nothing that is queued or runs is touched."""
    old = state.limits
    exceptions, per_user = dict(old.exceptions), event.per_user
    if event.user is not None:
        exceptions.pop(event.user, None)
        if event.per_user is not None:
            if len(exceptions) >= MAX_EXCEPTIONS:
                return refuse(
                    state,
                    ErrorCode.LIMIT,
                    f"{MAX_EXCEPTIONS} users have a limit of their own already",
                    "end an exception that is not needed any more, or change everybody's limit",
                    limit=MAX_EXCEPTIONS,
                )
            exceptions[event.user] = event.per_user
        per_user = None
    changed = QueueLimits(
        per_user=old.per_user if per_user is None else per_user,
        exceptions=exceptions,
        max_duration=old.max_duration if event.max_duration is None else event.max_duration,
        max_pause=old.max_pause if event.max_pause is None else event.max_pause,
        max_script=old.max_script if event.max_script is None else event.max_script,
        keep_days=old.keep_days,
    )
    outcome: Literal["done", "unchanged"] = "unchanged" if changed == old else "done"
    told = (
        f"{_quota(changed, event.user)}, {changed.max_duration:.12g} s a run, "
        f"{changed.max_pause:.12g} s a pause, {changed.max_script} bytes a script"
    )
    return Decision(replace(state, limits=changed), (Answered(outcome, told),))


def _quota(limits: QueueLimits, user: str | None) -> str:
    if user is None:
        return f"{limits.per_user} experiments a user"
    return f"{limits.of(user)} experiments this user"


def retention(state: QueueState, event: RetentionAsked) -> Decision:
    """Say how long finished experiments are kept."""
    told = (
        "finished experiments are kept for ever"
        if event.days is None
        else f"finished experiments are deleted {event.days} days after their end"
    )
    if state.limits.keep_days == event.days:
        return Decision(state, (Answered("unchanged", told),))
    changed = state.limits.model_copy(update={"keep_days": event.days})
    return Decision(replace(state, limits=changed), (Answered("done", told),))


def _refuse_over(state: QueueState, status: Status) -> Decision:
    return refuse(
        state,
        ErrorCode.WRONG_STATE,
        f"the experiment is {status}, which never changes",
        "submit it again to run it again",
        status=status,
    )


def _unchanged(state: QueueState, entry: Entry, message: str) -> Decision:
    return Decision(state, (Answered("unchanged", message, entry.id),))


def _refuse_if_ending(state: QueueState, entry: Entry) -> Decision | None:
    if entry.stage is Stage.RELEASED:
        message = "the script has ended, its results are being collected"
    elif entry.want == "stop" or entry.stage is Stage.STOPPING:
        message = "the experiment is being stopped"
    else:
        return None
    return refuse(
        state, ErrorCode.WRONG_STATE, message, "nothing more is to be done", phase=entry.phase
    )


def _refuse_not_paused(state: QueueState, entry: Entry) -> Decision:
    return refuse(
        state,
        ErrorCode.WRONG_STATE,
        f"the experiment is {entry.status}, not paused",
        "only a paused experiment can be resumed",
        status=entry.status,
    )
