"""REST: what experiments measured, wrote and saved."""

from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from broker.messages import (
    MAX_HISTORY_POINTS,
    ContractError,
    ErrorCode,
    Exported,
    ExportKind,
    HistoryOf,
    LogPage,
    LogSource,
)
from portal.access import ERRORS, Asking, ChannelNames, ExperimentId, Points, as_json
from portal.api import read_experiment
from portal.bundles import MAX_BUNDLED, Bundles
from portal.downloads import Downloads, disposition
from portal.reader import Reader
from portal.security import FILE_SECURITY_POLICY
from portal.sessions import Session
from portal.state import State

_LINES_PER_REQUEST = 2000
_SHOWN_AS: Final = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
    ".webp": "image/webp", ".svg": "image/svg+xml",
}  # fmt: skip
"""Result files that a page may show as pictures; opened alone they are downloads all the same."""
_FORMATS = {
    "application/json": "json",
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
}


class DataApi:
    """The calls that read data of experiments."""

    def __init__(
        self, reader: Reader, state: State, downloads: Downloads, bundles: Bundles
    ) -> None:
        self._reader = reader
        self._state = state
        self._downloads = downloads
        self._bundles = bundles

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/api", tags=["data"], responses=ERRORS)
        get = ["GET"]
        add = router.add_api_route
        one = "/experiments/{experiment_id}"
        add(f"{one}/history", self.history, methods=get, response_model=HistoryOf)
        text = _types("text/plain")
        add(f"{one}/logs", self.logs, methods=get, response_model=LogPage, responses=text)
        tables = _types(*(name for name in _FORMATS if _FORMATS[name] != "json"))
        add(f"{one}/telemetry", self.telemetry, response_model=HistoryOf, responses=tables)
        for path, handler, media_type in (
            ("script", self.script, "text/plain"),
            ("download", self.download, "application/zip"),
            ("files/{name:path}", self.file, "application/octet-stream"),
        ):
            whole = _types(media_type)
            add(f"{one}/{path}", handler, methods=get, response_class=Response, responses=whole)
        return router

    def several_router(self) -> APIRouter:
        """Return the route of several experiments; it goes before those of one."""
        router = APIRouter(prefix="/api", tags=["experiments"], responses=ERRORS)
        router.add_api_route(
            "/experiments/download",
            self.several,
            methods=["GET"],
            response_class=Response,
            responses=_types("application/zip"),
        )
        return router

    async def history(
        self,
        session: Asking,
        experiment_id: ExperimentId,
        *,
        channels: ChannelNames = None,
        start: float | None = None,
        end: float | None = None,
        points: Points = MAX_HISTORY_POINTS,
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
        experiment_id: ExperimentId,
        *,
        after: Annotated[int | None, Query(ge=0, description="Absent: the last lines.")] = None,
        limit: Annotated[int, Query(ge=1, le=_LINES_PER_REQUEST)] = 500,
        search: Annotated[str, Query(max_length=200, description="Only lines with it.")] = "",
        source: Annotated[list[LogSource] | None, Query(description="Only of these.")] = None,
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
        page = await self._reader.logs(
            session,
            experiment_id,
            after=after,
            limit=limit,
            search=search,
            sources=source or (),
        )
        if wanted == "text":
            text = "".join(f"{line.text}\n" for line in page.lines)
            return _text(text, f"{experiment_id}.log")
        return as_json(page)

    async def script(self, session: Asking, experiment_id: ExperimentId) -> Response:
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
        experiment_id: ExperimentId,
        *,
        wanted: Annotated[
            Literal["json", "csv", "parquet"] | None,
            Query(alias="format", description="Absent: as `Accept` says, else JSON."),
        ] = None,
        channels: ChannelNames = None,
        start: float | None = None,
        end: float | None = None,
        points: Points = MAX_HISTORY_POINTS,
    ) -> Response:
        """Download what was measured: all of it as CSV or Parquet, thinned for charts as JSON.

        CSV comes with `format=csv` or `Accept: text/csv`, Parquet with `format=parquet` or
        `Accept: application/vnd.apache.parquet`. Both stream, whatever their size, and can be
        resumed with `Range`.
        """
        format_ = wanted or _format_of(request.headers.get("accept", ""))
        if format_ == "json":
            answer = as_json(
                await self._reader.history(
                    session,
                    experiment_id=experiment_id,
                    channels=channels,
                    start=start,
                    end=end,
                    points=points,
                )
            )
        else:
            exported = await self._reader.export(
                session,
                experiment_id,
                ExportKind(f"telemetry-{format_}"),
                channels=channels,
                start=start,
                end=end,
            )
            answer = self._respond(request, session, exported)
        answer.headers.add_vary_header("Accept")
        return answer

    async def download(
        self, request: Request, session: Asking, experiment_id: ExperimentId
    ) -> Response:
        """Download everything as one ZIP; of a running one, what there is so far."""
        return await self._file(request, session, experiment_id, ExportKind.RESULTS)

    async def several(
        self,
        request: Request,
        session: Asking,
        ids: Annotated[
            list[str],
            Query(min_length=1, max_length=MAX_BUNDLED),
        ],
    ) -> Response:
        """Download several experiments as one ZIP, each in a folder.

        It is made while it is sent: it has no length, and what was cut short begins anew. Where one
        of them may not be downloaded, none is.
        """
        return await self._bundles.respond(request, session, ids)

    async def file(
        self,
        request: Request,
        session: Asking,
        experiment_id: ExperimentId,
        name: Annotated[str, Path(description="As in the experiment's `results`.")],
    ) -> Response:
        """Download one file that the script saved."""
        return await self._file(request, session, experiment_id, ExportKind.FILE, name)

    async def _file(
        self,
        request: Request,
        session: Session,
        experiment_id: str,
        kind: ExportKind,
        name: str | None = None,
    ) -> Response:
        exported = await self._reader.export(session, experiment_id, kind, name)
        if shown := _SHOWN_AS.get(PurePosixPath(name or "").suffix.lower()):
            exported = exported.model_copy(update={"media_type": shown})
        return self._respond(request, session, exported)

    def _respond(self, request: Request, session: Session, exported: Exported) -> Response:
        fetch = partial(self._reader.fetch, session, exported.ref)
        return self._downloads.respond(request, exported, fetch)


def _types(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Return for the reference that an answer may be a file of these types."""
    file = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(media_types, file)}}


def _format_of(accept: str) -> str:
    """Return the format of telemetry that a header `Accept` names first; JSON if none."""
    for part in accept.lower().split(","):
        known = _FORMATS.get(part.split(";")[0].strip())
        if known is not None:
            return known
    return "json"


def _text(text: str, filename: str) -> Response:
    return Response(
        text,
        media_type="text/plain",
        headers={
            "Content-Disposition": disposition(filename),
            "Content-Security-Policy": FILE_SECURITY_POLICY,
        },
    )
