"""Exit codes, one for each error code, so that shell scripts can tell what went wrong.

They follow `sysexits.h` where one fits: 64 usage, 65 data, 69 unavailable, 74 I/O, 75 try again,
77 no permission. 1 is an experiment that failed or was cancelled, 130 is Ctrl-C.
"""

from collections.abc import Mapping
from typing import Final

from broker.messages import ErrorCode

USAGE: Final = 64
DATA: Final = 65
NOT_FOUND: Final = 66
UNAVAILABLE: Final = 69
INTERNAL: Final = 70
IO: Final = 74
TRY_AGAIN: Final = 75
FORBIDDEN: Final = 77
WRONG_STATE: Final = 78
REFUSED_BY_REACTOR: Final = 79
NOT_COMPLETED: Final = 1

EXIT_CODES: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.MALFORMED: USAGE,
    ErrorCode.TOO_LARGE: DATA,
    ErrorCode.UNKNOWN_VERB: USAGE,
    ErrorCode.EXPIRED: TRY_AGAIN,
    ErrorCode.RETAINED_COMMAND: USAGE,
    ErrorCode.ID_REQUIRED: USAGE,
    ErrorCode.ID_REUSED: USAGE,
    ErrorCode.CONFIRMATION_REQUIRED: USAGE,
    ErrorCode.UNAUTHENTICATED: FORBIDDEN,
    ErrorCode.FORBIDDEN: FORBIDDEN,
    ErrorCode.NOT_FOUND: NOT_FOUND,
    ErrorCode.USER_LIMIT: TRY_AGAIN,
    ErrorCode.RATE_LIMIT: TRY_AGAIN,
    ErrorCode.WRONG_STATE: WRONG_STATE,
    ErrorCode.CHANGED_MEANWHILE: TRY_AGAIN,
    ErrorCode.SCRIPT_EMPTY: DATA,
    ErrorCode.SCRIPT_ENCODING: DATA,
    ErrorCode.SCRIPT_TOO_LARGE: DATA,
    ErrorCode.SCRIPT_SYNTAX: DATA,
    ErrorCode.SCRIPT_METADATA: DATA,
    ErrorCode.SCRIPT_IMPORT: DATA,
    ErrorCode.SCRIPT_PARAMETERS: DATA,
    ErrorCode.SCRIPT_FAILED: NOT_COMPLETED,
    ErrorCode.INTERRUPTED: NOT_COMPLETED,
    ErrorCode.CANCELLED: NOT_COMPLETED,
    ErrorCode.NO_SUITABLE_REACTOR: DATA,
    ErrorCode.UNKNOWN_CHANNEL: REFUSED_BY_REACTOR,
    ErrorCode.NOT_AN_ACTUATOR: REFUSED_BY_REACTOR,
    ErrorCode.OUT_OF_RANGE: REFUSED_BY_REACTOR,
    ErrorCode.LIMIT: REFUSED_BY_REACTOR,
    ErrorCode.INTERLOCK: REFUSED_BY_REACTOR,
    ErrorCode.ESTOP: REFUSED_BY_REACTOR,
    ErrorCode.LEASE_ENDED: REFUSED_BY_REACTOR,
    ErrorCode.OUTPUTS_RESET: REFUSED_BY_REACTOR,
    ErrorCode.HARDWARE: IO,
    ErrorCode.REACTOR_BUSY: TRY_AGAIN,
    ErrorCode.STORAGE_FULL: IO,
    ErrorCode.ENGINE: UNAVAILABLE,
    ErrorCode.TIMEOUT: TRY_AGAIN,
    ErrorCode.UNAVAILABLE: UNAVAILABLE,
    ErrorCode.INTERNAL: INTERNAL,
}
