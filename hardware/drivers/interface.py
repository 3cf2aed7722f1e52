"""What the reactor asks of a driver.

A driver serves the channels whose `ChannelInfo.driver` is its name. It obeys: what may be
commanded was decided before by the safety rules. What it must guarantee by itself is that a
pump stops without being told to, see `dose`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pkgutil import resolve_name
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from hardware.drivers.hearing import Hearing

MAX_PIECE_SECONDS: Final = 2.0
"""The longest that a pump may run on one command: it must end by itself if the host dies."""


class DriverError(Exception):
    """The device did not do what it was asked to; one sentence for people."""


class NotDosedError(DriverError):
    """A pump refused a piece of a dose: it is known that nothing of it was delivered."""


class TooLittleError(NotDosedError):
    """A piece of a dose is less than the pump can move."""


@dataclass(frozen=True, slots=True)
class Rescue:
    """How another process makes a device safe when the node's process is dead.

    The watchdog calls the function, in a thread of its own, with the arguments as keywords. The
    function

    - is an ordinary one, not async, and opens the device itself. The line is free: the watchdog
      waits until the node's process is gone, so an exclusive lock on it went with that process;
    - brings every output of the device to its safe state and stops its pumps, whatever fails on
      the way, closes the line, and returns when the device is known to be safe;
    - raises `DriverError` or `OSError` where it is not; it is then called again a moment later;
    - takes at most a second where the device answers, and does not wait for one that does not
      for longer than two;
    - lives in a module that imports the standard library, pyserial and the like, and nothing
      that loads pydantic (`broker.messages`, `hardware.channels`): the watchdog has 40 MiB.

    Attributes:
        function: Where it is, ``package.module:function``.
        arguments: What it is told, for example the port and the address on it.
    """

    function: str
    arguments: Mapping[str, str | int | float] = field(default_factory=dict)

    def load(self) -> Callable[[], None]:
        """Import the function; return it with its arguments.

        Raises:
            ImportError: There is no such module.
            AttributeError: It has no such function.
        """
        return partial(resolve_name(self.function), **self.arguments)


class Driver(Protocol):
    """One device. Used as an async context manager; entering must not move any actuator.

    Calls for one channel never overlap, except that `stop` may come while `dose` is under way;
    calls for different channels may overlap, and the driver orders them on its line.
    """

    @property
    def name(self) -> str:
        """The driver's name, as in `ChannelInfo.driver`."""
        ...

    @property
    def rescue(self) -> Rescue | None:
        """How the watchdog makes the device safe; None: there is nothing to be made safe.

        Known before the driver is entered.
        """
        ...

    async def __aenter__(self) -> Self:
        """Open the line; outputs stay or become safe.

        Raises:
            DriverError: The device does not answer.
        """
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the line."""
        ...

    async def read(self) -> Mapping[str, float | None]:
        """Read the device's sensors; None where a sensor gives no sound value.

        Raises:
            DriverError: Nothing could be read.
        """
        ...

    async def write(self, channel: str, value: float) -> None:
        """Set an output, in the channel's unit; it is in force when this returns.

        Raises:
            DriverError: It is not known to be in force.
        """
        ...

    async def dose(self, channel: str, ml: float) -> float:
        """Pump one piece of a dose, at most `MAX_PIECE_SECONDS` long, and return when it ended.

        The pump ends the piece by itself, whatever becomes of the host. Cancelling stops the
        pump early where the device can.

        Returns:
            What was delivered, mL.

        Raises:
            NotDosedError: The pump refused: nothing was delivered. `TooLittleError`, where it
                cannot move so little.
            DriverError: It is not known what was delivered.
        """
        ...

    async def stop(self, channel: str) -> None:
        """Stop a pump.

        Raises:
            DriverError: It is not known to have stopped.
        """
        ...

    async def begin_run(self) -> None:
        """Get ready for a new run: a simulation puts in a fresh vial, a device does nothing."""
        ...


@runtime_checkable
class Pluggable(Protocol):
    """What a driver may have beside `Driver`: it knows at once when its device was unplugged.

    Without it that is found out when the device is read, which may take some seconds.
    """

    @property
    def plugged_in(self) -> bool:
        """Whether the device is connected."""
        ...

    async def unplugged(self) -> None:
        """Return when the device is not connected; at once, if it is not now."""
        ...


@runtime_checkable
class Audible(Protocol):
    """What a driver may have beside `Driver`: it knows when its device owes it an answer.

    Without it that is found out when a reading has failed, after all its repetitions.
    """

    @property
    def hearing(self) -> "Hearing":
        """Whether the device answers; the same object always."""
        ...
