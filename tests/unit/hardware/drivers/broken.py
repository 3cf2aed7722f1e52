"""A device that fails as it is told, for what the reactor does then."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from hardware.clock import Clock
from hardware.drivers.interface import DriverError, Rescue


class BrokenDevice:
    """Serves the bench equipment of `tests.unit.hardware.equipment`."""

    name = "bench"
    rescue: Rescue | None = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.silent: set[str] = set()
        self.values: dict[str, float | None] = {"temperature": 25.0, "volume": 15.0}
        self.written: dict[str, float] = {}
        self.moved: dict[str, float] = {"media": 0.0, "base": 0.0, "waste": 0.0}
        self.calls: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.calls.append("closed")

    async def read(self) -> Mapping[str, float | None]:
        self._answer("read")
        return dict(self.values)

    async def write(self, channel: str, value: float) -> None:
        self._answer(channel)
        self.written[channel] = value

    async def dose(self, channel: str, ml: float) -> float:
        await self._clock.sleep(1.0)
        self._answer(channel)
        self.moved[channel] += ml
        return ml

    async def stop(self, channel: str) -> None:
        self._answer(channel)
        self.calls.append(f"stopped {channel}")

    async def begin_run(self) -> None:
        self.calls.append("new run")

    def _answer(self, what: str) -> None:
        if what in self.silent:
            raise DriverError(f"{what} does not answer")
