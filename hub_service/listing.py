"""Lists of experiments, live and archived together: which, in what order, from where on."""

import base64
from collections.abc import Iterable, Sequence
from typing import Final

import orjson

from broker.messages import ContractError, ErrorCode, Experiment, List, Listed, SortKey, Ulid
from broker.topics import EXPERIMENT_ID
from hub_service.archive import Wanted
from hub_service.archive.finished import Cursor, sort_value, words
from hub_service.fitting import fitting

MAX_LISTED_FILES: Final = 50
"""A longer manifest is told with its experiment alone."""


def wanted_of(request: List, user: str) -> Wanted:
    """Return what of the archive is wanted: one more than fits, which tells of a next page.

    Raises:
        ContractError: MALFORMED, `before` is of no page of this order.
    """
    return Wanted(
        user if request.mine else None,
        request.status,
        request.search,
        request.node,
        request.since,
        request.until,
        request.sort,
        request.ascending,
        None if request.before is None else _cursor(request.before, request.sort),
        request.limit + 1,
    )


def listed(
    wanted: Wanted, live: Iterable[Experiment], archived: Sequence[Experiment], total: int
) -> Listed:
    """Return a page.

    Args:
        wanted: Which.
        live: Every experiment that is not archived.
        archived: As `Archive.page` returned them. One that was archived meanwhile is in both: the
            archive is right.
        total: How many of the archive's match.
    """
    known = {experiment.experiment_id for experiment in archived}
    matching = [e for e in live if e.experiment_id not in known and _matches(e, wanted)]
    following = [e for e in matching if wanted.before is None or _follows(e, wanted)]
    found = _sorted([*following, *archived], wanted)
    shown = fitting(_brief(experiment) for experiment in found[: wanted.limit - 1])
    more = len(shown) < len(found)
    return Listed(
        experiments=shown,
        total=total + len(matching),
        next=_text(shown[-1], wanted.sort) if more else None,
    )


def _sorted(experiments: Iterable[Experiment], wanted: Wanted) -> list[Experiment]:
    keyed = [(sort_value(e, wanted.sort), e.experiment_id, e) for e in experiments]
    placed = sorted(
        (k for k in keyed if k[0] is not None), key=lambda k: k[:2], reverse=not wanted.ascending
    )
    rest = sorted(
        (k for k in keyed if k[0] is None), key=lambda k: k[1], reverse=not wanted.ascending
    )
    return [experiment for _, _, experiment in (*placed, *rest)]


def _follows(experiment: Experiment, wanted: Wanted) -> bool:
    """Whether it comes after the page before, as the archive decides it."""
    before = wanted.before
    if before is None:
        return True
    value = sort_value(experiment, wanted.sort)
    if value is None or before.value is None:
        if (value is None) != (before.value is None):
            return value is None
        here, there = (experiment.experiment_id,), (before.experiment_id,)
        return here > there if wanted.ascending else here < there
    mine, other = (value, experiment.experiment_id), (before.value, before.experiment_id)
    return mine > other if wanted.ascending else mine < other


def _matches(experiment: Experiment, wanted: Wanted) -> bool:
    """Whether a live experiment is wanted; the archive judges its own alike."""
    return (
        (wanted.user is None or experiment.user == wanted.user)
        and (not wanted.status or experiment.status in wanted.status)
        and wanted.node in {None, experiment.node}
        and (wanted.since is None or experiment.created_at >= wanted.since)
        and (wanted.until is None or experiment.created_at < wanted.until)
        and wanted.search.strip().casefold() in words(experiment)
    )


def _text(experiment: Experiment, sort: SortKey) -> Ulid | str:
    """Return where a page ended, as text: of the usual order simply the id."""
    if sort is SortKey.CREATED:
        return experiment.experiment_id
    parts = [sort_value(experiment, sort), experiment.experiment_id]
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode()


def _cursor(text: str, sort: SortKey) -> Cursor:
    if sort is SortKey.CREATED and EXPERIMENT_ID.fullmatch(text):
        return Cursor(None, text)
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(text))
    except ValueError:
        parts = None
    match parts:
        case [str() | float() | None as value, str(identity)] if (
            sort is not SortKey.CREATED
            and EXPERIMENT_ID.fullmatch(identity)
            and (value is None or isinstance(value, str) is (sort is SortKey.NAME))
        ):
            return Cursor(value, identity)
        case _:
            raise ContractError(
                ErrorCode.MALFORMED,
                "before: it is not the next of a page in this order",
                "begin with the first page",
                field="before",
            )


def _brief(experiment: Experiment) -> Experiment:
    """Return it as lists have it: long manifests are left out."""
    if len(experiment.results) <= MAX_LISTED_FILES:
        return experiment
    return experiment.model_copy(update={"results": ()})
