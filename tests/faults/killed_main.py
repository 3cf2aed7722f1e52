"""The hub's or the node's own program, which kills itself before a given step, life after life.

``python -m tests.faults.killed_main {hub|node} CONFIG NOTES DESCRIPTOR``: see `Nursery` and `Fate`.
The node finds its runner running already, as a container engine does: what runs outlives it.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import NoReturn

from broker.settings import BrokerSettings, load_settings
from hub_service.__main__ import new_ulid
from hub_service.__main__ import run as run_hub
from hub_service.archive import Archive
from hub_service.settings import HubSettings
from hub_service.store import QueueStore
from node_service.__main__ import run as run_node
from node_service.datadir import DataDir, owned
from node_service.runner.process import RunnerProcess
from node_service.settings import NodeSettings
from tests.faults.fate import Fate
from tests.faults.nursery import serve


class StandingRunner(RunnerProcess):
    """A runner that somebody else keeps running."""

    async def run(self) -> NoReturn:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nothing ends it")


def live_as_hub(config: Path, broker: BrokerSettings, fate: Fate) -> None:
    hub = load_settings(HubSettings, "hub", config)
    fate.watch(hub.data_dir)
    asyncio.run(
        run_hub(
            hub,
            broker,
            open_store=lambda directory: QueueStore.open(
                directory, new_id=new_ulid, before=lambda name: fate.step(f"queue: {name}")
            ),
            open_archive=Archive.open,
            connect=fate.connect,
        )
    )


def live_as_node(config: Path, broker: BrokerSettings, fate: Fate) -> None:
    node = load_settings(NodeSettings, "node", config)
    fate.watch(node.data_dir)
    with owned(DataDir(node.data_dir)):
        asyncio.run(run_node(node, broker, connect=fate.connect, make_runner=StandingRunner))


def main() -> None:
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form)
    logging.getLogger("broker.connection").setLevel(logging.INFO)
    which, config, notes, descriptor = sys.argv[1:]
    live_as = {"hub": live_as_hub, "node": live_as_node}[which]

    def live(at: str) -> None:
        broker = load_settings(BrokerSettings, "broker", Path(config))
        live_as(Path(config), broker, Fate(at, Path(notes)))

    serve(int(descriptor), live)


if __name__ == "__main__":
    main()
