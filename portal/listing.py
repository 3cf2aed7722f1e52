"""Lists of experiments for pages: from the hub, or while it is away from what is published."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.messages import ContractError, Experiment
from portal.api import UNREACHABLE
from portal.reader import Reader
from portal.sessions import Session
from portal.state import State


@dataclass(frozen=True, slots=True)
class Page:
    """Some experiments, in the order asked for.

    Attributes:
        total: How many there are in all; None while the hub does not answer.
        next: Where the next page begins; None if there is none.
    """

    experiments: Sequence[Experiment]
    total: int | None = None
    next: str | None = None


async def read_page(
    reader: Reader, state: State, session: Session, *, mine: bool, limit: int, **wanted: object
) -> Page:
    """Return a page of experiments; the fields of the contract's `List` say which.

    Raises:
        ContractError: What the hub said of the question.
    """
    try:
        listed = await reader.list(session, mine=mine, limit=limit, **wanted)
    except ContractError as error:
        if error.error.code not in UNREACHABLE:
            raise
        known = [e for e in state.experiments() if not mine or e.user == session.user]
        return Page(known[:limit])
    found = [newest(state, experiment) for experiment in listed.experiments]
    return Page(found, listed.total, listed.next)


def newest(state: State, experiment: Experiment) -> Experiment:
    """Return what was published meanwhile, if that is later."""
    known = state.experiment(experiment.experiment_id)
    return known if known is not None and known.revision > experiment.revision else experiment
