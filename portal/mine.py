"""My experiments: the list, names and notes, deleting with undo, comparing runs."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from broker.messages import (
    MAX_NAME,
    MAX_NOTE,
    ContractError,
    Error,
    ErrorCode,
    Experiment,
    SortKey,
    Status,
    utc_now,
)
from broker.topics import EXPERIMENT_ID
from portal.access import Asking
from portal.api import read_experiment
from portal.bundles import Bundles
from portal.desk import Desk
from portal.errors import page_of, status_of
from portal.flash import Flash
from portal.listing import newest, read_page
from portal.mine_views import PATH, PERIODS, SORTS, Compared, Filters, Period, parameter_rows
from portal.posting import Postbox, number_of, read_form, text_of, texts_of
from portal.reader import Reader
from portal.rendering import Renderer
from portal.selection import MAX_SELECTED, Selection
from portal.sessions import Session
from portal.state import State

_PAGE: Final = 50
_NAV: Final = "my-experiments"
LETTERS: Final = "ABCDEF"
"""Of compared runs; more lines than that in one chart nobody tells apart."""

_Ids = Annotated[list[str] | None, Query(max_length=MAX_SELECTED)]


class Mine:
    """The pages around the list of one's experiments, and what they post."""

    def __init__(
        self,
        desk: Desk,
        reader: Reader,
        state: State,
        *,
        selection: Selection,
        bundles: Bundles,
        renderer: Renderer,
        postbox: Postbox,
    ) -> None:
        self._desk = desk
        self._reader = reader
        self._state = state
        self._selection = selection
        self._bundles = bundles
        self._renderer = renderer
        self._postbox = postbox

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        for method, path, handler in (
            ("GET", PATH, self.show),
            ("GET", f"{PATH}/download", self.download),
            ("POST", f"{PATH}/{{verb}}", self.selected),
            ("GET", "/compare", self.compare),
            ("GET", "/experiment/{experiment_id}/annotate", self.ask_annotation),
            ("POST", "/experiment/{experiment_id}/annotate", self.annotate),
        ):
            router.add_api_route(path, handler, methods=[method], response_class=Response)
        return router

    async def show(
        self,
        request: Request,
        session: Asking,
        *,
        search: Annotated[str, Query(max_length=100)] = "",
        status: Annotated[list[Status] | None, Query()] = None,
        node: str = "",
        period: Period | Literal[""] = "",
        sort: SortKey = SortKey.CREATED,
        ascending: bool = False,
        scope: Literal["mine", "all"] = "mine",
        before: str | None = None,
        deleted: _Ids = None,
    ) -> Response:
        """Show experiments, a page at a time; and what was deleted just now, to be restored."""
        filters = Filters(
            search=search,
            status=tuple(status or ()),
            node=node,
            period=period or None,
            sort=sort,
            ascending=ascending,
            everybody=scope == "all",
            before=before,
        )
        page = await read_page(
            self._reader,
            self._state,
            session,
            mine=not filters.everybody,
            limit=_PAGE,
            **filters.wanted(utc_now()),
        )
        return self._renderer.page(
            request,
            _NAV,
            "my_experiments.html",
            partial=page.total is None,
            list=page,
            filters=filters,
            periods=PERIODS,
            sorts=SORTS,
            deleted=_known_forms(deleted or ()),
        )

    async def selected(
        self, request: Request, session: Asking, verb: Literal["delete", "restore"]
    ) -> Response:
        """Delete what is selected, or restore what was."""
        ids = texts_of(await read_form(request), "ids")
        outcome = await self._selection.carry_out(session, verb, ids)
        done = [one.experiment_id for one in outcome.ones if one.error is None]
        address = PATH
        if verb == "delete" and done:
            address += "?" + urlencode([("deleted", one) for one in done])
            if not outcome.refused:
                return RedirectResponse(address, HTTPStatus.SEE_OTHER)
        flash = Flash("error" if outcome.refused else "ok", outcome.message)
        return self._postbox.go(request, address, flash)

    async def download(
        self, request: Request, session: Asking, ids: Annotated[list[str] | None, Query()] = None
    ) -> Response:
        """Download what is selected as one ZIP, or say in the list why not."""
        try:
            return await self._bundles.respond(request, session, ids or ())
        except ContractError as refused:
            flash = Flash("error", refused.error.message, refused.error.hint)
            return self._postbox.go(request, page_of(request) or PATH, flash)

    async def ask_annotation(
        self, request: Request, session: Asking, experiment_id: str
    ) -> Response:
        """Ask for a new name and note."""
        experiment = await self._find(session, experiment_id)
        return self._annotation(request, experiment, experiment.name, experiment.note)

    async def annotate(self, request: Request, session: Asking, experiment_id: str) -> Response:
        """Change name and note, or show what somebody else made of them meanwhile."""
        fields = await read_form(request)
        name, note = text_of(fields, "name"), text_of(fields, "note")
        edition = number_of(fields, "edition", int)
        try:
            done = await self._desk.annotate(
                session, experiment_id, name=name, note=note, edition=edition
            )
        except ContractError as refused:
            if refused.error.code not in {ErrorCode.MALFORMED, ErrorCode.CHANGED_MEANWHILE}:
                raise
            experiment = await self._find(session, experiment_id)
            return self._annotation(request, experiment, name, note, refused.error)
        address = text_of(fields, "back")
        flash = Flash("ok", done.message)
        return self._postbox.go(request, address if _is_ours(address) else PATH, flash)

    async def compare(
        self, request: Request, session: Asking, ids: Annotated[list[str] | None, Query()] = None
    ) -> Response:
        """Show several runs in the same charts, each from its start."""
        asked = list(dict.fromkeys(part for text in ids or () for part in text.split(",") if part))
        wanted = asked[: len(LETTERS)]
        found = await asyncio.gather(*(self._find_or_none(session, one) for one in wanted))
        there = [experiment for experiment in found if experiment is not None]
        shown = [one for one in there if self._state.shows(session, one)]
        runs = [
            Compared(letter, experiment) for letter, experiment in zip(LETTERS, shown, strict=False)
        ]
        channels = {
            channel.name: channel
            for run in reversed(runs)
            if run.experiment.node
            and (node := self._state.node(run.experiment.node)) is not None
            and node.channels is not None
            for channel in node.channels.channels
        }
        return self._renderer.page(
            request,
            _NAV,
            "compare.html",
            runs=runs,
            missing=len(wanted) - len(there),
            outlined=len(there) - len(shown),
            beyond=len(asked) - len(wanted),
            most=len(LETTERS),
            parameters=parameter_rows(runs),
            channels=[channel.model_dump(mode="json") for channel in channels.values()],
        )

    def _annotation(
        self,
        request: Request,
        experiment: Experiment,
        name: str,
        note: str,
        error: Error | None = None,
    ) -> Response:
        return self._renderer.page(
            request,
            _NAV,
            "annotate.html",
            HTTPStatus.OK if error is None else status_of(error),
            experiment=experiment,
            name=name,
            note=note,
            longest={"name": MAX_NAME, "note": MAX_NOTE},
            error=error,
            back=_back(request),
        )

    async def _find(self, session: Session, experiment_id: str) -> Experiment:
        got = await read_experiment(self._reader, self._state, session, experiment_id)
        return newest(self._state, got.experiment)

    async def _find_or_none(self, session: Session, experiment_id: str) -> Experiment | None:
        try:
            return await self._find(session, experiment_id)
        except ContractError as error:
            if error.error.code is not ErrorCode.NOT_FOUND:
                raise
            return None


def _known_forms(ids: Sequence[str]) -> list[str]:
    return [one for one in ids if EXPERIMENT_ID.fullmatch(one)]


def _is_ours(address: str) -> bool:
    """Whether it is a page that shows names and notes: a list, or one experiment."""
    if address == PATH or address.startswith(f"{PATH}?"):
        return True
    return EXPERIMENT_ID.fullmatch(address.removeprefix("/experiment/")) is not None


def _back(request: Request) -> str:
    """Return the page that somebody came from, as it stood, else the plain list."""
    came = request.headers.get("referer", "").partition(f"//{request.headers.get('host')}")[2]
    return came if _is_ours(came) else PATH
