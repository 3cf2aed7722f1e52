"""What REST answers and takes about reactors."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, field_validator

from broker.messages import Channels, NodeReport, Withheld
from portal.alarmlog import PastAlarm
from portal.known import NodeView
from portal.views import Freshness


class NodeOf(BaseModel):
    """A reactor as last reported.

    Attributes:
        since: When it came online, or was lost.
        clock_offset: Seconds by which its clock is ahead of the portal's; null until it reports.
        withheld: Why the queue starts nothing there.
    """

    id: str
    label: str
    online: bool
    since: datetime | None
    version: str | None
    clock_offset: float | None
    simulated: bool
    speed: float
    channels: Channels | None
    report: NodeReport | None
    withheld: Withheld | None
    readings: dict[str, float | None]


class AlarmsOf(BaseModel):
    """Alarms of a reactor, the newest first."""

    alarms: tuple[PastAlarm, ...]


class Nodes(BaseModel):
    """All reactors by name."""

    nodes: tuple[NodeOf, ...]
    freshness: Freshness


class DeadBody(BaseModel):
    """Whether somebody has seen to it that the reactor's power is off."""

    power_is_off: bool = False


class CommandRequest(BaseModel):
    """A value or a volume for one channel.

    Attributes:
        value: In the channel's unit.
        dose_ml: Of a pump.
        duration: Seconds of the reactor's clock; direct outputs need one.
    """

    value: float | None = None
    dose_ml: float | None = None
    duration: float | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _absent(cls, value: object) -> object:
        """Take a form's empty field for absent."""
        return None if value == "" else value


class EstopBody(BaseModel):
    """Why a reactor is stopped."""

    reason: Annotated[str, Field(max_length=120)] = ""


class ReleaseBody(BaseModel):
    """Which emergency stop is released, absent: the one that the reactor reports; and why."""

    latch: str | None = None
    reason: Annotated[str, Field(max_length=120)] = ""


def node_of(node: NodeView) -> NodeOf:
    """Return a reactor for REST."""
    return NodeOf(
        id=node.id,
        label=node.label,
        online=node.online,
        since=node.since,
        version=node.version,
        clock_offset=node.clock_offset,
        simulated=node.simulated,
        speed=node.speed,
        channels=node.channels,
        report=node.report,
        withheld=node.withheld,
        readings=node.readings,
    )
