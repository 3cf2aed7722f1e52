"""The verbs that change nothing: what is there, what was recorded, files to fetch."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from broker.messages import (
    Check,
    ContractError,
    ErrorCode,
    Experiment,
    Export,
    Fetch,
    Got,
    History,
    List,
    Listed,
    Logs,
    OnExperiment,
    Request,
    Result,
)
from broker.requests import Asked
from hub_service import scripts
from hub_service.archive import Archive, Wanted
from hub_service.authority import demand_change, may_change
from hub_service.exports import Exports
from hub_service.queue import QueueState, views
from hub_service.queue.durations import Durations
from hub_service.queue.estimates import forecasts
from hub_service.submission import prospect

MAX_LISTED_BYTES: Final = 512 * 1024
"""Of a page of experiments; the next page goes on from there."""
MAX_LISTED_FILES: Final = 50
"""A longer manifest is told with its experiment alone."""


class Reading:
    """Answers questions.

    Args:
        state: Returns the queue's durable state.
        archive: What was recorded.
        exports: Makes files to fetch.
        checker: Of scripts.
        durations: Of earlier runs.
        everybody: Whether everybody may fetch scripts and results of every experiment.
        clock: The wall clock, in UTC.
    """

    def __init__(
        self,
        state: Callable[[], QueueState],
        archive: Archive,
        exports: Exports,
        *,
        checker: scripts.Checker,
        durations: Durations,
        everybody: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._state = state
        self._archive = archive
        self._exports = exports
        self._checker = checker
        self._durations = durations
        self._everybody = everybody
        self._clock = clock

    async def handle(self, asked: Asked) -> Result:
        """Answer one question.

        Raises:
            ContractError: There is no such thing, or it is not for the asker.
        """
        request: Request = asked.request
        match request:
            case Check():
                state = self._state()
                verdict = await self._checker.check(
                    request.script, request.parameters, state.nodes, state.limits
                )
                checked = verdict.checked
                if not checked.ok:
                    return checked
                stands = prospect(
                    state, asked, request, verdict, durations=self._durations, now=self._clock()
                )
                return checked.model_copy(update={"prospect": stands})
            case OnExperiment(experiment_id=experiment_id):
                return await self._get(asked, experiment_id)
            case List():
                return await self._list(asked, request)
            case History():
                return await self._history(request)
            case Logs(experiment_id=experiment_id):
                await self._find(experiment_id)
                return await self._archive.logs(experiment_id, request.after, request.limit)
            case Export(experiment_id=experiment_id):
                experiment = await self._find(experiment_id)
                demand_change(asked, experiment.user, everybody=self._everybody)
                return await self._exports.export(experiment, request.kind, request.file)
            case Fetch():
                return await self._exports.fetch(request.ref, request.offset, request.length)
            case _:
                raise ContractError(
                    ErrorCode.UNKNOWN_VERB, f"the hub cannot {asked.verb}", "compare the contract"
                )

    async def known(self, experiment_id: str) -> Experiment | None:
        """Return an experiment, live or archived; None if there is none."""
        try:
            return await self._find(experiment_id)
        except ContractError:
            return None

    async def _get(self, asked: Asked, experiment_id: str) -> Got:
        experiment = await self._find(experiment_id)
        script = None
        if may_change(asked, experiment.user, everybody=self._everybody):
            script = await self._archive.get_script(experiment.script_sha256)
        return Got(experiment=experiment, script=script)

    async def _find(self, experiment_id: str) -> Experiment:
        """Return an experiment, live or archived.

        Raises:
            ContractError: NOT_FOUND.
        """
        state = self._state()
        entry = state.entries.get(experiment_id)
        if entry is not None:
            return self._shown(state, [experiment_id])[0]
        archived = await self._archive.finished(experiment_id)
        if archived is None:
            raise ContractError(
                ErrorCode.NOT_FOUND,
                f"there is no experiment {experiment_id}",
                "compare the id with the list of experiments",
            )
        return archived

    async def _list(self, asked: Asked, request: List) -> Listed:
        """Return a page of live and archived experiments together, newest first."""
        user = asked.user if request.mine else None
        state = self._state()
        archived, total = await self._archive.page(
            Wanted(
                user,
                request.status,
                request.search,
                request.node,
                request.before,
                request.limit + 1,
            )
        )
        # One that was archived meanwhile is in both: the archive is right.
        known = {experiment.experiment_id for experiment in archived}
        live = [
            experiment
            for experiment in self._shown(state, state.entries)
            if experiment.experiment_id not in known and _matches(experiment, request, user)
        ]
        total += len(live)
        if request.before is not None:
            live = [e for e in live if e.experiment_id < request.before]
        found = sorted([*live, *archived], key=lambda e: e.experiment_id, reverse=True)
        shown = _fitting(found[: request.limit])
        more = len(shown) < len(found)
        return Listed(
            experiments=shown, total=total, next=shown[-1].experiment_id if more else None
        )

    async def _history(self, request: History) -> Result:
        if (request.experiment_id is None) == (request.node is None):
            raise ContractError(
                ErrorCode.MALFORMED,
                "a history is of an experiment or of a node",
                "give either experiment_id or node",
            )
        if request.experiment_id is not None:
            await self._find(request.experiment_id)
        return await self._archive.history(request)

    def _shown(self, state: QueueState, ids: Iterable[str]) -> list[Experiment]:
        places = views.positions(state)
        starts = forecasts(state, self._clock(), self._durations)
        return [
            views.experiment(state, state.entries[i], places.get(i), starts.get(i)) for i in ids
        ]


def _fitting(experiments: Sequence[Experiment]) -> tuple[Experiment, ...]:
    """Return as many as fit into one reply, at least one; long manifests are left out."""
    shown: list[Experiment] = []
    size = 0
    for experiment in experiments:
        brief = experiment
        if len(experiment.results) > MAX_LISTED_FILES:
            brief = experiment.model_copy(update={"results": ()})
        size += len(brief.encode())
        if shown and size > MAX_LISTED_BYTES:
            break
        shown.append(brief)
    return tuple(shown)


def _matches(experiment: Experiment, request: List, user: str | None) -> bool:
    """Whether a live experiment is wanted; the archive judges its own alike."""
    words = (experiment.name, experiment.owner, experiment.node or "", experiment.experiment_id)
    return (
        (user is None or experiment.user == user)
        and (not request.status or experiment.status in request.status)
        and (request.node is None or experiment.node == request.node)
        and request.search.strip().casefold() in "\n".join(words).casefold()
    )
