"""Open each device of a reactor on its own and see what it says. Nothing is moved."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hardware.clock import RealClock
from hardware.configuration.build import Configured, Readings, configure
from hardware.drivers.interface import Driver, DriverError
from hardware.interlocks import sound

PATIENCE: Final = 10.0
"""Seconds until a device that does not answer counts as silent."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What one device said.

    Attributes:
        device: Its name.
        driver: Its kind, for people.
        values: What it measures by channel; None where that is not sound.
        identity: What it calls itself; empty where it does not say.
        error: Why it is not well; empty: it is.
    """

    device: str
    driver: str
    values: Mapping[str, float | None] = field(default_factory=dict)
    identity: str = ""
    error: str = ""


def configured(path: Path, directory: Path, *, raw: bool = False) -> tuple[Configured, Readings]:
    """Read a `reactor.toml` for looking at its devices one by one.

    Args:
        path: The file.
        directory: Where drivers keep what must survive a restart, and calibrations are.
        raw: Leave calibrations out: pumps move what their drivers believe.

    Raises:
        ConfigurationError: What is wrong with it.
    """
    readings = Readings()
    found = configure(
        path, clock=RealClock(), directory=directory, readings=readings, calibrated=not raw
    )
    return found, readings


async def probe(reactor: Configured) -> tuple[Probed, ...]:
    """Open every device at once, each on its own, read it, and close it."""
    return tuple(await asyncio.gather(*(_probe(reactor, driver) for driver in reactor.drivers)))


async def _probe(reactor: Configured, driver: Driver) -> Probed:
    kind = type(driver).__name__
    try:
        async with asyncio.timeout(PATIENCE), driver:
            values = await driver.read()
            identity = getattr(driver, "identity", None)
    except TimeoutError:
        return Probed(driver.name, kind, error=f"it does not answer within {PATIENCE:g} s")
    except DriverError as error:
        return Probed(driver.name, kind, error=str(error))
    channels = reactor.equipment.channels
    return Probed(
        driver.name,
        kind,
        {name: sound(channels[name], value) for name, value in values.items() if name in channels},
        "" if identity is None else str(identity),
    )
