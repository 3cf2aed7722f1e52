"""Heats over a serial line under the watchdog's eyes, until it is killed.

``python heating_main.py DIRECTORY PORT [hang|orderly]``
"""

import asyncio
import sys
import time
from pathlib import Path

from hardware.drivers.interface import Rescue
from node_service.datadir import DataDir, owned
from node_service.watchdog.process import Watchdog
from tests.support.heater import heat, open_line


def say(*words: object) -> None:
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


async def main(directory: DataDir, port: str, how: str) -> None:
    duty = 0.0
    rescues = {
        "heater": Rescue("tests.support.heater:make_safe", {"port": port}),
        "broken": Rescue("tests.support.heater:make_safe", {"port": f"{port}-not-there"}),
    }
    if how == "orderly":
        del rescues["broken"]
    async with Watchdog(directory, rescues, patience=1.2, safe=lambda: duty == 0.0) as watchdog:
        await watchdog.ready()
        say("account", watchdog.account)
        with open_line(port) as line:
            heat(line, duty := 50.0)
            say("heating", watchdog.pid)
            if how == "hang":
                time.sleep(60)  # noqa: ASYNC251 - what is tested is that this is noticed
            before = watchdog.pid
            if how == "orderly":
                await asyncio.sleep(0.5)
                heat(line, duty := 0.0)
                return
            while True:
                watchdog.beat("control loop", 1.0 if how == "stuck" else 5.0)
                await asyncio.sleep(3.0 if how == "stuck" else 0.1)
                if watchdog.pid != before and watchdog.fault is None:
                    before = watchdog.pid
                    say("watched again", before)


if __name__ == "__main__":
    place = DataDir(Path(sys.argv[1]))
    with owned(place):
        asyncio.run(main(place, sys.argv[2], sys.argv[3]))
