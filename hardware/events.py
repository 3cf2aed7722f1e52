"""What the safety rules are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from broker.messages import ContractError, Error, ErrorCode


@dataclass(frozen=True, slots=True)
class Measured:
    """Sensors were read; None where a sensor gave no sound value."""

    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Set:
    """An output shall have a value, for `duration` seconds if one is given.

    Attributes:
        by_controller: The node's own controller asks; what is out of range is clamped.
    """

    channel: str
    value: float
    duration: float | None = None
    by_controller: bool = False


@dataclass(frozen=True, slots=True)
class DoseAsked:
    """A pump shall move a volume. Granted, the volume is reserved until `DoseEnded`.

    Attributes:
        by_controller: The node's own controller asks; it waits while the reactor holds.
        stops: `State.stops` when it was asked for, where it had to wait for its pump since; it is
            refused if everything was stopped meanwhile.
    """

    channel: str
    ml: float
    by_controller: bool = False
    stops: int | None = None


@dataclass(frozen=True, slots=True)
class DosePiece:
    """The next piece of a granted dose is about to be pumped."""

    channel: str
    ml: float


@dataclass(frozen=True, slots=True)
class PieceEnded:
    """A piece is over; `delivered` is what was pumped of it, mL."""

    channel: str
    delivered: float


@dataclass(frozen=True, slots=True)
class DoseEnded:
    """A dose is over; `delivered` is None if it is not known how much was pumped."""

    channel: str
    delivered: float | None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Pumps and direct outputs stop; setpoints stay.

    Attributes:
        pause: Somebody pauses: controllers do not dose until `GoOn`. Without it a pause that there
            is goes on, and no new one begins.
    """

    pause: bool = True


@dataclass(frozen=True, slots=True)
class GoOn:
    """The pause is over."""


Scope = Literal["direct", "all"]
"""What rests while a device is silent: pumps and direct outputs, or whatever moves or heats."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Pumps stop, and outputs have their safe value, until it is told that they need not any more.

    Setpoints stay, and what was commanded comes back by itself where it is still in force. A dose
    waits: what its piece under way does not deliver may be pumped later.

    Attributes:
        scope: What rests; None: nothing any more.
    """

    scope: Scope | None


@dataclass(frozen=True, slots=True)
class MakeSafe:
    """Everything goes to its safe value."""


@dataclass(frozen=True, slots=True)
class EstopEngaged:
    """Everything goes to its safe value and stays there."""

    reason: str


@dataclass(frozen=True, slots=True)
class EstopReleased:
    """Commands are allowed again."""


@dataclass(frozen=True, slots=True)
class VialChanged:
    """Somebody has put in another vial, with so many mL in it."""

    ml: float


@dataclass(frozen=True, slots=True)
class RunBegun:
    """A new run: total volumes count from zero."""


Event = (
    Measured
    | Set
    | DoseAsked
    | DosePiece
    | PieceEnded
    | DoseEnded
    | Tick
    | Hold
    | GoOn
    | Rest
    | MakeSafe
    | EstopEngaged
    | EstopReleased
    | RunBegun
    | VialChanged
)


def refuse(code: ErrorCode, message: str, hint: str = "", **details: JsonValue) -> Error:
    """Return why a command is not allowed; details that are None are left out."""
    known = {name: value for name, value in details.items() if value is not None}
    return Error(code=code, message=message, hint=hint, details=known)


def refuse_estop(reason: str) -> Error:
    """Return the refusal of everything during an emergency stop."""
    return refuse(
        ErrorCode.ESTOP,
        f"the emergency stop is engaged: {reason}",
        "somebody must look at the reactor and release it first",
    )


def check(refusal: Error | None) -> None:
    """Tell a refusal to whoever asked.

    Raises:
        ContractError: There is one.
    """
    if refusal is not None:
        raise ContractError(refusal.code, refusal.message, refusal.hint, **refusal.details)
