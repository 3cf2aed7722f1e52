"""The envelope of every answer, and what can stand in it."""

from typing import Annotated, Literal

from pydantic import Field

from broker.messages.administration import Audited, DueOf, Storage, UsersOf
from broker.messages.base import Payload, Seconds, Ulid
from broker.messages.errors import Error
from broker.messages.experiments import Got, Listed, Status
from broker.messages.exports import Exported, Fetched
from broker.messages.logs import LogPage
from broker.messages.submission import Checked, Submitted
from broker.messages.telemetry import HistoryOf


class Done(Payload):
    """A command's outcome.

    Attributes:
        outcome: ``done``, ``accepted`` (the node's evidence is awaited) or ``unchanged``.
        known: Of the order as it is now: what a next move is to bring as `known`.
        edition: Of the experiment, after its name or note was changed.
        undo_seconds: For so long at least `restore` takes a deletion back.
    """

    kind: Literal["done"] = "done"
    outcome: Literal["done", "accepted", "unchanged"]
    message: str
    experiment_id: Ulid | None = None
    status: Status | None = None
    queue_position: int | None = None
    known: int | None = None
    edition: int | None = None
    undo_seconds: Seconds | None = None


Result = Annotated[
    Submitted
    | Done
    | Checked
    | Got
    | Listed
    | Audited
    | HistoryOf
    | LogPage
    | Exported
    | Fetched
    | UsersOf
    | DueOf
    | Storage,
    Field(discriminator="kind"),
]


class Reply(Payload):
    """The answer of the hub, or of a node to manual control: a result or an error, never both."""

    id: str | None = None
    result: Result | None = None
    error: Error | None = None
