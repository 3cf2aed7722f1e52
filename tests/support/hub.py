"""The hub inside the test's process, on a real broker, with its data in a directory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from ulid import ULID

from broker.connection import Connection, stable_client_id
from broker.messages import utc_now
from broker.settings import BrokerSettings
from hub_service.archive import Archive
from hub_service.exports import Exports
from hub_service.ids import GrowingIds
from hub_service.service import HubService
from hub_service.settings import HubSettings
from hub_service.storage import nothing
from hub_service.store import QueueStore

SCRIPT = """\
# /// script
# [tool.bioreactor]
# name = "hold"
# needs = ["od"]
# [tool.bioreactor.parameters]
# target = {default = 0.5, min = 0, max = 4}
# ///
import numpy
from bioreactor import reactor
"""


class TestClock:
    """The wall clock, which a test may set forward."""

    __test__ = False

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.offset


class RunningHub:
    """A hub that serves; its parts are there for a look."""

    def __init__(self, store: QueueStore, archive: Archive, service: HubService) -> None:
        self.store, self.archive, self.service = store, archive, service


@asynccontextmanager
async def running_hub(
    broker: BrokerSettings,
    directory: Path,
    *,
    settings: HubSettings | None = None,
    clock: Callable[[], datetime] = utc_now,
    before: Callable[[str], None] = nothing,
) -> AsyncIterator[RunningHub]:
    """Run a hub until the block ends, as its program wires it."""
    settings = settings or HubSettings(data_dir=directory)
    store = await asyncio.to_thread(
        lambda: QueueStore.open(directory, new_id=lambda: str(ULID()), before=before)
    )
    archive = await asyncio.to_thread(Archive.open, directory / "archive")
    main = Connection(broker, client_id=f"hub-{ULID()}")
    service = HubService(
        store,
        archive,
        Exports(archive, directory / "exports"),
        connection=main,
        request_connection=Connection(
            broker,
            client_id=stable_client_id(directory / "requests-client.id", "hub-requests"),
            clean_session=False,
        ),
        journal_connection=Connection(broker, client_id=f"hub-journal-{ULID()}"),
        settings=settings,
        version="test",
        boot_id=str(ULID()),
        new_id=GrowingIds(clock),
        clock=clock,
    )
    serving = asyncio.create_task(service.run(), name="hub")
    try:
        waiting = asyncio.create_task(main.wait_connected(10))
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            waiting.cancel()
            serving.result()
        await waiting
        yield RunningHub(store, archive, service)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await asyncio.to_thread(archive.close)
        await store.close()
    if not serving.cancelled():
        serving.result()
