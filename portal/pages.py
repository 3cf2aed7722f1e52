"""The pages that people read. They need no JavaScript; with it they are live."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response
from ulid import ULID

from broker.messages import (
    Audited,
    ContractError,
    Experiment,
    LogPage,
    utc_now,
)
from portal.access import Asking
from portal.alarmlog import PastAlarm, gathered
from portal.api import read_experiment
from portal.asking import need_admin
from portal.errors import UNREACHABLE, not_found
from portal.examples import Example
from portal.known import NodeView
from portal.listing import newest, read_page
from portal.parameters import delivery
from portal.queue_views import late_move, places_of
from portal.reader import Reader
from portal.rendering import Renderer
from portal.selection import MAX_SELECTED
from portal.sessions import Session
from portal.state import State
from portal.timeline import life_of

_RECENT = 6
_AUDITED = 15
_ALARMS = 30
ALARM_DAYS = 14
"""How far back a reactor's page looks for alarms."""
_NO_LOG = LogPage(lines=(), last=0, complete=False)


class Pages:
    """All pages; `forms.py` has what they post."""

    def __init__(
        self,
        reader: Reader,
        state: State,
        renderer: Renderer,
        examples: Sequence[Example],
    ) -> None:
        self._reader = reader
        self._state = state
        self._renderer = renderer
        self._examples = examples

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        for path, handler in (
            ("/", self.home),
            ("/queue", self.queue),
            ("/experiment/{experiment_id}", self.experiment),
            ("/experiment/{experiment_id}/run-now", self.run_now),
            ("/nodes", self.nodes),
            ("/nodes/{node}", self.node),
            ("/login", self.login),
        ):
            router.add_api_route(path, handler, methods=["GET"], response_class=Response)
        return router

    async def home(self, request: Request, session: Asking) -> Response:
        """Show what runs where, the queue in short, and what is mine."""
        page = await read_page(self._reader, self._state, session, mine=True, limit=_RECENT)
        return self._renderer.page(
            request,
            "home",
            "home.html",
            partial=page.total is None,
            experiments=page.experiments,
            examples=self._examples,
        )

    async def queue(
        self,
        request: Request,
        session: Asking,
        *,
        wanted: Annotated[list[str] | None, Query(max_length=MAX_SELECTED)] = None,
        where: Literal["first", "last", "before", "after"] = "before",
        target: str | None = None,
        before: Annotated[int | None, Query(ge=1)] = None,
        everything: Annotated[bool, Query(alias="all")] = False,
    ) -> Response:
        """Show who runs, who waits, who did what; and a move that came too late, to be repeated.

        Of many that wait only the first are shown, unless everything is asked for.
        """
        conflict = late_move(self._state.queue, wanted or (), where, target)
        audit: Audited | None = None
        try:
            audit = await self._reader.audit(session, before=before, limit=_AUDITED)
        except ContractError as error:
            if error.error.code not in UNREACHABLE:
                raise
        return self._renderer.page(
            request,
            "queue",
            "queue.html",
            partial=audit is None,
            conflict=conflict,
            audit=audit,
            before=before,
            everything=everything,
        )

    async def run_now(self, request: Request, session: Asking, experiment_id: str) -> Response:
        """Say what running one now would stop, reactor by reactor."""
        need_admin(session, "change who runs next")
        queue = self._state.queue
        waiting = queue.waiting if queue is not None else ()
        entry = next((e for e in waiting if e.experiment_id == experiment_id), None)
        if queue is None or entry is None:
            raise not_found("this waiting experiment", "it may have started; see the queue")
        places = places_of(entry, queue, self._state.nodes())
        return self._renderer.page(request, "queue", "run_now.html", entry=entry, places=places)

    async def experiment(self, request: Request, session: Asking, experiment_id: str) -> Response:
        """Show one experiment, its data and its log."""
        reading = read_experiment(self._reader, self._state, session, experiment_id)
        log: LogPage | None = None
        if self._state.open:
            got, log = await asyncio.gather(reading, self._log(session, experiment_id))
        else:
            got = await reading
        experiment = newest(self._state, got.experiment)
        if not self._state.shows(session, experiment):
            return self._renderer.page(
                request, "experiment", "experiment_outline.html", experiment=experiment
            )
        if log is None:  # asked for by nobody else: the hub puts on record who does
            log = await self._log(session, experiment_id)
        node = self._state.node_for(session, experiment.node) if experiment.node else None
        activity = node.report.activity if node and node.report else None
        here = activity is not None and activity.experiment_id == experiment_id
        return self._renderer.page(
            request,
            "experiment",
            "experiment.html",
            partial=got.script is None,
            experiment=experiment,
            script=got.script,
            declared=got.info.parameters if got.info else (),
            info=got.info,
            milestones=got.milestones,
            delivery=delivery(got.milestones, experiment.attempt),
            life=life_of(experiment, got.milestones, utc_now()),
            log=log,
            readings=node.readings if node and here else {},
            may_change=session.admin or experiment.user == session.user,
            results=experiment.results,
        )

    async def nodes(self, request: Request, session: Asking) -> Response:  # noqa: ARG002 - every page has one
        """Show all reactors."""
        return self._renderer.page(request, "nodes", "nodes.html")

    async def node(self, request: Request, session: Asking, node: str) -> Response:
        """Show one reactor: what it measures, what may be done with it, and its past."""
        view = self._state.node_for(session, node)
        if view is None:
            raise not_found("this reactor", "see Reactors for those that are known")
        ran, alarms = await asyncio.gather(self._ran(session, node), self._alarms(session, view))
        return self._renderer.page(
            request,
            "node",
            "node.html",
            partial=ran is None or alarms is None,
            node=view,
            ran=ran,
            alarms=alarms,
            request_id=str(ULID()),
        )

    async def login(self, request: Request, session: Asking) -> Response:
        """Ask for the administrator's password."""
        if session.admin:
            return RedirectResponse("/", 303)
        return self._renderer.page(request, "login", "login.html", errors={})

    async def _ran(self, session: Session, node: str) -> Sequence[Experiment] | None:
        """Return what ran on a reactor lately, newest first; None if the hub does not say."""
        try:
            listed = await self._reader.list(session, mine=False, node=node, limit=_RECENT)
        except ContractError as error:
            if error.error.code not in UNREACHABLE:
                raise
            return None
        return [newest(self._state, experiment) for experiment in listed.experiments]

    async def _alarms(self, session: Session, node: NodeView) -> Sequence[PastAlarm] | None:
        """Return a reactor's alarms of the last days; None if the hub does not say."""
        try:
            return gathered(await self._reader.alarms(session, node, days=ALARM_DAYS))[:_ALARMS]
        except ContractError as error:
            if error.error.code not in UNREACHABLE:
                raise
            return None

    async def _log(self, session: Session, experiment_id: str) -> LogPage:
        try:
            return await self._reader.logs(session, experiment_id)
        except ContractError:
            return _NO_LOG  # why the hub refuses shows in the rest of the page
