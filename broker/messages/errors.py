"""Every error code, what an error says, and parsing at the door, which raises them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from pydantic import Field, JsonValue, ValidationError

from broker.messages.base import MAX_PAYLOAD_BYTES, Payload, UserId


class ErrorCode(StrEnum):
    """What can go wrong, as told to people and programs. Stable: never renamed, never reused."""

    MALFORMED = "MALFORMED"
    TOO_LARGE = "TOO_LARGE"
    UNKNOWN_VERB = "UNKNOWN_VERB"
    EXPIRED = "EXPIRED"
    RETAINED_COMMAND = "RETAINED_COMMAND"
    ID_REQUIRED = "ID_REQUIRED"
    ID_REUSED = "ID_REUSED"
    CONFIRMATION_REQUIRED = "CONFIRMATION_REQUIRED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    USER_LIMIT = "USER_LIMIT"
    RATE_LIMIT = "RATE_LIMIT"
    WRONG_STATE = "WRONG_STATE"
    CHANGED_MEANWHILE = "CHANGED_MEANWHILE"
    SCRIPT_EMPTY = "SCRIPT_EMPTY"
    SCRIPT_ENCODING = "SCRIPT_ENCODING"
    SCRIPT_TOO_LARGE = "SCRIPT_TOO_LARGE"
    SCRIPT_SYNTAX = "SCRIPT_SYNTAX"
    SCRIPT_METADATA = "SCRIPT_METADATA"
    SCRIPT_IMPORT = "SCRIPT_IMPORT"
    SCRIPT_PARAMETERS = "SCRIPT_PARAMETERS"
    SCRIPT_FAILED = "SCRIPT_FAILED"
    INTERRUPTED = "INTERRUPTED"
    CANCELLED = "CANCELLED"
    NO_SUITABLE_REACTOR = "NO_SUITABLE_REACTOR"
    UNKNOWN_CHANNEL = "UNKNOWN_CHANNEL"
    NOT_AN_ACTUATOR = "NOT_AN_ACTUATOR"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    LIMIT = "LIMIT"
    INTERLOCK = "INTERLOCK"
    ESTOP = "ESTOP"
    LEASE_ENDED = "LEASE_ENDED"
    OUTPUTS_RESET = "OUTPUTS_RESET"
    HARDWARE = "HARDWARE"
    REACTOR_BUSY = "REACTOR_BUSY"
    STORAGE_FULL = "STORAGE_FULL"
    ENGINE = "ENGINE"
    TIMEOUT = "TIMEOUT"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


class Error(Payload):
    """What went wrong, for people and programs.

    Attributes:
        code: For programs.
        message: One sentence: what is wrong.
        hint: One sentence: what to do.
        details: Facts for programs, for example ``{"line": 3, "field": "max_duration"}``.
    """

    code: ErrorCode
    message: str
    hint: str = ""
    details: Mapping[str, JsonValue] = Field(default_factory=dict)


class ContractError(Exception):
    """An error that is told to whoever asked. Knows nothing of HTTP or exit codes."""

    def __init__(self, code: ErrorCode, message: str, hint: str = "", **details: JsonValue) -> None:
        super().__init__(message)
        self.error = Error(code=code, message=message, hint=hint, details=details)


P = TypeVar("P", bound=Payload)
_QUOTED: Final = 300
"""Characters of a malformed message that its error repeats at most."""


def decode(model: type[P], payload: bytes, limit: int = MAX_PAYLOAD_BYTES) -> P:
    """Parse a payload at the door.

    Raises:
        ContractError: TOO_LARGE or MALFORMED; the details name each wrong field.
    """
    if len(payload) > limit:
        raise ContractError(
            ErrorCode.TOO_LARGE,
            f"the message has {len(payload)} bytes, at most {limit} are allowed",
            "send less in one message",
            bytes=len(payload),
            limit=limit,
        )
    try:
        return model.model_validate_json(payload or b"{}", strict=False)
    except ValidationError as error:
        # Both may quote the sender, who may have sent megabytes.
        found = [
            (".".join(str(part) for part in item["loc"])[:_QUOTED], item["msg"][:_QUOTED])
            for item in error.errors(include_url=False, include_input=False)[:10]
        ]
        problems: list[JsonValue] = [{"field": field, "problem": told} for field, told in found]
        raise ContractError(
            ErrorCode.MALFORMED,
            f"{found[0][0] or 'message'}: {found[0][1]}",
            "compare the message with docs/reference/asyncapi.json",
            problems=problems,
        ) from error


class ErrorReport(Payload):
    """Sent to `errors/{principal}` for a message that asked for no reply, or failed after it.

    Attributes:
        id: Of the message.
        user: Whom a portal is to tell: the person behind its message.
    """

    id: str | None = None
    user: UserId | None = None
    topic: str
    error: Error
