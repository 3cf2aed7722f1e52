"""What administrators ask of users, storage and nodes, and who did what."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from broker.messages.base import MAX_NAME, Count, Name, Payload, Time, Ulid, UserId, Whole
from broker.messages.queue import MAX_KEEP_DAYS
from broker.messages.requests import OnNode, Request


class ReadAudit(Request):
    """Read who did what, newest first.

    Attributes:
        experiment_id: Only what was done to this experiment; absent: everything.
        verb: Only what was asked for by this verb, or what the hub called it.
        who: Only what this one did: a handle, or a user's id.
        before: The `next` of the page before.
    """

    experiment_id: Ulid | None = None
    verb: Name | None = None
    who: Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)] | None = None
    before: int | None = Field(default=None, ge=1, le=2**53)
    limit: int = Field(default=50, ge=1, le=200)


class AuditEntry(Payload):
    """Who did what, and what came of it.

    Attributes:
        n: Grows with each entry.
        by: A handle for people; ``hub`` for what the hub did of itself.
        outcome: ``done``, ``accepted``, ``unchanged``, what the hub did, or an error's code.
        name: Of the experiment, where it is still known.
        message: Why it was refused, or what the hub noted. Like all that follows it is told to
            administrators, and to others of what they did themselves.
        details: The request, or for a submission the whole plan.
    """

    n: Whole
    at: Time
    by: str
    verb: str
    outcome: str
    experiment_id: Ulid | None = None
    name: str | None = None
    message: str = ""
    principal: str | None = None
    user: str | None = None
    details: Mapping[str, JsonValue] = Field(default_factory=dict)


class Audited(Payload):
    """A page of the audit, newest first; `next` is the `before` of the next page."""

    kind: Literal["audit"] = "audit"
    entries: tuple[AuditEntry, ...]
    next: int | None = None


class Users(Request):
    """List users, with what they have and had.

    Attributes:
        after: The `next` of the page before.
    """

    after: UserId | None = None
    limit: int = Field(default=100, ge=1, le=200)


class UserInfo(Payload):
    """A user, and how many experiments they have by state.

    Attributes:
        owner: The handle of the last one.
        limit: How many unfinished ones they may have.
        excepted: Whether that is a limit of their own.
    """

    user: UserId
    owner: str
    queued: Count
    running: Count
    paused: Count
    completed: Count
    failed: Count
    cancelled: Count
    limit: int
    excepted: bool = False
    last_submitted: Time | None = None


class UsersOf(Payload):
    """A page of users in the order of their ids; `next` is the `after` of the next page."""

    kind: Literal["users"] = "users"
    users: tuple[UserInfo, ...]
    next: UserId | None = None


class Due(Request):
    """Ask what a retention of so many days would delete now."""

    days: int = Field(ge=1, le=MAX_KEEP_DAYS)


class DueOf(Payload):
    """What a retention would delete now.

    Attributes:
        oldest: When the oldest of them ended.
    """

    kind: Literal["due"] = "due"
    days: int
    count: Count
    oldest: Time | None = None


class DeclareDead(OnNode):
    """Give up a node: the experiment that it holds has failed and is not run again.

    Attributes:
        power_is_off: The administrator has seen to it that the reactor's power is off.
    """

    power_is_off: bool = False


class Storage(Payload):
    """The hub's disk, in bytes.

    Attributes:
        database: Of the archive's database.
        files: Of all result files.
        finished: Experiments in the archive.
        low: So little is free that nothing new is queued.
    """

    kind: Literal["storage"] = "storage"
    total: Count
    free: Count
    database: Count
    files: Count
    finished: Count
    low: bool = False
