"""What all forms have in common: reading their fields, and going back to the page they stand on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, TypeVar

from fastapi import Request
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from broker.messages import ContractError, ErrorCode
from portal.errors import page_of
from portal.flash import Flash, Flashes
from portal.rendering import Renderer

_MAX_FIELDS: Final = 250
_N = TypeVar("_N", int, float)


@dataclass(frozen=True, slots=True)
class Question:
    """What people without JavaScript are asked before something is done that cannot be undone.

    Attributes:
        page: Where the question belongs, for navigation.
        ok: On the button that does it.
        back: Where else to go.
        fields: Sent along once more; several values for one name stand in a tuple.
    """

    page: str
    title: str
    text: str
    ok: str
    back: str
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Postbox:
    """Answers forms."""

    def __init__(self, renderer: Renderer, flashes: Flashes) -> None:
        self._renderer = renderer
        self._flashes = flashes

    def done(self, request: Request, message: str, default: str) -> Response:
        """Go back to the page that the form stands on, and say there what was done."""
        return self.go(request, page_of(request) or default, Flash("ok", message))

    def go(self, request: Request, address: str, flash: Flash) -> Response:
        """Go to a page and say something there."""
        response = RedirectResponse(address, HTTPStatus.SEE_OTHER)
        self._flashes.leave(request, response, flash)
        return response

    def ask(self, request: Request, question: Question) -> Response:
        """Ask; the answer comes as the same form again, with `sure`."""
        return self._renderer.page(request, question.page, "confirm.html", question=question)


async def read_form(request: Request) -> FormData:
    """Return the fields of a form without files, of bounded number."""
    return await request.form(max_files=0, max_fields=_MAX_FIELDS)


def text_of(fields: FormData, name: str) -> str:
    """Return a field's text, empty if it is absent."""
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""


def texts_of(fields: FormData, name: str) -> tuple[str, ...]:
    """Return all texts of a field that may be there several times."""
    return tuple(value for value in fields.getlist(name) if isinstance(value, str))


def number_of(fields: FormData, name: str, kind: Callable[[str], _N]) -> _N | None:
    """Return a field's number, None if it is empty.

    Raises:
        ContractError: MALFORMED.
    """
    text = text_of(fields, name)
    if not text:
        return None
    try:
        return kind(text)
    except ValueError as error:
        raise ContractError(
            ErrorCode.MALFORMED, f"{text[:20]!r} is no number that fits here", "write digits only"
        ) from error
