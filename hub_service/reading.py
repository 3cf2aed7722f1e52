"""The verbs that change nothing: what is there, what was recorded, files to fetch."""

from collections.abc import Callable, Iterable
from datetime import datetime

from broker.messages import (
    Audited,
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
    ReadAudit,
    Request,
    Result,
)
from broker.requests import Asked
from hub_service import scripts
from hub_service.archive import Archive
from hub_service.archive.history import Eyes
from hub_service.archive.wide import Selection
from hub_service.auditing import ADMINISTRATORS_ONLY, audit_entry
from hub_service.authority import demand_change, may_change, powerful
from hub_service.exports import Exports
from hub_service.fitting import fitting
from hub_service.listing import listed, wanted_of
from hub_service.queue import QueueState, views
from hub_service.queue.durations import Durations
from hub_service.queue.estimates import forecasts
from hub_service.submission import prospect


class Reading:
    """Answers questions.

    Args:
        state: Returns the queue's durable state.
        archive: What was recorded.
        exports: Makes files to fetch.
        checker: Of scripts.
        durations: Of earlier runs.
        everybody: Whether everybody may see every experiment and fetch its script and results.
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
                return await self._history(asked, request)
            case Logs(experiment_id=experiment_id):
                await self._demand(asked, experiment_id)
                return await self._archive.logs(
                    experiment_id,
                    request.after,
                    request.limit,
                    search=request.search,
                    sources=request.sources,
                )
            case ReadAudit():
                return await self._audit(asked, request)
            case Export(experiment_id=experiment_id):
                experiment = await self._demand(asked, experiment_id)
                wanted = Selection(request.channels, request.start, request.end)
                return await self._exports.export(experiment, request.kind, request.file, wanted)
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
        if not may_change(asked, experiment.user, everybody=self._everybody):
            return Got(experiment=views.outline(experiment))
        script = await self._archive.get_script(experiment.script_sha256)
        return Got(
            experiment=experiment,
            script=script,
            info=None if script is None else scripts.parse(script)[0].info,
            milestones=await self._archive.milestones(experiment_id),
        )

    async def _demand(self, asked: Asked, experiment_id: str) -> Experiment:
        """Return an experiment if the asker may see all of it.

        Raises:
            ContractError: NOT_FOUND, FORBIDDEN.
        """
        experiment = await self._find(experiment_id)
        demand_change(asked, experiment.user, everybody=self._everybody)
        return experiment

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
        """Return a page of live and archived experiments together, of those that are shown."""
        if not (self._everybody or powerful(asked)):
            request = request.model_copy(update={"mine": True})
        state, wanted = self._state(), wanted_of(request, asked.user)
        archived, total = await self._archive.page(wanted)
        return listed(wanted, self._shown(state, state.entries), archived, total)

    async def _audit(self, asked: Asked, request: ReadAudit) -> Audited:
        """Return a page of the audit, as much of it as the asker may see."""
        all_of_it = powerful(asked)
        rows = await self._archive.audit_page(
            experiment_id=request.experiment_id,
            before=request.before,
            limit=request.limit + 1,
            hidden=() if all_of_it else ADMINISTRATORS_ONLY,
            verb=request.verb,
            who=request.who,
        )
        entries = self._state().entries
        ids = {row.audit.experiment_id for row in rows} - {None}
        names = await self._archive.names([i for i in ids if i is not None and i not in entries])
        names |= {i: e.plan.name for i, e in entries.items() if i in ids}
        told = [audit_entry(row, names, full=all_of_it, reader=asked.user) for row in rows]
        page = fitting(told[: request.limit])
        return Audited(entries=page, next=page[-1].n if len(page) < len(told) else None)

    async def _history(self, asked: Asked, request: History) -> Result:
        if (request.experiment_id is None) == (request.node is None):
            raise ContractError(
                ErrorCode.MALFORMED,
                "a history is of an experiment or of a node",
                "give either experiment_id or node",
            )
        if request.experiment_id is not None:
            await self._demand(asked, request.experiment_id)
        if self._everybody or powerful(asked):
            return await self._archive.history(request)
        entries = self._state().entries.values()
        live = frozenset(entry.id for entry in entries if entry.plan.user == asked.user)
        return await self._archive.history(request, Eyes(asked.user, live))

    def _shown(self, state: QueueState, ids: Iterable[str]) -> list[Experiment]:
        places = views.positions(state)
        starts = forecasts(state, self._clock(), self._durations)
        return [
            views.experiment(state, state.entries[i], places.get(i), starts.get(i)) for i in ids
        ]
