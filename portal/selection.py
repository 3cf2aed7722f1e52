"""One command for several experiments at once, as people select them in the queue or a list.

The hub knows commands on one experiment. Here they are given one after another, in the order in
which the experiments wait, so that those that are moved keep their order among themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from broker.messages import ContractError, Done, Error, ErrorCode, Queue
from portal.desk import Desk
from portal.sessions import Session
from portal.state import State

MAX_SELECTED: Final = 100
SelectionVerb = Literal[
    "pause", "resume", "cancel", "delete", "restore", "first", "last", "before", "after"
]
VERBS: Final[tuple[SelectionVerb, ...]] = get_args(SelectionVerb)
_WORDS: Final = {
    "pause": "paused",
    "resume": "resumed",
    "cancel": "cancelled",
    "delete": "deleted",
    "restore": "restored",
}


@dataclass(frozen=True, slots=True)
class One:
    """What became of one experiment: a message, or why it was refused."""

    experiment_id: str
    name: str
    message: str = ""
    error: Error | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of all.

    Attributes:
        known: Of the order, after the last move; None if nothing was moved.
    """

    ones: tuple[One, ...]
    message: str
    known: int | None = None

    @property
    def refused(self) -> tuple[One, ...]:
        """Those to which nothing was done."""
        return tuple(one for one in self.ones if one.error is not None)


class Selection:
    """Carries out what is asked for several experiments."""

    def __init__(self, desk: Desk, state: State) -> None:
        self._desk = desk
        self._state = state

    async def carry_out(
        self,
        session: Session,
        verb: SelectionVerb,
        ids: Sequence[str],
        *,
        target: str | None = None,
        known: int | None = None,
    ) -> Outcome:
        """Do it to each; one that is refused does not keep the others back.

        Args:
            session: Who asks.
            verb: What is to be done.
            ids: Of the experiments, in any order.
            target: With before and after: next to which one.
            known: The last change of the order that the asker has seen.

        Raises:
            ContractError: MALFORMED, nothing is selected or the target is missing or among them;
                CHANGED_MEANWHILE, the order is another one by now: nothing was moved.
        """
        queue = self._state.queue
        chosen = _in_order(queue, ids)
        if not chosen or len(chosen) > MAX_SELECTED:
            raise ContractError(
                ErrorCode.MALFORMED,
                "nothing is selected" if not chosen else f"more than {MAX_SELECTED} are selected",
                "tick the experiments that are meant",
            )
        if verb in _WORDS:
            return await self._each(session, verb, chosen)
        return await self._move(session, verb, chosen, target, known)

    async def _each(self, session: Session, verb: str, chosen: Sequence[str]) -> Outcome:
        ones = []
        for experiment_id in chosen:
            name = self._name(experiment_id)  # who is deleted has none any more
            try:
                done = await self._desk.command(session, verb, experiment_id)
                ones.append(One(experiment_id, name, done.message))
            except ContractError as error:
                ones.append(One(experiment_id, name, error=error.error))
        return _outcome(ones, _WORDS[verb])

    async def _move(
        self,
        session: Session,
        verb: str,
        chosen: Sequence[str],
        target: str | None,
        known: int | None,
    ) -> Outcome:
        queue = self._state.queue
        others = (
            [e.experiment_id for e in queue.waiting if e.experiment_id not in chosen]
            if queue
            else []
        )
        if verb in {"first", "last"}:
            if not others:
                return Outcome((), "they stand there already")
            where, target = ("before", others[0]) if verb == "first" else ("after", others[-1])
        else:
            where = verb
        if target is None or target in chosen:
            raise ContractError(
                ErrorCode.MALFORMED,
                "it is not clear where they are to be moved",
                "choose an experiment that is not itself selected",
            )
        ones = []
        # Each goes next to the mark, so behind it the last one goes first.
        for experiment_id in chosen if where == "before" else reversed(chosen):
            try:
                done: Done = await self._desk.move(
                    session,
                    experiment_id,
                    before=target if where == "before" else None,
                    after=target if where == "after" else None,
                    known=known,
                )
            except ContractError as error:
                if error.error.code is ErrorCode.CHANGED_MEANWHILE:
                    raise
                ones.append(One(experiment_id, self._name(experiment_id), error=error.error))
            else:
                known = None if known is None else done.known
                ones.append(One(experiment_id, self._name(experiment_id), done.message))
        return _outcome(ones, "moved", known)

    def _name(self, experiment_id: str) -> str:
        experiment = self._state.experiment(experiment_id)
        return experiment.name if experiment is not None else experiment_id


def _in_order(queue: Queue | None, ids: Sequence[str]) -> list[str]:
    """Return each id once, as they run and wait; unknown ones at the end."""
    entries = (*queue.running, *queue.waiting) if queue is not None else ()
    rank = {entry.experiment_id: n for n, entry in enumerate(entries)}
    return sorted(dict.fromkeys(ids), key=lambda one: rank.get(one, len(rank)))


def _outcome(ones: Sequence[One], word: str, known: int | None = None) -> Outcome:
    refused = [one for one in ones if one.error is not None]
    done = len(ones) - len(refused)
    told = f"{done} of {len(ones)} {word}" if refused else f"{done} {word}"
    whys = [f"“{one.name}”: {one.error.message}" for one in refused if one.error is not None]
    return Outcome(tuple(ones), "; ".join([told, *whys]), known)
