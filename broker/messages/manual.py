"""Control by hand and the emergency stop."""

from typing import Annotated

from pydantic import Field, StringConstraints

from broker.messages.base import Name, Payload, RequestId, Seconds, Time, Ulid
from broker.messages.requests import Actor


class ByHand(Payload):
    """What every order of manual control carries; live only, at most 10 s old.

    Attributes:
        id: The same id is carried out once, and answered alike each time.
        client: Where to reply, below `reply/{principal}/`: within a second, a `Done` or an error.
            Nodes are told it, so it is another one than is used towards the hub. Absent: only
            what is wrong is told, on `errors/{principal}`.
        actor: The person behind a portal's order, who must be an administrator.
    """

    id: RequestId
    client: Name | None = None
    expires_at: Time
    actor: Actor | None = None


class Command(ByHand):
    """Set or dose one channel of a reactor that nobody holds: a value or a volume, not both.

    It holds the reactor for the sender, see `ManualHold`. What is not done soon is answered
    ``accepted``; if it fails later, that is told on `errors/{principal}` under its id.

    Attributes:
        value: In the channel's unit.
        dose_ml: Of a pump, mL.
        duration: Seconds of the reactor's clock; direct outputs need one.
    """

    value: float | None = None
    dose_ml: float | None = Field(default=None, gt=0)
    duration: Seconds | None = None


class ManualEnd(ByHand):
    """End manual control: everything is made safe."""


class ManualHold(Payload):
    """Somebody controls the reactor by hand; no experiment starts there meanwhile.

    Attributes:
        by: A handle for people.
        since: The first command.
        until: Everything is made safe then, unless there is another command before.
    """

    by: str
    since: Time
    until: Time


class Estop(Payload):
    """A latched emergency stop."""

    latch: Ulid
    by: str
    since: Time
    reason: str = ""


class EstopRequest(Payload):
    """Engage the emergency stop. Any non-empty payload does; this is the polite form."""

    reason: Annotated[str, StringConstraints(max_length=200)] = ""


class EstopRelease(Payload):
    """Release the emergency stop with this latch; the reason is kept with it."""

    latch: Ulid
    reason: Annotated[str, StringConstraints(max_length=200)] = ""
