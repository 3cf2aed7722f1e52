"""Show what every device measures, live in the terminal. Nothing is moved."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from hardware.configuration.build import Configured, Readings
from hardware.drivers.interface import Driver, DriverError
from hardware.interlocks import sound

REFRESH: Final = 0.25
"""Seconds between two pictures."""
_AGAIN: Final = 1.0
"""Seconds until a device that failed is asked again."""
_PATIENCE: Final = 10.0


@dataclass
class Board:
    """What was last seen of each channel.

    Attributes:
        values: By channel.
        seen: When, in seconds of the monotonic clock.
        errors: By device.
        rounds: How often each device was read.
    """

    values: dict[str, float | None] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)

    def picture(self, reactor: Configured) -> Table:
        """Return the table as it stands."""
        now = time.monotonic()
        table = Table("channel", "value", "unit", "device", "age")
        for name, channel in reactor.equipment.channels.items():
            if channel.info.kind != "sensor" or channel.controlled:
                continue
            value, seen = self.values.get(name), self.seen.get(name)
            error = self.errors.get(channel.info.driver, "")
            table.add_row(
                name,
                "nothing" if value is None else f"{value:.{channel.info.precision}f}",
                channel.info.unit,
                channel.info.driver,
                f"[red]{error}[/]" if error else "" if seen is None else f"{now - seen:.1f} s",
            )
        return table


async def monitor(
    reactor: Configured, readings: Readings, console: Console, *, rounds: int | None = None
) -> Board:
    """Read every device at its own pace and show it, until cancelled.

    Args:
        reactor: Whose devices; none is entered yet.
        readings: Told what drivers may ask of other channels.
        console: Where it is shown.
        rounds: End when every device was tried so often; None: never.
    """
    board = Board()
    readings.come_from(board.values.get)
    with Live(board.picture(reactor), console=console, auto_refresh=False) as live:
        async with asyncio.TaskGroup() as tasks:
            watchers = [
                tasks.create_task(_watch(driver, reactor, board, rounds), name=driver.name)
                for driver in reactor.drivers
            ]
            while not all(watcher.done() for watcher in watchers):
                await asyncio.sleep(REFRESH)
                live.update(board.picture(reactor), refresh=True)
    return board


async def _watch(driver: Driver, reactor: Configured, board: Board, rounds: int | None) -> None:
    """Keep reading one device; open it again when it failed."""
    name = driver.name
    left = rounds
    while left is None or left > 0:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await stack.enter_async_context(driver)
                while left is None or left > 0:
                    left = None if left is None else left - 1
                    async with asyncio.timeout(_PATIENCE):
                        values = await driver.read()
                    _note(board, reactor, name, values)
                    await asyncio.sleep(_period(reactor, name))
            except (DriverError, TimeoutError) as error:
                board.errors[name] = str(error) or "it does not answer"
                left = None if left is None else max(left - 1, 0)
        if left is None or left > 0:
            await asyncio.sleep(_AGAIN)


def _note(board: Board, reactor: Configured, name: str, values: Mapping[str, float | None]) -> None:
    board.errors.pop(name, None)
    board.rounds[name] = board.rounds.get(name, 0) + 1
    for channel, value in values.items():
        board.values[channel] = sound(reactor.equipment.channels[channel], value)
        board.seen[channel] = time.monotonic()


def _period(reactor: Configured, name: str) -> float:
    periods = [c.info.period for c in reactor.equipment.channels.values() if c.info.driver == name]
    return min(periods, default=1.0)
