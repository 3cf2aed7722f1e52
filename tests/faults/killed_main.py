"""The hub's or the node's own program, which kills itself before a given step.

``python -m tests.faults.killed_main {hub|node} CONFIG NOTES [STEP]``: see `Fate`. The node finds
its runner running already, as a container engine does: what runs outlives it.
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


class StandingRunner(RunnerProcess):
    """A runner that somebody else keeps running."""

    async def run(self) -> NoReturn:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nothing ends it")


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    which, config, notes = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    fate = Fate("".join(sys.argv[4:]), notes)
    broker = load_settings(BrokerSettings, "broker", config)
    if which == "hub":
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
    else:
        node = load_settings(NodeSettings, "node", config)
        fate.watch(node.data_dir)
        with owned(DataDir(node.data_dir)):
            asyncio.run(
                run_node(
                    node,
                    broker,
                    connect=fate.connect,
                    make_runner=StandingRunner,
                )
            )


if __name__ == "__main__":
    main()
