"""What REST answers and takes about reactors."""

from typing import Annotated

from pydantic import BaseModel, Field, field_validator

from portal.alarmlog import PastAlarm
from portal.known import NodeView
from portal.views import Freshness


class AlarmsOf(BaseModel):
    """Alarms of a reactor, the newest first."""

    alarms: tuple[PastAlarm, ...]


class Nodes(BaseModel):
    """All reactors by name."""

    nodes: tuple[NodeView, ...]
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
