"""The one door to the queue's rules."""

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from hub_service.queue import annotations, commands, endings, evidence, nodes, order, reactors
from hub_service.queue.events import (
    AnnotateAsked,
    Archived,
    CancelAsked,
    Collected,
    Decision,
    DeclareDeadAsked,
    DrainNodeAsked,
    Event,
    Evidence,
    Identified,
    LimitsAsked,
    Listened,
    MoveAsked,
    NodeOffered,
    NodePresence,
    NodeReported,
    PauseAsked,
    PostureAsked,
    ResumeAsked,
    ResumeNodeAsked,
    RetentionAsked,
    RunNowAsked,
    SendAsked,
    StoreDoubted,
    Submitted,
    Ticked,
)
from hub_service.queue.settle import settle
from hub_service.queue.state import MAX_OVER, QueueState, Stage


def decide(state: QueueState, event: Event, now: datetime) -> Decision:
    """Return the state after an event and what follows from it.

    A refused command returns the state unchanged. Otherwise idle reactors have been given their
    next experiment and the nodes' intents are up to date; `revision` grew exactly if something
    durable changed.
    """
    decision = _decide(state, event, now)
    if decision.refusal is not None:
        return decision
    after = settle(decision.state, now)
    if after.durable != state.durable:
        after = replace(after, revision=state.revision + 1)
    return Decision(after, decision.effects)


def _decide(state: QueueState, event: Event, now: datetime) -> Decision:  # noqa: C901, PLR0912 -- one case an event
    match event:
        case Submitted(plan=plan):
            return commands.submitted(state, plan, now)
        case CancelAsked():
            return commands.cancel(state, event, now)
        case PauseAsked():
            return commands.pause(state, event, now)
        case ResumeAsked():
            return commands.resume(state, event, now)
        case MoveAsked():
            return order.move(state, event, now)
        case RunNowAsked():
            return order.run_now(state, event, now)
        case SendAsked():
            return commands.send(state, event)
        case AnnotateAsked():
            return annotations.annotate(state, event)
        case PostureAsked():
            return commands.posture(state, event)
        case LimitsAsked():
            return commands.limits(state, event)
        case RetentionAsked():
            return commands.retention(state, event)
        case DrainNodeAsked():
            return reactors.drain(state, event, now)
        case ResumeNodeAsked():
            return reactors.give_back(state, event)
        case DeclareDeadAsked():
            return reactors.declare_dead(state, event, now)
        case NodePresence():
            return nodes.presence(state, event, now)
        case NodeOffered():
            return nodes.offered(state, event)
        case NodeReported():
            return nodes.reported(state, event, now)
        case Evidence():
            return evidence.evidence(state, event, now)
        case Collected():
            return _collected(state, event)
        case Archived(experiment_id=experiment_id):
            return _archived(state, experiment_id)
        case Identified():
            return nodes.identified(state, event)
        case StoreDoubted(reason=reason):
            return Decision(*nodes.doubted(state, reason))
        case Listened():
            return Decision(replace(state, listening=False))
        case Ticked(leap=leap):
            return nodes.ticked(nodes.leapt(state, leap, now), now)
        case _:
            assert_never(event)


def _collected(state: QueueState, event: Collected) -> Decision:
    entry = state.entries.get(event.experiment_id)
    if entry is None or entry.stage is not Stage.RELEASED:
        return Decision(state)
    return Decision(*endings.collected(state, replace(entry, gaps=event.gaps)))


def _archived(state: QueueState, experiment_id: str) -> Decision:
    """Let go of what the archive has; where both know an experiment, the archive is right."""
    entry = state.entries.get(experiment_id)
    if entry is None:
        return Decision(state)
    over = [*state.over.items(), (experiment_id, entry.status)][-MAX_OVER:]
    return Decision(
        replace(
            state,
            entries={i: e for i, e in state.entries.items() if i != experiment_id},
            order=tuple(i for i in state.order if i != experiment_id),
            over=dict(over),
        )
    )
