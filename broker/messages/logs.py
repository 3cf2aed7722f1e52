"""An experiment's log: live, and page by page."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from broker.messages.base import Payload, Time, Ulid, Whole
from broker.messages.requests import Request

LogSource = Literal["stdout", "stderr", "system"]


class LogLine(Payload):
    """One line of an experiment's log; `n` counts from 1 within the experiment."""

    n: Whole
    t: Time
    source: LogSource
    text: str


class Console(Payload):
    """Log lines, live; `n` counts from 1 within the experiment."""

    experiment_id: Ulid
    lines: tuple[LogLine, ...]


class Logs(Request):
    """Log lines of an experiment after a number; absent `after`: the last ones.

    Attributes:
        search: Only lines with this text; capital letters of ASCII are like small ones.
        sources: Only lines of these; empty: of all.
    """

    experiment_id: Ulid
    after: int | None = Field(default=None, ge=0, le=2**53)
    search: Annotated[str, StringConstraints(max_length=200)] = ""
    sources: tuple[LogSource, ...] = ()
    limit: int = Field(default=500, ge=1, le=2000)


class LogPage(Payload):
    """Log lines; `last` is the number to ask on from.

    Attributes:
        found: Of how many lines in the whole log the page is one, where they were searched.
    """

    kind: Literal["logs"] = "logs"
    lines: tuple[LogLine, ...]
    last: int
    complete: bool
    found: int | None = None
