"""The application: every part is made and joined here."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import JsonValue
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from broker import VERSION
from broker.allocator import keep_trimmed
from broker.connection import Connection
from broker.messages import ContractError, Error, ErrorCode
from broker.requests import Asker
from portal.admin_forms import AdminForms
from portal.admin_pages import AdminPages
from portal.admission import Identified, Limited
from portal.api import ExperimentsApi
from portal.api_admin import AdminApi
from portal.api_data import DataApi
from portal.api_nodes import NodesApi
from portal.asking import Line
from portal.assets import STATIC, Assets
from portal.bundles import Bundles
from portal.compression import Compressed
from portal.conditional import Conditional, Headless
from portal.desk import Desk
from portal.downloads import Downloads
from portal.estop import EmergencyStop
from portal.examples import load_examples
from portal.flash import Flashes
from portal.forms import Forms
from portal.live import Live
from portal.manual import ManualControl
from portal.metrics import HubFigures, Measured, RequestFigures
from portal.mine import Mine
from portal.mishaps import Mishaps
from portal.node_forms import NodeForms
from portal.openapi import document
from portal.pages import Pages
from portal.posting import Postbox
from portal.queue_forms import QueueForms
from portal.reader import Reader
from portal.refusals import Refusals
from portal.rendering import Renderer
from portal.rotation import Rotation
from portal.security import AllowedHosts, BodyLimit, BodyTooLargeError, Headed
from portal.selection import Selection
from portal.sessions import Sessions, load_site_key, signer
from portal.settings import PortalSettings
from portal.site import Site
from portal.state import State
from portal.tokens import ScriptTokens
from portal.uploads import Uploads
from portal.websocket import Watching

_log = logging.getLogger(__name__)

_TRIMMED_EVERY = 5.0
"""Seconds."""
_OWN_NAMES = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = frozenset(("0.0.0.0", "::"))  # noqa: S104 - compared with, not bound to
_HTTP_CODES = {
    HTTPStatus.NOT_FOUND: ErrorCode.NOT_FOUND,
    HTTPStatus.FORBIDDEN: ErrorCode.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ErrorCode.TOO_LARGE,
}


def create_app(settings: PortalSettings, connection: Connection) -> FastAPI:
    """Return the portal as an ASGI application.

    Args:
        settings: Of this portal.
        connection: To the broker as the portal's principal; entered by the caller, and not
            subscribed to portal topics beyond its own.

    Raises:
        SiteKeyError: The site key cannot be used.
        DatabaseError: What is remembered of cookies cannot be used.
    """
    site_key = load_site_key(settings.data_dir)
    password = settings.admin_password
    rotation = Rotation(settings.data_dir / "sessions.sqlite")
    sessions = Sessions(
        site_key,
        rotation,
        everybody_admin=settings.admin == "everybody",
        password=password.get_secret_value() if password else None,
    )
    state = State(connection)
    live = Live(
        state,
        connection.topics,
        max_viewers=settings.max_viewers,
        stall_seconds=settings.stall_seconds,
    )
    assets = Assets(STATIC)
    if not assets.built:
        _log.warning("%s is missing: pages have no style until the frontend is built", STATIC)
    flashes = Flashes(signer(site_key, "flash"))
    tokens = ScriptTokens(site_key, lambda: state.tokens)
    mishaps = Mishaps(connection, state, live, settings.id)
    renderer = Renderer(state, assets, flashes, mishaps)
    line = Line(Asker(connection, settings.id), state)
    reader, desk = Reader(line), Desk(line, state, seconds=settings.ask_timeout)
    estop = EmergencyStop(connection, state, settings.id)
    postbox = Postbox(renderer, flashes)
    figures = RequestFigures()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = (
            asyncio.create_task(live.run(), name="drop stalled viewers"),
            asyncio.create_task(keep_trimmed(_TRIMMED_EVERY), name="give memory back"),
        )
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            rotation.close()

    app = FastAPI(
        title="Bioreactor",
        summary="Experiments, queue, data and reactors of this laboratory.",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        middleware=[
            Middleware(Measured, figures=figures),
            Middleware(Refusals),
            Middleware(Headed),
            Middleware(AllowedHosts, hosts=_hosts(settings), refuse=renderer.refuse),
            Middleware(Identified, sessions=sessions, tokens=tokens, refuse=renderer.refuse),
            Middleware(
                Limited,
                reads=settings.reads_per_second,
                writes=settings.writes_per_second,
                refuse=renderer.refuse,
            ),
            Middleware(Watching, live=live),
            Middleware(Compressed),
            Middleware(Conditional),
            Middleware(Headless),
            Middleware(BodyLimit),
        ],
    )
    examples = load_examples(settings.examples)
    pages = Pages(reader, state, renderer, examples)
    admin = AdminPages(reader, state, renderer, login=settings.admin == "login")
    manual = ManualControl(connection, state, settings.id, mishaps)
    experiments = ExperimentsApi(desk, reader, state)
    downloads = Downloads()
    bundles = Bundles(reader, downloads)
    data = DataApi(reader, state, downloads, bundles)
    for routes in (
        data.several_router(),
        experiments.router(),
        data.router(),
        experiments.queue_router(),
        NodesApi(reader, state, estop, desk, manual).router(),
        AdminApi(desk, reader, state, tokens).router(),
        Site(state, live, (figures, HubFigures(connection)), renderer, assets).router(),
        pages.router(),
        Uploads(desk, reader, state, renderer, flashes, examples=examples).router(),
        admin.router(),
        AdminForms(desk, reader, state=state, tokens=tokens, pages=admin, postbox=postbox).router(),
        Mine(
            desk,
            reader,
            state,
            selection=Selection(desk, state),
            bundles=bundles,
            renderer=renderer,
            postbox=postbox,
        ).router(),
        QueueForms(desk, Selection(desk, state), state, postbox).router(),
        NodeForms(desk, estop, manual, mishaps, postbox).router(),
        Forms(
            desk, sessions=sessions, state=state, reader=reader, renderer=renderer, postbox=postbox
        ).router(),
    ):
        # As they are: `include_router` would have each made once more, when it is first asked for.
        app.router.routes.extend(routes.routes)
    app.mount("/static", assets)
    app.openapi = partial(document, app)  # type: ignore[method-assign]  # as FastAPI advises

    _tell_errors(app, renderer)
    return app


def _tell_errors(app: FastAPI, renderer: Renderer) -> None:
    """Have every error told in the same two forms."""

    @app.exception_handler(ContractError)
    async def contract(request: Request, error: ContractError) -> Response:
        return renderer.error(request, error.error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        problems: list[JsonValue] = [
            {
                "field": ".".join(str(part) for part in item["loc"] if part != "body"),
                "problem": item["msg"],
            }
            for item in error.errors()[:10]
        ]
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "request"
        told = Error(
            code=ErrorCode.MALFORMED,
            message=f"{field}: {first['msg']}",
            hint="compare with /docs",
            details={"problems": problems},
        )
        return renderer.error(request, told)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if isinstance(error, BodyTooLargeError):
            return renderer.error(request, error.error)
        code = _HTTP_CODES.get(HTTPStatus(error.status_code), ErrorCode.MALFORMED)
        phrase = "there is nothing at this address" if error.status_code == 404 else error.detail  # noqa: PLR2004 - HTTP
        told = Error(code=code, message=phrase, hint="see / for the pages, /docs for the calls")
        response = renderer.error(request, told, error.status_code)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        _log.error("a request to %s failed", request.url.path, exc_info=error)
        told = Error(
            code=ErrorCode.INTERNAL,
            message="the portal made a mistake",
            hint="the log of the portal says more; experiments are not affected",
        )
        return renderer.error(request, told)


def _hosts(settings: PortalSettings) -> set[str]:
    hosts = {*_OWN_NAMES, *settings.allowed_hosts}
    return hosts if settings.host in _WILDCARDS else {*hosts, settings.host}
