"""What every request passes: allowed hosts, same origin, headers, size."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.messages import Error, ErrorCode
from portal.errors import error_response

MAX_BODY_BYTES: Final = 1024 * 1024
"""A script of 256 KiB can triple in JSON."""
_DRAIN_BYTES: Final = 8 * 1024 * 1024
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
FILE_SECURITY_POLICY: Final = "default-src 'none'; sandbox; frame-ancestors 'none'"
"""For what experiments made: it is data, whatever it says it is."""

_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: browsers would then send "Origin: null" with our own forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": (
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), hid=(),"
        " magnetometer=(), microphone=(), midi=(), payment=(), serial=(), usb=()"
    ),
}
_STRICT_TRANSPORT: Final = "max-age=31536000"
"""Where TLS is in use, browsers come by TLS alone from then on."""

Refuse = Callable[[Request, Error, int], Awaitable[Response]]
"""Makes the answer to a refused request: a page or JSON, as the asker wants."""


class BodyTooLargeError(HTTPException):
    """More bytes came than a request may have."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the request is larger than {MAX_BODY_BYTES // 1024} KiB",
        )
        self.error = Error(
            code=ErrorCode.TOO_LARGE,
            message=self.detail,
            hint="keep data out of the script: it can be made or loaded when it runs",
            details={"limit": MAX_BODY_BYTES},
        )


def same_origin(headers: Headers, scheme: str) -> bool:
    """Whether a request comes from this portal's own pages, or from no page at all.

    Browsers name the page's origin with every WebSocket and everything that changes something,
    and a page cannot forge it. A page of the same name that came without TLS may be anybody's; the
    other way round, a proxy may have taken the TLS away that the page came with.

    Args:
        headers: Of the request.
        scheme: That it came by.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        page = urlsplit(origin)
    except ValueError:
        return False
    secure = scheme in {"https", "wss"}
    return page.netloc == headers.get("host", "") and (page.scheme == "https" or not secure)


def names_its_page(headers: Headers) -> bool:
    """Whether the request says which page it comes from."""
    return "origin" in headers or "sec-fetch-site" in headers


def refused(refuse: Refuse, error: Error, status: int) -> ASGIApp:
    """Return what answers a refused request, a WebSocket's handshake always with JSON."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            response = error_response(error, status)
        else:
            response = await refuse(Request(scope), error, status)
        await response(scope, receive, send)

    return answer


class Headed:
    """Adds the security headers to every answer that does not bring its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = _STRICT_TRANSPORT
            await send(message)

        await self._app(scope, receive, send_headed)


class AllowedHosts:
    """Refuses names that are not ours: another page's name could be pointed at this address."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], refuse: Refuse) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("host", "")
        try:
            name = (urlsplit(f"//{given}").hostname or "").lower()
        except ValueError:
            name = ""
        if name in self._hosts:
            await self._app(scope, receive, send)
            return
        error = Error(
            code=ErrorCode.FORBIDDEN,
            message=f"this portal does not answer to the name {name[:100]!r}",
            hint="add the name to allowed_hosts in section [portal] of its settings",
        )
        # as JSON, whoever asks: a page would need styles and sessions of a name that is not ours
        await refused(self._refuse, error, HTTPStatus.MISDIRECTED_REQUEST)(scope, receive, send)


class BodyLimit:
    """Counts what a request brings while it is read and ends it at the limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        taken = 0

        async def receive_counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BODY_BYTES:
                await _drain(message, taken, receive)
                raise BodyTooLargeError
            return message

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and taken > MAX_BODY_BYTES:
                # else the server would read on, to the end, what nobody wants
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive_counted, send_and_close)


async def _drain(message: Message, taken: int, receive: Receive) -> None:
    """Read on for a while: a browser shows no answer before it has sent its whole request."""
    while message.get("more_body", False) and taken < _DRAIN_BYTES:
        message = await receive()
        taken += len(message.get("body", b""))
