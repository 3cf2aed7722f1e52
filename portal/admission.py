"""Who asks, whether a page of ours asked for them, and how often: decided before any handler."""

import math
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.messages import ContractError, Error, ErrorCode
from portal.errors import status_of
from portal.ratelimit import RateLimit
from portal.security import SAFE_METHODS, Refuse, names_its_page, refused, same_origin
from portal.sessions import COOKIE, COOKIE_SECONDS, HEADER, Session, Sessions, Ticket
from portal.tokens import ScriptTokens, bearer

OPEN_PATHS: Final = ("/static/", "/upload/sdk.json", "/health", "/metrics", "/favicon.ico")
"""Served without a session and without limit: to monitors, and from memory.

Whatever any cache may keep must stand here: an answer that made somebody's cookie would give it to
all who are served from that cache.
"""
ADDRESS_FACTOR: Final = 10
"""One address may ask so much more than one session: a laboratory may share it."""


class Identified:
    """Gives every request its session, made on first visit; a WebSocket only one that is there.

    A WebSocket, and a request that changes something, must come from our own page unless it brings
    a token or `X-Session-ID`: a cookie is sent by the browser whoever asked it to.

    Of a token and of a login, which end, `again` looks once more whose it is: for who stays.
    """

    def __init__(
        self, app: ASGIApp, sessions: Sessions, tokens: ScriptTokens, refuse: Refuse
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._tokens = tokens
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "lifespan" or scope["path"].startswith(OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        state["again"] = None
        header = headers.get(HEADER)
        token = bearer(headers.get("authorization"))
        try:
            if token is not None:
                state["session"] = self._tokens.session(token)
                state["again"] = partial(self._tokens.session, token)
                state["known"] = True
            elif header is not None:
                state["session"] = self._sessions.from_header(header)
                state["known"] = True
            else:
                send = self._by_cookie(scope, headers, state, send)
        except ContractError as wrong:
            answer = refused(self._refuse, wrong.error, status_of(wrong.error))
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _by_cookie(self, scope: Scope, headers: Headers, state: dict[str, Any], send: Send) -> Send:
        """Set the session of a cookie, or a new one; return a sender that sets the cookie.

        Raises:
            ContractError: FORBIDDEN, another site's page asked.
        """
        sealed = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        ticket = self._sessions.open(sealed) if sealed else None
        if scope["type"] == "websocket":
            _check_origin(headers, scope["scheme"], by_cookie=False)
        elif scope["method"] not in SAFE_METHODS:
            _check_origin(headers, scope["scheme"], by_cookie=ticket is not None)
        state["known"] = ticket is not None
        state["ticket"] = ticket or self._sessions.new_ticket(browser=not _tells_secret(scope))
        session = state["session"] = self._sessions.from_ticket(state["ticket"])
        if session.admin_until is not None:
            state["again"] = partial(self._sessions.from_ticket, state["ticket"])

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                now: Ticket = state["ticket"]  # a login may have put another one there
                if now == ticket and self._sessions.stale(now):
                    now = self._sessions.renewed(now)
                if now != ticket:
                    answer = MutableHeaders(scope=message)
                    answer.append("Set-Cookie", _cookie(self._sessions.seal(now), scope["scheme"]))
                    if ticket is None and _tells_secret(scope):
                        answer[HEADER] = now.secret
            await send(message)

        return send_with_cookie


Policy = Literal["reads", "writes", "stops"]
"""Kinds of requests, each counted for itself."""


class Limited:
    """Bounds how often one session, and one address, may ask.

    Args:
        reads: Sustained reads a second of one session.
        writes: Sustained changes a second of one session.
    """

    def __init__(
        self,
        app: ASGIApp,
        reads: float,
        writes: float,
        refuse: Refuse,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._refuse = refuse
        paces: dict[Policy, float] = {"reads": reads, "writes": writes, "stops": writes}
        self._sessions = {policy: RateLimit(pace, now) for policy, pace in paces.items()}
        self._addresses = {
            policy: RateLimit(pace * ADDRESS_FACTOR, now) for policy, pace in paces.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "lifespan" or scope["path"].startswith(OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        policy = _policy(scope)
        client = scope.get("client")
        address, state = client[0] if client else "", scope["state"]
        wait = self._addresses[policy].wait_of(address)
        if state["known"]:
            session: Session = state["session"]
            limit, key = self._sessions[policy], session.user
            wait = max(wait, limit.wait_of(key))
        else:
            limit, key = self._addresses[policy], address
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            send = self._telling(limit, key, policy, send)
        if not wait:
            await self._app(scope, receive, send)
            return
        seconds = math.ceil(wait)
        error = Error(
            code=ErrorCode.RATE_LIMIT,
            message="too many requests in a short time",
            hint=f"try again in {seconds} s; watch with /ws instead of asking again and again",
            details={"retry_after": seconds},
        )
        answer = refused(self._refuse, error, HTTPStatus.TOO_MANY_REQUESTS)
        await answer(scope, receive, send)

    @staticmethod
    def _telling(limit: RateLimit, key: str, policy: Policy, send: Send) -> Send:
        """Return a sender that says how much is left, as draft-ietf-httpapi-ratelimit-headers."""

        async def send_telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                left, full_in = limit.left_of(key)
                headers["RateLimit-Policy"] = f'"{policy}";q={limit.quota};w={limit.window}'
                headers["RateLimit"] = f'"{policy}";r={left};t={full_in}'
            await send(message)

        return send_telling


def _policy(scope: Scope) -> Policy:
    """Return what a request counts as. Nothing else uses up what an emergency stop may need."""
    if scope["type"] == "websocket" or scope["method"] in SAFE_METHODS:
        return "reads"
    return "stops" if scope["path"].endswith("/estop") else "writes"


def _tells_secret(scope: Scope) -> bool:
    """Whether a new session is for a script, which is told its secret."""
    return str(scope["path"]).startswith("/api/")


def _check_origin(headers: Headers, scheme: str, *, by_cookie: bool) -> None:
    if not same_origin(headers, scheme):
        raise ContractError(
            ErrorCode.FORBIDDEN,
            "another site asked for this",
            "use the portal's own pages; scripts send the header X-Session-ID",
        )
    if by_cookie and not names_its_page(headers):
        raise ContractError(
            ErrorCode.FORBIDDEN,
            "the request brings a cookie and does not say which page it comes from",
            "scripts send the header X-Session-ID in place of the cookie",
        )


def _cookie(value: str, scheme: str) -> str:
    secure = "; Secure" if scheme == "https" else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax{secure}"
