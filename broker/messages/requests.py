"""What every request to the hub carries, and those that need little more."""

from typing import Annotated

from pydantic import StringConstraints

from broker.messages.base import Label, Name, Payload, RequestId, Time, Ulid


class Actor(Payload):
    """The person behind a portal's request. Believed only from portals.

    Attributes:
        user: ``web:`` and a keyed hash of the session's secret.
        name: A handle that others may see.
        admin: The portal vouches that this session may administrate.
    """

    user: Annotated[str, StringConstraints(pattern=r"^web:[A-Za-z0-9_-]{8,64}$")]
    name: Label
    admin: bool = False


class Request(Payload):
    """What every request carries. `mosquitto_pub -n` is a valid one where the verb allows.

    Attributes:
        id: Idempotency key, remembered for a day: the same id gives the same answer.
        client: Where to reply, below `reply/{principal}/`. Absent: fire and forget.
        expires_at: Not to be executed after this.
    """

    id: RequestId | None = None
    client: Name | None = None
    expires_at: Time | None = None
    actor: Actor | None = None


class Plain(Request):
    """A request without fields of its own, for example pause-queue."""


class OnExperiment(Request):
    """Cancel, pause, resume or get one experiment."""

    experiment_id: Ulid


class OnNode(Request):
    """An administrator's word about one node."""

    node: Name
