"""What the node does next, from what the hub desires and what the node knows. Pure.

The hub's desires arrive as states, so each may be lost, repeated, delayed or overtaken; the answer
here depends only on the latest. Three rules keep biology safe from messages: what was accepted
once is never accepted again; an absent, empty or idle assignment stops nothing; only an
assignment that names another attempt to run, or says stop, ends what runs.
"""

from dataclasses import dataclass, field
from typing import assert_never

from broker.messages import (
    Assignment,
    ContractError,
    Error,
    ErrorCode,
    LedgerEntry,
    Parameters,
)
from node_service.runs import Ending, RunKey


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as desired, or nothing is desired."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Take the attempt: it is new here and the reactor is free."""

    key: RunKey
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Close:
    """Finish an attempt that never ran here and never will."""

    key: RunKey
    assignment: Assignment
    ending: Ending


@dataclass(frozen=True, slots=True)
class Steer:
    """Tell the attempt that holds the reactor what is wanted of it."""

    key: RunKey
    frozen: bool
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Stop:
    """End the attempt that holds the reactor."""

    key: RunKey
    ending: Ending


@dataclass(frozen=True, slots=True)
class Answer:
    """The attempt is known and over: its entry in the ledger is the answer."""

    entry: LedgerEntry


@dataclass(frozen=True, slots=True)
class Refuse:
    """The attempt is new, but nothing may start now; asked again when that changes."""

    key: RunKey
    error: Error


Action = Nothing | Accept | Close | Steer | Stop | Answer | Refuse


@dataclass(frozen=True, slots=True)
class Known:
    """What the node knows.

    Attributes:
        holder: The attempt that holds the reactor.
        entry: The ledger's entry for the attempt that is desired.
        refusal: Why nothing new may start now.
    """

    holder: RunKey | None = None
    entry: LedgerEntry | None = None
    refusal: Error | None = None


def check(assignment: Assignment) -> None:
    """Check what the model cannot say.

    Raises:
        ContractError: MALFORMED, it names no attempt although it wants something done with one.
    """
    if assignment.desired != "idle" and RunKey.of(assignment) is None:
        raise ContractError(
            ErrorCode.MALFORMED,
            f"an assignment says {assignment.desired} but names no experiment and attempt",
            "name both experiment_id and attempt",
        )


def is_news(assignment: Assignment, seen_revision: int) -> bool:
    """Return whether an assignment says anything that was not seen before."""
    return assignment.revision > seen_revision


def next_action(desired: Assignment | None, known: Known) -> Action:
    """Return the next step towards what is desired; asked again after each change."""
    if desired is None or desired.desired == "idle":
        return Nothing()
    key = RunKey.of(desired)
    if key is None:
        return Nothing()
    if known.holder == key:
        return _steer(key, desired)
    if known.entry is not None:
        return Answer(known.entry)
    match desired.desired:
        case "stop":
            return Close(key, desired, cancelled(desired.stop_reason))
        case "run" | "pause":
            if known.holder is not None:
                return Stop(known.holder, _superseded(key))
            if desired.script is None:
                return Close(key, desired, _without_script())
            if known.refusal is not None:
                return Refuse(key, known.refusal)
            return Accept(key, desired)
        case _:
            assert_never(desired.desired)


def cancelled(reason: Error | None) -> Ending:
    """Return the ending of an attempt that the hub stopped."""
    return Ending(outcome="cancelled", error=reason)


def _steer(key: RunKey, desired: Assignment) -> Action:
    match desired.desired:
        case "stop":
            return Stop(key, cancelled(desired.stop_reason))
        case "pause":
            return Steer(key, frozen=True, assignment=desired)
        case "run" | "idle":
            return Steer(key, frozen=False, assignment=desired)
        case _:
            assert_never(desired.desired)


def _superseded(by: RunKey) -> Ending:
    return Ending(
        outcome="cancelled",
        error=Error(
            code=ErrorCode.LEASE_ENDED,
            message=f"the reactor was given to experiment {by.experiment_id}",
            hint="its data up to then is kept; submit the experiment again if it is still wanted",
            details={"experiment_id": by.experiment_id, "attempt": by.attempt},
        ),
    )


def _without_script() -> Ending:
    return Ending(
        outcome="failed",
        error=Error(
            code=ErrorCode.SCRIPT_EMPTY,
            message="the assignment carries no script, and this node does not know the attempt",
            hint="it may have run before this node lost its memory: look, then submit it again",
        ),
    )


@dataclass(frozen=True, slots=True)
class ParameterChange:
    """What changed between two sets of parameters; removed ones are named apart."""

    changed: Parameters = field(default_factory=dict)
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)

    @classmethod
    def between(cls, old: Parameters, new: Parameters) -> "ParameterChange":
        """Return what `new` says that `old` did not."""
        return cls(
            {
                name: value
                for name, value in new.items()
                if name not in old or not _same(old[name], value)
            },
            tuple(name for name in old if name not in new),
        )


def _same(old: bool | float | str, new: bool | float | str) -> bool:
    # 1, 1.0 and True are equal in Python and different to the author of a script
    return type(old) is type(new) and old == new
