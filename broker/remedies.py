# ruff: noqa: E501 - read as a table
"""What to do about each error code, for the reference; the hint of one error says more."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from broker.messages import ErrorCode

REMEDIES: Final[Mapping[ErrorCode, str]] = MappingProxyType(
    {
        ErrorCode.MALFORMED: "Compare what was sent with the reference; the message names the field.",
        ErrorCode.TOO_LARGE: "Send less at once, or in pieces.",
        ErrorCode.UNKNOWN_VERB: "Look at the spelling; else bring client and hub to one version.",
        ErrorCode.EXPIRED: "Send it again; where that happens often, compare the clocks.",
        ErrorCode.RETAINED_COMMAND: "Publish it without the retain flag; it was cleared.",
        ErrorCode.ID_REQUIRED: "Add an `id`, fresh for each order and the same for its repeats.",
        ErrorCode.ID_REUSED: "Take a fresh id: this one belongs to another request.",
        ErrorCode.CONFIRMATION_REQUIRED: "Read what it does, then send the confirmation that the hint names.",
        ErrorCode.UNAUTHENTICATED: "Ask an administrator for a new token, or log in again.",
        ErrorCode.FORBIDDEN: "Ask its owner or an administrator, or log in as one.",
        ErrorCode.NOT_FOUND: "Look at the name or id; it may have been deleted.",
        ErrorCode.USER_LIMIT: "Wait until one of yours ends, cancel one, or ask for a higher limit.",
        ErrorCode.RATE_LIMIT: "Wait as long as it says; read live topics instead of asking often.",
        ErrorCode.WRONG_STATE: "Look how it is now; what was wanted may be done already.",
        ErrorCode.CHANGED_MEANWHILE: "Read it again, and decide on what it is now.",
        ErrorCode.SCRIPT_EMPTY: "Send the script's text.",
        ErrorCode.SCRIPT_ENCODING: "Save the script as UTF-8.",
        ErrorCode.SCRIPT_TOO_LARGE: "Shorten it; data belongs into parameters.",
        ErrorCode.SCRIPT_SYNTAX: "Mend the line that is named; Python 3.11 runs it.",
        ErrorCode.SCRIPT_METADATA: "Mend the block `# /// script`; the message names the key.",
        ErrorCode.SCRIPT_IMPORT: "Do without the package, or ask an administrator to add it to the image.",
        ErrorCode.SCRIPT_PARAMETERS: "Give each parameter a value of its type and in its range.",
        ErrorCode.SCRIPT_FAILED: "Read the experiment's log: its last lines name the error.",
        ErrorCode.INTERRUPTED: "Look at the culture before running it again; nothing repeats by itself.",
        ErrorCode.CANCELLED: "Nothing; submit it again if it was a mistake.",
        ErrorCode.NO_SUITABLE_REACTOR: "Ask for channels that a reactor has; the message names what lacks.",
        ErrorCode.UNKNOWN_CHANNEL: "Take a name from the reactor's list of channels.",
        ErrorCode.NOT_AN_ACTUATOR: "Set an actuator; this channel can be read alone.",
        ErrorCode.OUT_OF_RANGE: "Stay inside the range that the message gives.",
        ErrorCode.LIMIT: "Ask for no more than what is left, or wait until it grows again.",
        ErrorCode.INTERLOCK: "Remove its reason (temperature, level, a silent sensor), then try again.",
        ErrorCode.ESTOP: "Find out why it was engaged; release it at the reactor's page once it is safe.",
        ErrorCode.LEASE_ENDED: "Finish saving; a script that was stopped may not act any more.",
        ErrorCode.OUTPUTS_RESET: "Set what is needed again: the node was away and outputs are safe.",
        ErrorCode.HARDWARE: "Look at the device's cable and supply; `bioreactor hardware check` asks it.",
        ErrorCode.REACTOR_BUSY: "Wait for the experiment, or pause or cancel it first.",
        ErrorCode.STORAGE_FULL: "Make room on the disk that is named; everything then goes on by itself.",
        ErrorCode.ENGINE: "See that the container engine runs: `docker info` on the node.",
        ErrorCode.TIMEOUT: "Ask whether it was done, or send it again with the same id.",
        ErrorCode.UNAVAILABLE: "Try again shortly; else see that broker, hub and node run.",
        ErrorCode.INTERNAL: "Report it with the log's lines of that moment; retrying does no harm.",
    }
)
"""Total over `ErrorCode`."""
