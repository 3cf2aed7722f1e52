"""Errors as HTTP tells them: one table from `ErrorCode` to status, one JSON body."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

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

RETRY_AFTER_SECONDS: Final = 5


class ErrorBody(BaseModel):
    """What every failed call answers."""

    detail: str
    error: Error


def status_of(error: Error) -> HTTPStatus:
    """Return the HTTP status that tells of this error."""
    return HTTP_STATUS[error.code]


def error_headers(status: int) -> dict[str, str]:
    """Return when to try again, where that may help, or how to say who asks."""
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    waits = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in waits else {}


def error_response(error: Error, status: int | None = None) -> Response:
    """Return the error as JSON: `{"detail": message, "error": {…}}`."""
    code = status or status_of(error)
    body = ErrorBody(detail=error.message, error=error)
    return Response(
        body.model_dump_json(exclude_none=True),
        code,
        error_headers(code),
        "application/json",
    )


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks for a page, rather than a program for data."""
    return not request.url.path.startswith(("/api/", "/health", "/metrics")) and (
        "text/html" in request.headers.get("accept", "")
    )


def not_found(what: str, hint: str = "check the address") -> ContractError:
    """Return the error for something that does not exist."""
    return ContractError(ErrorCode.NOT_FOUND, f"{what} does not exist", hint)
