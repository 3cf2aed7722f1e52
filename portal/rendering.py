"""Pages from templates: what every page knows, and errors as pages or as JSON."""

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from broker import VERSION
from broker.messages import Error
from portal.assets import Assets
from portal.errors import (
    UNREACHABLE,
    error_headers,
    error_response,
    page_of,
    status_of,
    wants_page,
)
from portal.flash import Flashes
from portal.markup import pieces
from portal.mishaps import Mishaps
from portal.security import SAFE_METHODS
from portal.state import State

TEMPLATES: Final = Path(__file__).parent / "templates"


class Renderer:
    """Renders pages."""

    def __init__(self, state: State, assets: Assets, flashes: Flashes, mishaps: Mishaps) -> None:
        self._state = state
        self._mishaps = mishaps
        self._flashes = flashes
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(pieces(assets.url), chunks=assets.chunks)

    def page(
        self,
        request: Request,
        page: str,
        template: str,
        code: int = 200,
        *,
        partial: bool = False,
        **context: object,
    ) -> Response:
        """Return a page.

        Args:
            request: Has a session.
            page: Its name, for navigation and scripts.
            template: File in `portal/templates`.
            code: Of HTTP.
            partial: Something is missing that the hub did not say in time: it is asked again soon.
            context: What this page shows, besides what all of them know.
        """
        state = self._state
        text = self._environment.get_template(template).render(
            page=page,
            session=request.state.session,
            hub=state.hub,
            broker=state.broker,
            queue=state.queue,
            nodes=state.nodes_for(request.state.session),
            version=VERSION,
            flash=self._flashes.waiting(request),
            mishaps=self._mishaps.of(request.state.session.user),
            partial=partial,
            **context,
        )
        response = HTMLResponse(text.encode("utf-8", "replace"), code)
        if "x-refresh" not in request.headers:  # which takes parts of the page, and not this one
            self._flashes.forget(request, response)
        return response

    def alone(self, template: str) -> Response:
        """Return a page that says nothing of the laboratory or of who asks."""
        return HTMLResponse(self._environment.get_template(template).render())

    def error(self, request: Request, error: Error, status: int | None = None) -> Response:
        """Return an error as a page to people, as JSON to programs."""
        code = status or status_of(error)
        if not wants_page(request) or not hasattr(request.state, "session"):
            return error_response(error, code)
        # what answers a form has an address that cannot be asked for again
        back = None if request.method in SAFE_METHODS else page_of(request) or "/"
        response = self.page(
            request,
            "error",
            "error.html",
            code,
            partial=error.code in UNREACHABLE,
            error=error,
            status=int(code),
            back=back,
        )
        response.headers.update(error_headers(code, error))
        return response

    async def refuse(self, request: Request, error: Error, status: int) -> Response:
        """Return the error for what never reached a handler."""
        return self.error(request, error, status)
