"""A recorded run as a driver: sensors only, on the reactor's clock."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from broker.messages import ChannelInfo, ChannelLimits
from hardware.channels import Channel, Equipment
from hardware.clock import Clock
from hardware.drivers.interface import DriverError
from hardware.drivers.sensor_only import SensorOnly
from hardware.replay.recording import Column, Recording, read_recording

DRIVER: Final = "replay"
_FASTEST: Final = 1.0
"""Seconds between two samples, at least."""


class ReplayedRun(SensorOnly):
    """Shows a recording from its start each time a run begins.

    Args:
        clock: Its seconds are those of the recording.
        recording: What is shown.
    """

    name = DRIVER

    def __init__(self, clock: Clock, recording: Recording) -> None:
        self._clock = clock
        self._recording = recording
        self._started = clock.monotonic()

    async def __aenter__(self) -> Self:
        """Begin."""
        self._started = self._clock.monotonic()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""

    async def read(self) -> Mapping[str, float | None]:
        """Return the row of this time; None where it has none.

        Raises:
            DriverError: The recording is over.
        """
        seconds = self._clock.monotonic() - self._started
        if seconds >= self._recording.duration:
            raise DriverError(f"the recording is over after {self._recording.duration:.0f} s")
        return self._recording.at(seconds)

    async def begin_run(self) -> None:
        """Begin from the start."""
        self._started = self._clock.monotonic()


def replay(clock: Clock, path: Path) -> tuple[Equipment, ReplayedRun]:
    """Return the equipment and the driver of a recorded run.

    Raises:
        RecordingError: The file is none.
    """
    recording = read_recording(path)
    period = max(recording.period, _FASTEST)
    channels = [_channel(column, period) for column in recording.columns]
    return Equipment.of(channels), ReplayedRun(clock, recording)


def _channel(column: Column, period: float) -> Channel:
    info = ChannelInfo(
        name=column.name,
        kind="sensor",
        quantity=column.quantity,
        unit=column.unit,
        label=column.heading,
        driver=DRIVER,
        period=_FASTEST,
        limits=ChannelLimits(minimum=column.lowest, maximum=column.highest),
    )
    return Channel(info, stale_after=3 * period)
