"""A word on the next page: kept in a signed cookie of the browser, not here."""

from dataclasses import asdict, dataclass
from typing import Final, Literal

from itsdangerous import BadSignature, URLSafeSerializer
from starlette.requests import Request
from starlette.responses import Response

_COOKIE: Final = "bioreactor_flash"
_SECONDS: Final = 300
_LONGEST: Final = 600


@dataclass(frozen=True, slots=True)
class Flash:
    """What was done, or why not."""

    kind: Literal["ok", "error"]
    text: str
    hint: str = ""


class Flashes:
    """Writes and reads the cookie."""

    def __init__(self, cookies: URLSafeSerializer) -> None:
        self._cookies = cookies

    def leave(self, request: Request, response: Response, flash: Flash) -> None:
        """Have the next page show it."""
        short = Flash(flash.kind, flash.text[:_LONGEST], flash.hint[:_LONGEST])
        response.set_cookie(
            _COOKIE,
            str(self._cookies.dumps(asdict(short))),
            max_age=_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )

    def waiting(self, request: Request) -> list[Flash]:
        """Return what this page is to show."""
        sealed = request.cookies.get(_COOKIE)
        if not sealed:
            return []
        try:
            said = self._cookies.loads(sealed)
        except BadSignature:
            return []
        match said:
            case {"kind": ("ok" | "error") as kind, "text": str(text), "hint": str(hint)}:
                return [Flash(kind, text, hint)]
            case _:
                return []

    def forget(self, request: Request, response: Response) -> None:
        """Have later pages show it no more."""
        if _COOKIE in request.cookies:
            response.delete_cookie(_COOKIE, httponly=True, samesite="lax")
