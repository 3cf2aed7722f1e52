"""What is promised within seconds: who is removed is cut off, and a dead node's outputs go off."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from broker.access import Principal
from broker.access.reloading import reload
from broker.access.telling import tell
from broker.children import Child
from broker.connection import Connection
from broker.embedded import EmbeddedBroker, Kind
from node_service.datadir import DataDir
from tests.support.heater import Heater

Row = tuple[str, float, str, float, str]

CUT_OFF_BUDGET = 1_000.0
"""Milliseconds."""
OFF_BUDGET = 2_000.0
HEATING = "tests.faults.node.heating_main"
ROLES = (Principal("hub", "hub"),)


async def _cut_off(kind: Kind) -> float:
    """Return the milliseconds from a removal, obeyed, to the end of the connection."""
    with tempfile.TemporaryDirectory() as directory:
        async with EmbeddedBroker(Path(directory), roles=ROLES, kind=kind) as broker:
            await asyncio.to_thread(broker.access.add, "ada", "script")
            settings = broker.access.settings_of("ada")
            await tell(broker.access.read().broker, settings, admitted=True)
            lost = asyncio.Event()
            async with Connection(settings, client_id="ada") as ada:
                await ada.wait_connected(10)
                ada.on_disconnect(lost.set)
                await asyncio.to_thread(broker.access.remove, "ada")
                began = time.monotonic()
                reload(broker.access.read().broker)
                async with asyncio.timeout(10):
                    await lost.wait()
                return (time.monotonic() - began) * 1000


async def _off(how: str) -> float:
    """Return the milliseconds until the heater is off whose node is killed, or hangs."""
    heating = asyncio.Event()

    def heard(line: str) -> None:
        if line.startswith("heating"):
            heating.set()

    with tempfile.TemporaryDirectory() as directory, Heater() as heater:
        child = Child.start(
            [sys.executable, "-m", HEATING, directory, heater.port, how], on_line=heard
        )
        try:
            async with asyncio.timeout(30):
                await heating.wait()
                began = time.monotonic()
                if how == "killed":
                    child.send_signal(signal.SIGKILL)
                while heater.duty:  # noqa: ASYNC110 - the device tells nobody
                    await asyncio.sleep(0.01)
            return (heater.history[-1][0] - began) * 1000
        finally:
            child.kill()
            os.kill(int(DataDir(Path(directory)).watchdog_lock.read_text()), signal.SIGKILL)


def rows() -> list[Row]:
    """Return each in milliseconds, against what is promised."""
    cut = [
        (f"a removed principal is cut off, {kind}", asyncio.run(_cut_off(kind)), "ms",
         CUT_OFF_BUDGET, "the promise")
        for kind in ("mosquitto", "nats")
    ]  # fmt: skip
    off = [
        (f"outputs are off after a node {what}", asyncio.run(_off(how)), "ms",
         OFF_BUDGET, "the promise")
        for how, what in (("killed", "is killed"), ("hang", "hangs"))
    ]  # fmt: skip
    return cut + off
