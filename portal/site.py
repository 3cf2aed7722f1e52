"""What is neither page nor data: health, figures, the reference of the REST interface."""

from typing import Any, Final, Literal

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from broker import VERSION
from portal.access import Asking, as_json
from portal.assets import Assets
from portal.known import HubState
from portal.live import Live
from portal.metrics import HubFigures, RequestFigures, exposition
from portal.reference import FAULTS, WATCHABLE, WS_LIMITS, Group, groups_of
from portal.rendering import Renderer
from portal.state import State

_ADDRESSES: Final = 8
"""By which people come to one portal; more of them are a caller's invention."""


class Health(BaseModel):
    """How the portal is.

    Attributes:
        ready: Broker and hub are there: what is asked can be done.
    """

    status: Literal["ok", "degraded"]
    alive: bool = True
    ready: bool
    version: str
    broker_connected: bool
    hub: HubState
    age_seconds: float
    nodes_online: int


class Site:
    """The remaining routes."""

    def __init__(
        self,
        state: State,
        live: Live,
        figures: tuple[RequestFigures, HubFigures],
        renderer: Renderer,
        assets: Assets,
    ) -> None:
        self._state = state
        self._live = live
        self._figures = figures
        self._renderer = renderer
        self._assets = assets
        self._references: dict[str, list[Group]] = {}

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["portal"])
        add = router.add_api_route
        add("/health", self.health, methods=["GET"], response_model=Health)
        add("/health/live", self.alive, methods=["GET"], response_model=Health)
        down: dict[int | str, dict[str, Any]] = {
            503: {"model": Health, "description": "Broker or hub are away."}
        }
        add(
            "/health/ready",
            self.ready,
            methods=["GET"],
            response_model=Health,
            responses=down,
        )
        add("/metrics", self.metrics, methods=["GET"], response_class=PlainTextResponse)
        add("/docs", self.docs, methods=["GET"], include_in_schema=False, response_class=Response)
        add("/offline", self.offline, methods=["GET"], include_in_schema=False)
        add("/sw.js", self.worker, methods=["GET"], include_in_schema=False)
        add("/favicon.ico", self.icon, methods=["GET"], include_in_schema=False)
        return router

    async def health(self) -> Response:
        """Tell how the portal is; answers 200 as long as it lives."""
        return as_json(self._health())

    async def alive(self) -> Response:
        """Answer 200 as long as the portal lives: for who would restart it."""
        return as_json(self._health())

    async def ready(self) -> Response:
        """Answer 200 if broker and hub are there, else 503: for who would send people here."""
        health = self._health()
        return as_json(health, 200 if health.ready else 503)

    async def metrics(self) -> Response:
        """Tell figures in Prometheus' text format."""
        return PlainTextResponse(
            exposition(self._state, self._live, *self._figures),
            media_type="text/plain; version=0.0.4",
        )

    async def docs(self, request: Request, session: Asking) -> Response:  # noqa: ARG002 - every page has one
        """Show the reference of the REST interface."""
        base = str(request.base_url).rstrip("/")
        groups = self._references.get(base)
        if groups is None:
            app: FastAPI = request.app
            groups = groups_of(app.openapi(), base)
            if len(self._references) >= _ADDRESSES:
                self._references.clear()
            self._references[base] = groups
        return self._renderer.page(
            request,
            "docs",
            "docs.html",
            groups=groups,
            faults=FAULTS,
            topics=WATCHABLE,
            ws_limits=WS_LIMITS,
        )

    async def offline(self) -> Response:
        """Show what browsers keep for when the portal does not answer."""
        return self._renderer.alone("offline.html")

    async def worker(self) -> Response:
        """Send the service worker, from where it may look after every page."""
        return self._assets.whole("sw.js")

    async def icon(self) -> Response:
        """Send browsers that look for it to the icon."""
        return RedirectResponse(self._assets.url("favicon-32.png"), 307)

    def _health(self) -> Health:
        link = self._state.link
        ready = link.broker and link.hub == "online"
        return Health(
            status="ok" if ready else "degraded",
            ready=ready,
            version=VERSION,
            broker_connected=link.broker,
            hub=link.hub,
            age_seconds=round(self._state.age(), 3),
            nodes_online=sum(node.online for node in self._state.nodes()),
        )
