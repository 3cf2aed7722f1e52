"""What the queue's page posts without JavaScript."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import APIRouter, Request
from starlette.responses import Response

from broker.messages import ContractError, ErrorCode
from portal.access import Asking
from portal.desk import Desk
from portal.errors import not_found, page_of
from portal.flash import Flash
from portal.posting import Postbox, Question, number_of, read_form, text_of, texts_of
from portal.selection import VERBS, Selection
from portal.state import State

_PAGE: Final = "/queue"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A move that came too late.

    Attributes:
        where: first, last, before or after.
        target: With before and after: next to which one.
    """

    ids: tuple[str, ...]
    where: str
    target: str | None = None

    @property
    def query(self) -> list[tuple[str, str]]:
        """As the queue's page is asked for it."""
        mark = [("target", self.target)] if self.target else []
        return [*(("wanted", one) for one in self.ids), ("where", self.where), *mark]


class QueueForms:
    """The commands of the queue's page."""

    def __init__(self, desk: Desk, selection: Selection, state: State, postbox: Postbox) -> None:
        self._desk = desk
        self._selection = selection
        self._state = state
        self._postbox = postbox

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(include_in_schema=False)
        add = router.add_api_route
        add("/queue/selected", self.selected, methods=["POST"], response_class=Response)
        add("/queue/{verb}", self.posture, methods=["POST"], response_class=Response)
        return router

    async def posture(self, request: Request, session: Asking, verb: str) -> Response:
        """Pause, resume or drain the queue."""
        fields = await read_form(request)
        if verb not in {"pause", "resume", "drain"}:
            raise not_found("this command")
        done = await self._desk.posture(session, verb, text_of(fields, "reason"))
        return self._postbox.done(request, done.message, _PAGE)

    async def selected(self, request: Request, session: Asking) -> Response:
        """Pause, resume, cancel or move what is selected."""
        fields = await read_form(request)
        verb, ids = text_of(fields, "verb"), texts_of(fields, "id")
        if verb not in VERBS:
            raise not_found("this command")
        if verb == "cancel" and ids and not text_of(fields, "sure"):
            return self._postbox.ask(request, self._cancel(ids))
        target = text_of(fields, "target") or None
        try:
            outcome = await self._selection.carry_out(
                session,
                verb,
                ids,
                target=target,
                known=number_of(fields, "known", int),
            )
        except ContractError as error:
            if error.error.code is ErrorCode.CHANGED_MEANWHILE:
                return changed(self._postbox, request, error, Wanted(ids, verb, target))
            raise
        flash = Flash("error" if outcome.refused else "ok", outcome.message)
        return self._postbox.go(request, _page_of(request), flash)

    def _cancel(self, ids: tuple[str, ...]) -> Question:
        known = [(one, self._state.experiment(one)) for one in ids]
        names = [f"“{e.name}” of {e.owner}" if e else one for one, e in known]
        return Question(
            page="queue",
            title="Cancel this experiment?" if len(ids) == 1 else f"Cancel {len(ids)} experiments?",
            text=f"{', '.join(names)}. What waits leaves the queue; what runs is asked to stop and "
            "keeps what it measured and saved so far. This cannot be undone.",
            ok="Cancel them" if len(ids) > 1 else "Cancel the experiment",
            back=_PAGE,
            fields={"verb": ("cancel",), "id": ids},
        )


def changed(postbox: Postbox, request: Request, error: ContractError, wanted: Wanted) -> Response:
    """Show the new order, and what was wanted, so that it can be repeated."""
    told = error.error
    page = _page_of(request)
    address = f"{page}{'&' if '?' in page else '?'}{urlencode(wanted.query)}"
    return postbox.go(request, address, Flash("error", told.message, told.hint))


def _page_of(request: Request) -> str:
    """Return the queue's page as it was: with all that wait, or with the first of them."""
    query = parse_qs(urlsplit(page_of(request) or "").query)
    return f"{_PAGE}?all=true" if query.get("all") == ["true"] else _PAGE
