"""How an experiment ends, or starts over."""

from dataclasses import replace
from datetime import datetime

from broker.messages import Error, Outcome
from hub_service.queue.events import Effect, Ended, Noted
from hub_service.queue.state import Entry, Finish, QueueState, Stage


def end(
    state: QueueState, entry: Entry, outcome: Outcome, at: datetime, error: Error | None
) -> tuple[QueueState, tuple[Effect, ...]]:
    """Give an experiment its final state; it stays in the queue's state until archived."""
    ended = replace(
        entry,
        stage=Stage.ENDED,
        since=at,
        held=False,
        outcome=outcome,
        completed_at=at,
        finish=entry.finish or Finish(outcome, at, error=error),
    )
    after = replace(state.put(ended), order=tuple(i for i in state.order if i != entry.id))
    return after, (Ended(entry.id),)


def finish(state: QueueState, entry: Entry, told: Finish) -> tuple[QueueState, tuple[Effect, ...]]:
    """Note how an attempt ended; it is over at once where no files are outstanding."""
    collecting = replace(
        entry,
        stage=Stage.RELEASED,
        since=entry.since if entry.stage is Stage.RELEASED else told.at,
        released_at=entry.released_at or told.at,
        finish=told,
    )
    if told.files_upto is not None:
        return state.put(collecting), ()
    return collected(state, collecting)


def collected(state: QueueState, entry: Entry) -> tuple[QueueState, tuple[Effect, ...]]:
    """End an attempt whose end is known and whose files are committed."""
    told = entry.finish
    if told is None:
        return state, ()
    return end(state, entry, told.outcome, told.at, told.error)


def start_over(
    state: QueueState, entry: Entry, now: datetime
) -> tuple[QueueState, tuple[Effect, ...]]:
    """Put an interrupted experiment back to the front, with the same id.

    One that its user had paused stays paused, as one that waits.
    """
    waiting = replace(
        entry,
        stage=Stage.WAITING,
        since=now,
        held=entry.want == "pause",
        want="run",
        want_since=None,
        stop_error=None,
        node=None,
        granted=None,
        adopted=False,
        started_at=None,
        released_at=None,
        finish=None,
        frozen_at=None,
        ledger_since=None,
    )
    after = replace(state.put(waiting), order=(entry.id, *state.order))
    detail = f"attempt {entry.attempt} was interrupted; it is queued again at the front"
    return after, (Noted("requeued", detail, entry.id, entry.node),)
