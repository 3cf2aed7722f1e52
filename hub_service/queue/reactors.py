"""What administrators do with a whole reactor: drain it, give it up, give it back to the queue."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from broker.messages import Error, ErrorCode, Withheld
from hub_service.queue.endings import end
from hub_service.queue.events import (
    Answered,
    Decision,
    DeclareDeadAsked,
    DrainNodeAsked,
    Effect,
    Noted,
    ResumeNodeAsked,
    refuse,
)
from hub_service.queue.settle import stop_stray
from hub_service.queue.state import MAX_ABANDONED, Entry, Finish, NodeState, QueueState, Stage

LIVELY: Final = timedelta(seconds=30)
"""A node that was heard so lately has power, whatever anybody confirms."""


def drain(state: QueueState, event: DrainNodeAsked, now: datetime) -> Decision:
    """Finish what runs on a reactor, start nothing more there."""
    node = _found(state, event.node)
    if isinstance(node, Decision):
        return node
    if node.withheld is not None:
        told = f"{event.node} is {node.withheld.reason} already"
        return Decision(state, (Answered("unchanged", told),))
    withheld = Withheld(reason="drained", by=event.by, since=now)
    after = state.put_node(event.node, replace(node, withheld=withheld))
    told = f"{event.node} finishes what it runs; nothing more is started there"
    return Decision(after, (Answered("done", told),))


def give_back(state: QueueState, event: ResumeNodeAsked) -> Decision:
    """Let a reactor take experiments again."""
    node = _found(state, event.node)
    if isinstance(node, Decision):
        return node
    if node.withheld is None:
        return Decision(state, (Answered("unchanged", f"{event.node} takes experiments already"),))
    after = state.put_node(event.node, replace(node, withheld=None))
    return Decision(after, (Answered("done", f"{event.node} takes experiments again"),))


def declare_dead(state: QueueState, event: DeclareDeadAsked, now: datetime) -> Decision:
    """Give up a reactor: what it holds has failed, and nothing is run again by itself.

    Only a person can know that the reactor's power is off, so that it is not run by an old attempt
    and somebody else's at once, and no pump of it goes on.
    """
    node = _found(state, event.node)
    if isinstance(node, Decision):
        return node
    if node.withheld is not None and node.withheld.reason == "dead":
        return Decision(state, (Answered("unchanged", f"{event.node} is declared dead already"),))
    if not event.power_is_off:
        return refuse(
            state,
            ErrorCode.CONFIRMATION_REQUIRED,
            f"nobody has said that the power of {event.node} is off: its pumps and its heater "
            "may be on",
            "switch it off, look that it is, then say so: power_is_off, --power-is-off",
        )
    if state.listening:
        return refuse(
            state,
            ErrorCode.UNAVAILABLE,
            f"the hub has just started and does not know yet whether {event.node} is alive",
            "ask again in some seconds",
        )
    if node.online and node.heard_at is not None and now - node.heard_at < LIVELY:
        return refuse(
            state,
            ErrorCode.WRONG_STATE,
            f"{event.node} is alive: it said something within the last {LIVELY.seconds} s",
            "cancel what it runs, or use its emergency stop",
        )
    withheld = Withheld(reason="dead", by=event.by, since=now)
    state = state.put_node(event.node, replace(node, withheld=withheld))
    effects: tuple[Effect, ...] = ()
    lost = [e for e in state.entries.values() if e.node == event.node and _lives(e)]
    for entry in lost:
        state, more = _give_up(state, entry, event, now)
        effects += more
    told = f"{event.node} is declared dead"
    if lost:
        told += "; failed with it: " + ", ".join(entry.plan.name for entry in lost)
    return Decision(state, (Answered("done", told), *effects))


def _found(state: QueueState, name: str) -> NodeState | Decision:
    node = state.nodes.get(name)
    if node is not None:
        return node
    return refuse(
        state,
        ErrorCode.NOT_FOUND,
        f"there is no reactor {name}",
        "known are: " + (", ".join(sorted(state.nodes)) or "none yet"),
    )


def _lives(entry: Entry) -> bool:
    return entry.holds or entry.stage is Stage.RELEASED


def _give_up(
    state: QueueState, entry: Entry, event: DeclareDeadAsked, now: datetime
) -> tuple[QueueState, tuple[Effect, ...]]:
    """End an attempt without its node's evidence; an outcome that was told stays true."""
    error = Error(
        code=ErrorCode.INTERRUPTED,
        message=f"{event.node}, which held attempt {entry.attempt}, was declared dead "
        f"by {event.by}",
        hint="what it recorded until then is kept; what it brings when it returns is added",
    )
    told = entry.finish
    finish = Finish("failed", now, error=error) if told is None else replace(
        told, error=told.error or error
    )  # fmt: skip
    node = state.node(event.node)
    node = replace(node, abandoned=(*node.abandoned, entry.run)[-MAX_ABANDONED:])
    if node.intent is not None and node.intent.about(entry.run):
        # Said now, lest a node that returns before its report is read find the old wish.
        node = replace(node, revision=node.revision + 1, intent=stop_stray(entry.run))
    state = state.put_node(event.node, node)
    state, effects = end(state, replace(entry, finish=finish), finish.outcome, now, error)
    detail = f"attempt {entry.attempt} was given up with {event.node}"
    return state, (*effects, Noted("given-up", detail, entry.id, event.node))
