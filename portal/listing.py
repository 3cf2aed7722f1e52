"""Lists of experiments for pages: from the hub, or while it is away from what is published."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from broker.messages import ContractError, Experiment, List, SortKey
from portal.asking import build
from portal.errors import UNREACHABLE
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
        ContractError: What the hub said of the question; that it is away, where this is not the
            first page: only it knows where the one before ended.
    """
    try:
        listed = await reader.list(session, mine=mine, limit=limit, **wanted)
    except ContractError as error:
        if error.error.code not in UNREACHABLE or wanted.get("before"):
            raise
        question = build(List, actor=session.actor, mine=mine, limit=limit, **wanted)
        return Page(_known(state.experiments(), question, session.user))
    found = [newest(state, experiment) for experiment in listed.experiments]
    return Page(found, listed.total, listed.next)


def newest(state: State, experiment: Experiment) -> Experiment:
    """Return what was published meanwhile, if that is later, and all of it."""
    if not state.open:
        return experiment
    known = state.experiment(experiment.experiment_id)
    return known if known is not None and known.revision > experiment.revision else experiment


def _known(experiments: Sequence[Experiment], wanted: List, user: str) -> list[Experiment]:
    """Return what of the published experiments is wanted, in the order asked for."""
    found = [(_place(e, wanted.sort), e) for e in experiments if _matches(e, wanted, user)]
    placed = [(place, e) for place, e in found if place is not None]
    placed.sort(key=itemgetter(0), reverse=not wanted.ascending)
    unplaced = [(place, e) for place, e in found if place is None]
    return [e for _, e in (*placed, *unplaced)][: wanted.limit]


def _matches(e: Experiment, wanted: List, user: str) -> bool:
    said = (e.name, e.note, e.owner, e.node or "", e.experiment_id)
    return (
        (not wanted.mine or e.user == user)
        and (not wanted.status or e.status in wanted.status)
        and (wanted.node is None or e.node == wanted.node)
        and (wanted.since is None or e.created_at >= wanted.since)
        and (wanted.until is None or e.created_at < wanted.until)
        and any(wanted.search.casefold() in text.casefold() for text in said)
    )


def _place(e: Experiment, sort: SortKey) -> float | str | None:
    """Return what an experiment is ordered by; None where that is not known."""
    start, end = e.started_at, e.completed_at
    match sort:
        case SortKey.STARTED:
            return None if start is None else start.timestamp()
        case SortKey.FINISHED:
            return None if end is None else end.timestamp()
        case SortKey.DURATION:
            return None if start is None or end is None else (end - start).total_seconds()
        case SortKey.NAME:
            return e.name.casefold()
        case _:
            return e.created_at.timestamp()
