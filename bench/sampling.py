"""How steadily a node samples, and what that costs, while a script burns what it is given."""

import asyncio
import math
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from ulid import ULID

from bench._node import Node, node
from broker.access import Principal
from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.journal import JournalReceiver
from broker.messages import HubStatus, SampleRecord, utc_now
from broker.settings import BrokerSettings
from broker.topics import Topic
from hardware.simulation.equipment import EQUIPMENT
from hub_service.archive import Archive

BURNS = """
    import os

    for _ in range(os.cpu_count()):
        if os.fork() == 0:
            break
    while True:
        pass
"""
SECONDS = 20.0
VALUES_PER_SECOND = 16 * 10
"""The simulated vial has fewer than 16 channels; they are sampled as much more often."""
NODE = "reactor-1"
Row = tuple[str, float, str, float, str]


def rows() -> list[Row]:
    """Return the lateness of samples and the node's share of a core."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(Path(directory)))


async def _measure(directory: Path) -> list[Row]:
    roles = (Principal("hub", "hub"), Principal(NODE, "node"))
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker(directory, roles=roles))
        archive = Archive.open(directory / "archive")
        stack.callback(archive.close)

        async def apply(_node: str, _stream: str) -> None:
            await archive.set_applied(await archive.last_phase())

        hub = Connection(broker.settings_for("hub"), client_id="bench-hub")
        await stack.enter_async_context(hub)
        await hub.wait_connected(10)
        status = HubStatus(
            state="online",
            version="0",
            boot_id=str(ULID()),
            since=utc_now(),
            store_id=str(ULID()),
            generation=1,
        )
        await hub.publish(hub.topics.build(Topic.HUB_STATUS), status.encode(), retain=True)
        taking = asyncio.create_task(JournalReceiver(hub, archive, apply).run())
        settings = broker.settings_for(NODE)
        late = await asyncio.to_thread(_lateness, settings)
        load = await asyncio.to_thread(_load, settings)
        taking.cancel()
        await asyncio.wait([taking])
    return [
        ("samples at 10 Hz off their schedule, p99", late, "ms", 10.0, "budget"),
        ("node service at 16 channels and 10 Hz", load, "%", 5.0, "budget, of a core"),
    ]


def _lateness(broker: BrokerSettings) -> float:
    """Return by how many ms samples are off, p99, while a script burns."""
    with node(BURNS, broker=broker, sample_interval=0.1) as running:
        _settle(running)
        time.sleep(SECONDS)
        running.stop()
        samples = [r for r in running.records() if isinstance(r, SampleRecord)]
    times = [s.mono for s in samples if s.experiment_id is not None and s.mono is not None]
    phases = [time % 0.1 for time in times]
    middle = statistics.median(phases)
    off = sorted(abs((phase - middle + 0.05) % 0.1 - 0.05) for phase in phases)
    assert len(off) > SECONDS * 9
    return 1000 * off[math.floor(0.99 * len(off))]


def _load(broker: BrokerSettings) -> float:
    """Return the share of a core that the node takes, %."""
    interval = len(EQUIPMENT.channels) / VALUES_PER_SECOND
    with node(BURNS, broker=broker, sample_interval=interval) as running:
        _settle(running)
        before = running.processor_seconds()
        time.sleep(SECONDS)
        return 100 * (running.processor_seconds() - before) / SECONDS


def _settle(running: Node) -> None:
    running.wait(running.paths.socket.exists)
    time.sleep(5.0)
