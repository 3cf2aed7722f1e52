"""REST: what experiments and reactors measured, wrote and saved; reactors themselves."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from broker.messages import (
    MAX_HISTORY_POINTS,
    ContractError,
    ErrorCode,
    ExportKind,
    HistoryOf,
    LogPage,
)
from portal.access import ERRORS, Asking, as_json
from portal.api import commanded, read_experiment
from portal.desk import Desk
from portal.downloads import Downloads, disposition
from portal.errors import not_found
from portal.estop import EmergencyStop
from portal.reader import Reader
from portal.security import FILE_SECURITY_POLICY
from portal.sessions import Session
from portal.state import State
from portal.views import (
    Commanded,
    DeadBody,
    EstopBody,
    NodeOf,
    Nodes,
    ReleaseBody,
    freshness,
    node_of,
)

_Channels = Annotated[
    list[str] | None, Query(alias="channel", description="Only these; repeat it for several.")
]
_Points = Annotated[int, Query(ge=2, le=MAX_HISTORY_POINTS, description="At most, a channel.")]
_LINES_PER_REQUEST = 2000


class DataApi:
    """The calls that read data, and those under `/api/nodes`."""

    def __init__(
        self,
        reader: Reader,
        state: State,
        downloads: Downloads,
        estop: EmergencyStop,
        desk: Desk,
    ) -> None:
        self._reader = reader
        self._desk = desk
        self._state = state
        self._downloads = downloads
        self._estop = estop

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/api", tags=["data"], responses=ERRORS)
        get = ["GET"]
        add = router.add_api_route
        one = "/experiments/{experiment_id}"
        add(f"{one}/history", self.history, methods=get, response_model=HistoryOf)
        add(f"{one}/logs", self.logs, methods=get, response_model=LogPage)
        for path, handler in (
            ("script", self.script),
            ("telemetry", self.telemetry),
            ("download", self.download),
            ("files/{name:path}", self.file),
        ):
            for method in ("GET", "HEAD"):
                add(
                    f"{one}/{path}",
                    handler,
                    methods=[method],
                    include_in_schema=method == "GET",
                    response_class=Response,
                )
        return router

    def nodes_router(self) -> APIRouter:
        """Return the routes of reactors."""
        router = APIRouter(prefix="/api/nodes", tags=["reactors"], responses=ERRORS)
        get, post = ["GET"], ["POST"]
        add = router.add_api_route
        add("", self.nodes, methods=get, response_model=Nodes)
        add("/{node}", self.node, methods=get, response_model=NodeOf)
        add("/{node}/history", self.node_history, methods=get, response_model=HistoryOf)
        add("/{node}/estop", self.stop, methods=post, response_model=Commanded)
        add("/{node}/estop-release", self.release, methods=post, response_model=Commanded)
        add("/{node}/drain", self.drain, methods=post, response_model=Commanded)
        add("/{node}/resume", self.resume, methods=post, response_model=Commanded)
        add("/{node}/declare-dead", self.declare_dead, methods=post, response_model=Commanded)
        return router

    async def history(
        self,
        session: Asking,
        experiment_id: str,
        *,
        channels: _Channels = None,
        start: float | None = None,
        end: float | None = None,
        points: _Points = MAX_HISTORY_POINTS,
    ) -> Response:
        """Show samples, series and events for a chart, thinned so that spikes survive.

        Times are seconds of the experiment's clock.
        """
        return as_json(
            await self._reader.history(
                session,
                experiment_id=experiment_id,
                channels=channels,
                start=start,
                end=end,
                points=points,
            )
        )

    async def logs(
        self,
        request: Request,
        session: Asking,
        experiment_id: str,
        *,
        after: Annotated[int | None, Query(ge=0, description="Absent: the last lines.")] = None,
        limit: Annotated[int, Query(ge=1, le=_LINES_PER_REQUEST)] = 500,
        wanted: Annotated[Literal["json", "text"] | None, Query(alias="format")] = None,
    ) -> Response:
        """Show log lines after a number; as text, the whole log.

        Text comes with `format=text` or `Accept: text/plain`.
        """
        accept = request.headers.get("accept", "")
        if wanted is None and "text/plain" in accept and "json" not in accept:
            wanted = "text"
        if wanted == "text" and after is None:
            return await self._file(request, session, experiment_id, ExportKind.LOG)
        page = await self._reader.logs(session, experiment_id, after=after, limit=limit)
        if wanted == "text":
            text = "".join(f"{line.text}\n" for line in page.lines)
            return _text(text, f"{experiment_id}.log")
        return as_json(page)

    async def script(self, session: Asking, experiment_id: str) -> Response:
        """Download the script as it ran; owners and administrators only, unless all is open."""
        got = await read_experiment(self._reader, self._state, session, experiment_id)
        if got.script is None:
            raise ContractError(
                ErrorCode.FORBIDDEN,
                "this script is not shown to you now",
                "its owner and administrators may see it while the hub is online",
            )
        return _text(got.script, f"{experiment_id}.py")

    async def telemetry(
        self,
        request: Request,
        session: Asking,
        experiment_id: str,
        wanted: Annotated[Literal["json", "csv", "parquet"], Query(alias="format")] = "json",
        points: _Points = MAX_HISTORY_POINTS,
    ) -> Response:
        """Download what was measured: all of it as CSV or Parquet, thinned for charts as JSON."""
        if wanted == "json":
            return as_json(
                await self._reader.history(session, experiment_id=experiment_id, points=points)
            )
        kind = ExportKind.TELEMETRY_CSV if wanted == "csv" else ExportKind.TELEMETRY_PARQUET
        return await self._file(request, session, experiment_id, kind)

    async def download(self, request: Request, session: Asking, experiment_id: str) -> Response:
        """Download everything as one ZIP; of a running one, what there is so far."""
        return await self._file(request, session, experiment_id, ExportKind.RESULTS)

    async def file(
        self,
        request: Request,
        session: Asking,
        experiment_id: str,
        name: Annotated[str, Path(description="As in the experiment's `results`.")],
    ) -> Response:
        """Download one file that the script saved."""
        return await self._file(request, session, experiment_id, ExportKind.FILE, name)

    async def nodes(self, session: Asking) -> Response:  # noqa: ARG002 - makes a session on first visit
        """Show all reactors: channels, limits, what runs, the last readings."""
        nodes = tuple(node_of(node) for node in self._state.nodes())
        return as_json(Nodes(nodes=nodes, freshness=freshness(self._state)))

    async def node(self, session: Asking, node: str) -> Response:  # noqa: ARG002 - as above
        """Show one reactor."""
        view = self._state.node(node)
        if view is None:
            raise not_found("this reactor", "see /api/nodes for those that are known")
        return as_json(node_of(view))

    async def node_history(
        self,
        session: Asking,
        node: str,
        *,
        channels: _Channels = None,
        start: float | None = None,
        end: float | None = None,
        points: _Points = MAX_HISTORY_POINTS,
    ) -> Response:
        """Show what a reactor measured; times are seconds since 1970."""
        if self._state.node(node) is None:
            raise not_found("this reactor", "see /api/nodes for those that are known")
        return as_json(
            await self._reader.history(
                session, node=node, channels=channels, start=start, end=end, points=points
            )
        )

    async def stop(self, session: Asking, node: str, body: EstopBody | None = None) -> Response:
        """Stop a reactor in an emergency: every output goes to its safe state and stays there."""
        message = await self._estop.engage(session, node, body.reason if body else "")
        return as_json(Commanded(message=message, outcome="done"))

    async def release(
        self, session: Asking, node: str, body: ReleaseBody | None = None
    ) -> Response:
        """Release an emergency stop. Administrators only."""
        message = await self._estop.release(session, node, body.latch if body else None)
        return as_json(Commanded(message=message, outcome="done"))

    async def drain(self, session: Asking, node: str) -> Response:
        """Finish what runs on a reactor, start nothing more there. Administrators only."""
        return commanded(await self._desk.drain_node(session, node))

    async def resume(self, session: Asking, node: str) -> Response:
        """Give a drained or dead reactor back to the queue. Administrators only."""
        return commanded(await self._desk.resume_node(session, node))

    async def declare_dead(
        self, session: Asking, node: str, body: DeadBody | None = None
    ) -> Response:
        """Give up a reactor that is without power: what it runs has failed. Administrators only.

        Nothing is run again by itself. Should the reactor return, its old run is stopped and what
        that recorded is kept.
        """
        power_is_off = body is not None and body.power_is_off
        return commanded(await self._desk.declare_dead(session, node, power_is_off=power_is_off))

    async def _file(
        self,
        request: Request,
        session: Session,
        experiment_id: str,
        kind: ExportKind,
        name: str | None = None,
    ) -> Response:
        exported = await self._reader.export(session, experiment_id, kind, name)
        fetch = partial(self._reader.fetch, session, exported.ref)
        return self._downloads.respond(request, exported, fetch)


def _text(text: str, filename: str) -> Response:
    return Response(
        text,
        media_type="text/plain",
        headers={
            "Content-Disposition": disposition(filename),
            "Content-Security-Policy": FILE_SECURITY_POLICY,
        },
    )
