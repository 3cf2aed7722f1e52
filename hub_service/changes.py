"""Changes of the queue on their way to the disk."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

from hub_service.queue import Decision, Effect, Event, QueueState, decide
from hub_service.snapshot import Remembered


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A call of `apply`, and who waits for it.

    Attributes:
        alone: It shares no write: one that it shared failed.
    """

    events: Sequence[Event]
    now: datetime
    cursor: int | None
    first: Callable[[Decision], Future[None]] | None
    remember: Callable[[Decision], tuple[str, Remembered] | None] | None
    done: "asyncio.Future[Decision]"
    alone: bool = False


@dataclass(slots=True, eq=False)
class New:
    """What the disk is to have: state, position, and what is remembered and forgotten."""

    state: QueueState
    cursor: int
    added: dict[str, Remembered]
    dropped: Sequence[str] = ()


def decide_all(state: QueueState, events: Sequence[Event], now: datetime) -> Decision:
    """Decide events one after another; return the last state and the effects of all."""
    effects: list[Effect] = []
    for event in events:
        decision = decide(state, event, now)
        state = decision.state
        effects += decision.effects
    return Decision(state, tuple(effects))


def wait_for(before: Sequence[Future[None]], _: New) -> None:
    """Return when all is done, whatever becomes of some; raise the first failure."""
    failures = [work.exception() for work in before]
    for failure in failures:
        if failure is not None:
            raise failure
