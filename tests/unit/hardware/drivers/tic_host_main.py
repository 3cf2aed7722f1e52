"""A host that doses with the Tic at the port it is given, until it is killed."""

import asyncio
import sys
from pathlib import Path

from hardware.clock import RealClock
from hardware.drivers.tic.pump import TicPump


async def main() -> None:
    pump = TicPump(
        "media",
        Path(sys.argv[1]),
        channel="media",
        ml_per_microstep=0.0005,
        flow=0.5,
        clock=RealClock(),
    )
    async with pump:
        print("on", flush=True)  # noqa: T201 - the test waits for it
        await pump.dose("media", 5.0)  # longer than any piece: only a kill ends it


asyncio.run(main())
