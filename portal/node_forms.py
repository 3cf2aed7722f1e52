"""What the pages of reactors post without JavaScript."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from portal.access import Asking
from portal.desk import Desk
from portal.errors import not_found, page_of
from portal.estop import EmergencyStop
from portal.manual import ManualControl
from portal.mishaps import Mishaps
from portal.posting import Postbox, number_of, read_form, text_of


class NodeForms:
    """The commands of reactors."""

    def __init__(
        self,
        desk: Desk,
        estop: EmergencyStop,
        manual: ManualControl,
        mishaps: Mishaps,
        postbox: Postbox,
    ) -> None:
        self._desk = desk
        self._estop = estop
        self._manual = manual
        self._mishaps = mishaps
        self._postbox = postbox

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        for path, handler in (
            ("/nodes/estop", self.stop_all),
            ("/nodes/{node}/read", self.read),
            ("/nodes/{node}/{verb}", self.node),
        ):
            router.add_api_route(path, handler, methods=["POST"], response_class=Response)
        return router

    async def node(self, request: Request, session: Asking, node: str, verb: str) -> Response:
        """Engage or release a reactor's emergency stop, control it by hand, drain or give it up."""
        fields = await read_form(request)
        match verb:
            case "estop":
                message = await self._estop.engage(session, node, text_of(fields, "reason")[:120])
            case "estop-release":
                latch = text_of(fields, "latch") or None
                reason = text_of(fields, "reason")[:120]
                message = await self._estop.release(session, node, latch, reason)
            case "command":
                done = await self._manual.command(
                    session,
                    node,
                    text_of(fields, "channel"),
                    value=number_of(fields, "value", float),
                    dose_ml=number_of(fields, "dose_ml", float),
                    duration=number_of(fields, "duration", float),
                    request_id=text_of(fields, "request_id") or None,
                )
                message = done.message
            case "manual-end":
                message = (await self._manual.end(session, node)).message
            case "drain":
                message = (await self._desk.drain_node(session, node)).message
            case "resume":
                message = (await self._desk.resume_node(session, node)).message
            case "declare-dead":
                power_is_off = bool(text_of(fields, "power_is_off"))
                done = await self._desk.declare_dead(session, node, power_is_off=power_is_off)
                message = done.message
            case _:
                raise not_found("this command")
        return self._postbox.done(request, message, f"/nodes/{node}")

    async def read(self, request: Request, session: Asking, node: str) -> Response:
        """Take note that somebody has read what became of a command."""
        fields = await read_form(request)
        self._mishaps.dismiss(session.user, text_of(fields, "id"))
        return RedirectResponse(page_of(request) or f"/nodes/{node}", HTTPStatus.SEE_OTHER)

    async def stop_all(self, request: Request, session: Asking) -> Response:
        """Stop all reactors in an emergency."""
        fields = await read_form(request)
        message = await self._estop.engage_all(session, text_of(fields, "reason")[:120])
        return self._postbox.done(request, message, "/nodes")
