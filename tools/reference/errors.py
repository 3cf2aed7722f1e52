"""`docs/reference/errors.md`: every error code, how it is told, and what to do."""

from typing import Final

from bioreactor.cli.exits import EXIT_CODES
from broker.messages import ErrorCode
from broker.remedies import REMEDIES
from portal.errors import HTTP_STATUS, MEANING

_HEAD: Final = """\
# Error codes

Every refusal has a code that never changes its meaning, a message for people, a hint that says what
to do in this very case, and details. Over MQTT it is the reply `{"id", "error": {"code", "message",
"hint", "details"}}`, or a message on `errors/{principal}` where no reply was asked for; over REST
it is the HTTP status and `{"detail", "error"}`; to a script it is an exception with the same code;
on the command line it is the exit status.

| code | HTTP | exit status | what it says | what to do |
|---|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rows = (
        f"| `{code.value}` | {HTTP_STATUS[code].value} | {EXIT_CODES[code]} "
        f"| {MEANING[code]} | {REMEDIES[code]} |"
        for code in ErrorCode
    )
    return _HEAD + "\n".join(rows) + "\n"
