"""A node whose device is not there, and whose runner takes its time to end.

``python -m tests.faults.node.absent_main CONFIG``
"""

import asyncio
import sys
from pathlib import Path
from typing import Final, NoReturn

from broker.settings import BrokerSettings, load_settings
from hardware.drivers.interface import DriverError
from node_service.__main__ import run
from node_service.datadir import DataDir, owned
from node_service.runner.process import RunnerProcess
from node_service.settings import NodeSettings

SLOW: Final = 2.5


class SlowRunner(RunnerProcess):
    async def run(self) -> NoReturn:
        try:
            await super().run()
        finally:
            await asyncio.sleep(SLOW)
            sys.stdout.write("the runner has ended\n")
            sys.stdout.flush()


def main(config: Path) -> None:
    settings = load_settings(NodeSettings, "node", config)
    broker = load_settings(BrokerSettings, "broker", config)
    with owned(DataDir(settings.data_dir)):
        try:
            asyncio.run(run(settings, broker, make_runner=SlowRunner))
        except DriverError as error:
            sys.stdout.write(f"refused: {error}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
