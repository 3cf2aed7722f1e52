"""Checking a script and submitting it."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from broker.messages.base import MAX_PAYLOAD_BYTES, Label, Name, Parameters, Payload, Time, Ulid
from broker.messages.errors import Error
from broker.messages.experiments import StartForecast, Status
from broker.messages.requests import Request
from broker.messages.scripts import ScriptInfo, ScriptProblem


class Submit(Request):
    """Queue an experiment. Requires an id.

    Attributes:
        script: At most `MAX_SCRIPT_BYTES` in UTF-8; the bound here is wider, so that a longer one
            is answered SCRIPT_TOO_LARGE.
    """

    script: Annotated[str, StringConstraints(max_length=MAX_PAYLOAD_BYTES)]
    name: Label | None = None
    filename: Annotated[str, StringConstraints(max_length=200)] | None = None
    parameters: Parameters = Field(default_factory=dict)


class Check(Request):
    """Check a script as `submit` would, without queueing it."""

    script: Annotated[str, StringConstraints(max_length=MAX_PAYLOAD_BYTES)]
    parameters: Parameters = Field(default_factory=dict)


class Submitted(Payload):
    """The experiment is durable in the queue."""

    kind: Literal["submitted"] = "submitted"
    experiment_id: Ulid
    status: Status
    queue_position: int | None = None
    estimated_start: Time | None = None
    forecast: StartForecast | None = None
    warnings: tuple[str, ...] = ()
    message: str


class Prospect(Payload):
    """Where a submission would stand, were it made now.

    Attributes:
        queue_position: Absent: it would start at once.
        waiting_for: One sentence on what nothing starts it for, where that is known.
        refusal: Why it would not be queued although nothing is wrong with it: the quota.
    """

    queue_position: int | None = None
    forecast: StartForecast | None = None
    waiting_for: str = ""
    refusal: Error | None = None


class Checked(Payload):
    """A script's problems and metadata.

    Attributes:
        unsuitable_nodes: Why each of the other reactors cannot run it, in a few words.
        prospect: Absent where the script is not right.
    """

    kind: Literal["checked"] = "checked"
    ok: bool
    problems: tuple[ScriptProblem, ...] = ()
    script: ScriptInfo | None = None
    suitable_nodes: tuple[Name, ...] = ()
    unsuitable_nodes: Mapping[Name, str] = Field(default_factory=dict)
    prospect: Prospect | None = None
