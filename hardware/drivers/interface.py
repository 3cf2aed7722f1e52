"""What the reactor asks of a driver.

A driver serves the channels whose `ChannelInfo.driver` is its name. It obeys: what may be
commanded was decided before by the safety rules. What it must guarantee by itself is that a
pump stops without being told to, see `dose`.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Protocol, Self

MAX_PIECE_SECONDS: Final = 2.0
"""The longest that a pump may run on one command: it must end by itself if the host dies."""


class DriverError(Exception):
    """The device did not do what it was asked to; one sentence for people."""


class Driver(Protocol):
    """One device. Used as an async context manager; entering must not move any actuator.

    Calls for one channel never overlap, except that `stop` may come while `dose` is under way;
    calls for different channels may overlap, and the driver orders them on its line.
    """

    @property
    def name(self) -> str:
        """The driver's name, as in `ChannelInfo.driver`."""
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
