"""Errors as HTTP tells them: one table from `ErrorCode` to status, one JSON body."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from broker.messages import ContractError, Error, ErrorCode

HTTP_STATUS: Final[Mapping[ErrorCode, HTTPStatus]] = MappingProxyType(
    {
        ErrorCode.MALFORMED: HTTPStatus.BAD_REQUEST,
        ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ErrorCode.UNKNOWN_VERB: HTTPStatus.BAD_REQUEST,
        ErrorCode.EXPIRED: HTTPStatus.GATEWAY_TIMEOUT,
        ErrorCode.RETAINED_COMMAND: HTTPStatus.BAD_REQUEST,
        ErrorCode.ID_REQUIRED: HTTPStatus.BAD_REQUEST,
        ErrorCode.ID_REUSED: HTTPStatus.CONFLICT,
        ErrorCode.CONFIRMATION_REQUIRED: HTTPStatus.PRECONDITION_REQUIRED,
        ErrorCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
        ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
        ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
        # 400 and not 429: what laboratory scripts already expect of a full quota
        ErrorCode.USER_LIMIT: HTTPStatus.BAD_REQUEST,
        ErrorCode.RATE_LIMIT: HTTPStatus.TOO_MANY_REQUESTS,
        ErrorCode.WRONG_STATE: HTTPStatus.CONFLICT,
        ErrorCode.CHANGED_MEANWHILE: HTTPStatus.CONFLICT,
        ErrorCode.SCRIPT_EMPTY: HTTPStatus.BAD_REQUEST,
        ErrorCode.SCRIPT_ENCODING: HTTPStatus.BAD_REQUEST,
        ErrorCode.SCRIPT_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ErrorCode.SCRIPT_SYNTAX: HTTPStatus.BAD_REQUEST,
        ErrorCode.SCRIPT_METADATA: HTTPStatus.BAD_REQUEST,
        ErrorCode.SCRIPT_IMPORT: HTTPStatus.BAD_REQUEST,
        ErrorCode.SCRIPT_PARAMETERS: HTTPStatus.BAD_REQUEST,
        ErrorCode.SCRIPT_FAILED: HTTPStatus.CONFLICT,
        ErrorCode.INTERRUPTED: HTTPStatus.CONFLICT,
        ErrorCode.CANCELLED: HTTPStatus.CONFLICT,
        ErrorCode.NO_SUITABLE_REACTOR: HTTPStatus.BAD_REQUEST,
        ErrorCode.UNKNOWN_CHANNEL: HTTPStatus.NOT_FOUND,
        ErrorCode.NOT_AN_ACTUATOR: HTTPStatus.BAD_REQUEST,
        ErrorCode.OUT_OF_RANGE: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorCode.LIMIT: HTTPStatus.UNPROCESSABLE_ENTITY,
        ErrorCode.INTERLOCK: HTTPStatus.CONFLICT,
        ErrorCode.ESTOP: HTTPStatus.LOCKED,
        ErrorCode.LEASE_ENDED: HTTPStatus.GONE,
        ErrorCode.OUTPUTS_RESET: HTTPStatus.CONFLICT,
        ErrorCode.HARDWARE: HTTPStatus.BAD_GATEWAY,
        ErrorCode.REACTOR_BUSY: HTTPStatus.CONFLICT,
        ErrorCode.STORAGE_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
        ErrorCode.ENGINE: HTTPStatus.BAD_GATEWAY,
        ErrorCode.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
        ErrorCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
        ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    }
)
"""Total over `ErrorCode`; a test holds that."""

MEANING: Final[Mapping[ErrorCode, str]] = MappingProxyType(
    {
        ErrorCode.MALFORMED: "what was sent is not what the call takes",
        ErrorCode.TOO_LARGE: "more was sent than is taken at once",
        ErrorCode.UNKNOWN_VERB: "the hub knows no such request: versions differ",
        ErrorCode.EXPIRED: "the request came too late to be obeyed",
        ErrorCode.RETAINED_COMMAND: "a command over MQTT was retained and would come again",
        ErrorCode.ID_REQUIRED: "a request over MQTT needs an id, so that a repeat is harmless",
        ErrorCode.ID_REUSED: "the same Idempotency-Key came with another request",
        ErrorCode.CONFIRMATION_REQUIRED: "it is dangerous and wants a plain yes",
        ErrorCode.FORBIDDEN: "it is somebody else's, an administrator's, or another site asked",
        ErrorCode.UNAUTHENTICATED: "the token is not admitted: revoked, expired or forged",
        ErrorCode.CHANGED_MEANWHILE: "somebody changed it since it was read; details say how it is",
        ErrorCode.NOT_FOUND: "there is nothing of this name",
        ErrorCode.USER_LIMIT: "the asker has as many experiments as one may",
        ErrorCode.RATE_LIMIT: "too many requests in a short time; Retry-After says when",
        ErrorCode.WRONG_STATE: "not in the state that it is in",
        ErrorCode.SCRIPT_EMPTY: "there is no script",
        ErrorCode.SCRIPT_ENCODING: "the script is no UTF-8 text",
        ErrorCode.SCRIPT_TOO_LARGE: "the script has more bytes than allowed",
        ErrorCode.SCRIPT_SYNTAX: "the script does not compile; details name the line",
        ErrorCode.SCRIPT_METADATA: "the block '# /// script' says something that is not understood",
        ErrorCode.SCRIPT_IMPORT: "the script imports what the experiment image lacks",
        ErrorCode.SCRIPT_PARAMETERS: "a parameter is unknown, of the wrong type or out of range",
        ErrorCode.SCRIPT_FAILED: "the script ended with an error",
        ErrorCode.INTERRUPTED: "the node went down while it ran",
        ErrorCode.CANCELLED: "somebody cancelled it",
        ErrorCode.NO_SUITABLE_REACTOR: "no reactor has what the script needs",
        ErrorCode.UNKNOWN_CHANNEL: "the reactor has no such channel",
        ErrorCode.NOT_AN_ACTUATOR: "the channel only measures",
        ErrorCode.OUT_OF_RANGE: "the value lies outside of the channel's range",
        ErrorCode.LIMIT: "a limit of volume, time or rate forbids it; details say what is left",
        ErrorCode.INTERLOCK: "a safety rule forbids it for now",
        ErrorCode.ESTOP: "the reactor's emergency stop is engaged",
        ErrorCode.LEASE_ENDED: "the experiment does not hold the reactor any more",
        ErrorCode.OUTPUTS_RESET: "outputs went to their safe state meanwhile",
        ErrorCode.HARDWARE: "a device did not answer, or wrongly",
        ErrorCode.REACTOR_BUSY: "an experiment holds the reactor",
        ErrorCode.STORAGE_FULL: "a disk is full",
        ErrorCode.ENGINE: "containers cannot be started",
        ErrorCode.TIMEOUT: "no answer came in time; it may have been done: ask with the same key",
        ErrorCode.UNAVAILABLE: "hub or broker are away; Retry-After says when to try again",
        ErrorCode.INTERNAL: "a mistake of ours; the log says more",
    }
)
"""What each code says, for the reference; total, a test holds that."""

RETRY_AFTER_SECONDS: Final = 5

UNREACHABLE: Final = frozenset((ErrorCode.UNAVAILABLE, ErrorCode.TIMEOUT))
"""The hub has not said anything: what the portal knows may be shown in its place."""


class ErrorBody(BaseModel):
    """What every failed call answers."""

    detail: str
    error: Error


def status_of(error: Error) -> HTTPStatus:
    """Return the HTTP status that tells of this error."""
    return HTTP_STATUS[error.code]


def error_headers(status: int, error: Error) -> dict[str, str]:
    """Return when to try again, where that may help, or how to say who asks."""
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    wait = error.details.get("retry_after", RETRY_AFTER_SECONDS)
    waits = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
    return {"Retry-After": str(wait)} if status in waits else {}


def error_response(error: Error, status: int | None = None) -> Response:
    """Return the error as JSON: `{"detail": message, "error": {…}}`."""
    code = status or status_of(error)
    body = ErrorBody(detail=error.message, error=error)
    return Response(
        body.model_dump_json(exclude_none=True),
        code,
        error_headers(code, error),
        "application/json",
    )


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks for a page, rather than a program for data."""
    return not request.url.path.startswith(("/api/", "/health", "/metrics")) and (
        "text/html" in request.headers.get("accept", "")
    )


def page_of(request: Request) -> str | None:
    """Return the path of the page that a form was sent from, if it is one of ours."""
    parts = urlsplit(request.headers.get("referer", ""))
    ours = parts.netloc == request.headers.get("host")
    if not ours or not parts.path.startswith("/") or parts.path.startswith(("//", "/\\")):
        return None
    if parts.path in {"/login", request.url.path}:
        return None  # what asked whether it is sure stands at the form's own address
    return parts.path + (f"?{parts.query}" if parts.query else "")


def not_found(what: str, hint: str = "check the address") -> ContractError:
    """Return the error for something that does not exist."""
    return ContractError(ErrorCode.NOT_FOUND, f"{what} does not exist", hint)
