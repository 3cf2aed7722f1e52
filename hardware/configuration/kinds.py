"""Kinds of devices: what each offers, what may be set about it, how its driver is made.

A kind is found by its name among the entry points of the group `bioreactor.drivers`, our own ones
too; another package adds one by naming it there. Only kinds that a configuration uses are loaded.
"""

import difflib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from broker.messages import Quantity
from hardware.clock import Clock
from hardware.drivers.interface import Driver

GROUP: Final = "bioreactor.drivers"


class Options(BaseModel):
    """What a device's table says beside its driver; subclasses add fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def channels_named(self) -> Mapping[str, str]:
        """Return the channels that options name, by key: each must be a sensor."""
        return {}


class SerialOptions(Options):
    """Of a device on a serial port.

    Attributes:
        port: Best one of ``/dev/serial/by-id/``: it names the same device after a replug.
    """

    port: Annotated[Path, Field(description="the serial port")]


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that a device measures or moves.

    Attributes:
        kind: As `ChannelInfo.kind`.
        quantity: What it is.
        unit: In which.
        label: For people.
        span: What the device can give or take, in its unit; None where it has no end.
        precision: Decimals worth showing.
        period: Seconds between samples, as fast as the device can.
        flow: Of a pump whose flow the device knows, mL/s.
        fastest: Of a pump: the highest flow that can be asked of it, mL/s; None: no fixed one.
        least_ml: Of a pump: the least that it can move at a time, mL.
        heats: Only a thermostat may set it: nothing is heated that nobody measures.
    """

    kind: Literal["sensor", "actuator", "setpoint", "pump"]
    quantity: Quantity
    unit: str
    label: str
    span: tuple[float | None, float | None] = (None, None)
    precision: int = 2
    period: float = 1.0
    flow: float | None = None
    fastest: float | None = None
    least_ml: float = 0.0
    heats: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What a driver is made of.

    Attributes:
        name: Of the device, as in the file and as `ChannelInfo.driver`.
        channels: What the device offers → the channel that it serves.
        flows: Of its pumps by channel, mL/s.
        clock: Whose seconds count.
        directory: Where the driver may keep what must survive a restart.
        reading: Returns a channel's last sound value, None where there is none; for compensation.
    """

    name: str
    channels: Mapping[str, str]
    flows: Mapping[str, float]
    clock: Clock
    directory: Path
    reading: Callable[[str], float | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One point that a device calibrates itself with.

    Attributes:
        prompt: What to do first.
        usual: The true value if nothing else is said, in the channel's unit; None: there is none.
        take: Tells the device; its driver is entered.
        optional: It may be left out.
    """

    prompt: str
    usual: float | None
    take: Callable[[Driver, float], Awaitable[None]]
    optional: bool = False


Opt = TypeVar("Opt", bound=Options)


@dataclass(frozen=True, slots=True)
class Kind(Generic[Opt]):
    """A kind of device.

    Attributes:
        label: For people.
        options: What may be set about it.
        offers: What it serves, by name.
        make: Makes its driver; a `ValueError` says which option is wrong.
        steps: How what it offers is calibrated in the device itself, where it can be.
    """

    label: str
    options: type[Opt]
    offers: Mapping[str, Offer]
    make: Callable[[Order, Opt], Driver]
    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)


class UnknownKindError(LookupError):
    """There is no such kind, or its package is broken; one sentence."""


def known() -> tuple[str, ...]:
    """Return the names of all kinds, those of other packages too."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def find(name: str) -> Kind[Any]:
    """Load a kind.

    Raises:
        UnknownKindError: It is not there, or cannot be loaded.
    """
    points = entry_points(group=GROUP, name=name)
    for point in points:
        try:
            kind = point.load()
        except (Exception, SystemExit) as error:
            package = "its package" if point.dist is None else f"the package {point.dist.name}"
            raise UnknownKindError(
                f"the driver {name} ({point.value}) cannot be loaded: {type(error).__name__}: "
                f"{error}; mend, update or remove {package}"
            ) from error
        if not isinstance(kind, Kind):
            raise UnknownKindError(f"the driver {name} ({point.value}) is no `Kind`")
        return kind
    near = difflib.get_close_matches(name, known(), n=1)
    meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(known())}"
    raise UnknownKindError(f"there is no driver {name!r}; {meant}")
