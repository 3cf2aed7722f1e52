"""The hub's program, which kills itself before a given durable step.

``python -m tests.faults.hub_killed_main CONFIG STEP``: steps count from 1 over both stores, each
write of the archive having one before and one after; 0 lives for ever.
"""

import asyncio
import logging
import os
import signal
import sys
from concurrent.futures import Future
from pathlib import Path

from pydantic import JsonValue

from broker.journal.reception import Commit
from broker.messages import Experiment
from broker.settings import BrokerSettings, load_settings
from hub_service.__main__ import new_ulid, run
from hub_service.archive import Archive, Audit
from hub_service.settings import HubSettings
from hub_service.store import QueueStore


class Fate:
    """Counts steps and ends the process at the chosen one."""

    def __init__(self, last: int) -> None:
        self._left = last

    def step(self, name: str) -> None:
        self._left -= 1
        if self._left == 0:
            sys.stderr.write(f"killed before: {name}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)


class MortalArchive(Archive):
    """Steps before and after each write."""

    fate = Fate(0)

    async def commit(self, node: str, stream: str, commit: Commit[JsonValue]) -> None:
        self.fate.step(f"commit {stream}")
        await super().commit(node, stream, commit)
        self.fate.step(f"committed {stream}")

    def record(self, audit: Audit, script: tuple[str, str] | None = None) -> Future[None]:
        self.fate.step("audit")
        recorded = super().record(audit, script)
        recorded.add_done_callback(lambda _: self.fate.step("audited"))
        return recorded

    async def finish(self, experiment: Experiment) -> None:
        self.fate.step("finish")
        await super().finish(experiment)
        self.fate.step("finished")


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    config, last = Path(sys.argv[1]), int(sys.argv[2])
    fate = MortalArchive.fate = Fate(last)

    def open_store(directory: Path) -> QueueStore:
        return QueueStore.open(directory, new_id=new_ulid, before=fate.step)

    asyncio.run(
        run(
            load_settings(HubSettings, "hub", config),
            load_settings(BrokerSettings, "broker", config),
            open_store=open_store,
            open_archive=MortalArchive.open,
        )
    )


if __name__ == "__main__":
    main()
