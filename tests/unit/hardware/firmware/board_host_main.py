"""A host that heats with the board at the port it is given, until it is killed."""

import asyncio
import sys
from pathlib import Path

from hardware.drivers.board.driver import ControllerBoard


async def main() -> None:
    board = ControllerBoard("board", Path(sys.argv[1]), {"heater": "heater", "light": "light"})
    async with board:
        await board.write("heater", 40.0)
        await board.write("light", 80.0)
        print("on", flush=True)  # noqa: T201 - the test waits for it
        while True:
            await asyncio.sleep(1.0)
            await board.read()


asyncio.run(main())
