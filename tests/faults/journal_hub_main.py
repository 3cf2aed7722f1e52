"""The hub's end of the journal in a process of its own, to be killed: receives, commits, applies.

`python -m tests.faults.journal_hub_main DIRECTORY`: each phase record that is applied is written
to DIRECTORY/applied, a line each, as the queue's snapshot would hold it.
"""

import asyncio
import sys
from pathlib import Path

from ulid import ULID

from broker.connection import Connection
from broker.journal import JournalReceiver
from broker.messages import HubStatus, utc_now
from broker.presence import Presence
from broker.settings import BrokerSettings
from broker.topics import Topic, Topics
from hub_service.archive import Archive

STORE = "01JNE5X6T3M9Y2Q8R4V7W0ZST1"


async def main(directory: Path) -> None:
    settings = BrokerSettings()
    archive = Archive.open(directory / "archive")
    seen = directory / "applied"
    seen.touch()
    applied = sum(1 for _ in seen.open())
    await archive.set_applied(applied)
    lock = asyncio.Lock()

    async def apply(_node: str, _stream: str) -> None:
        nonlocal applied
        async with lock:
            with seen.open("a") as file:
                for phase in await archive.phase_records(applied):
                    assert phase.seq == applied + 1
                    file.write(f"{phase.record.image}\n")
                    file.flush()
                    applied = phase.seq
            await archive.set_applied(applied)

    status = HubStatus(
        state="online",
        version="0",
        boot_id=str(ULID()),
        since=utc_now(),
        store_id=STORE,
        generation=1,
    )
    connection = Connection(settings, client_id=f"hub-{ULID()}")
    presence = Presence(connection, Topics(settings.root).build(Topic.HUB_STATUS), status)
    taking = Connection(settings, client_id=f"hub-journal-{ULID()}")
    receiver = JournalReceiver(taking, archive, apply)
    async with connection, presence, taking:
        await receiver.run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
