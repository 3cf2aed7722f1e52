"""What a hub does before it serves, with its queue and archive on a real disk."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.messages import utc_now
from hub_service.archive import Archive
from hub_service.desk import PAGE, Desk
from hub_service.pulse import PATIENCE, Pulse
from hub_service.store import QueueStore
from tests.unit.hub_service.archive_entries import Node, phase
from tests.unit.hub_service.builders import ulid


class Case:
    """A hub's data, a disk that may be full, and how often the desk gave a sign of life."""

    def __init__(self, directory: Path) -> None:
        self.full = False
        self.archive = Archive.open(directory / "archive")
        self.store = QueueStore.open(
            directory, new_id=lambda: ulid(1, "STR"), before=self._before_step
        )
        self.at: list[int] = []
        self.progressed = asyncio.Event()

    def desk(self) -> Desk:
        return Desk(
            self.store, self.archive, clock=utc_now, changed=lambda: None,
            progress=self._progress, retry_s=0.01,
        )  # fmt: skip

    def _progress(self) -> None:
        self.at.append(self.store.cursor)
        self.progressed.set()

    def _before_step(self, _: str) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    case = Case(tmp_path)
    yield case
    case.full = False
    await asyncio.to_thread(case.archive.close)
    await case.store.close()


async def test_a_long_backlog_shows_signs_of_life_at_each_page(case: Case) -> None:
    recorded = 3 * PAGE + 7
    await Node(case.archive).record(*(phase("accepted", n) for n in range(recorded)))
    await case.desk().open()
    steps = [later - before for before, later in zip(case.at, case.at[1:], strict=False)]
    assert case.store.cursor == recorded
    assert max(steps) == PAGE
    assert case.at[-1] == recorded


async def test_a_hub_that_waits_for_room_shows_signs_of_life(case: Case) -> None:
    await Node(case.archive).record(phase("accepted"))
    case.full = True
    opening = asyncio.create_task(case.desk().open())
    for _ in range(5):
        async with asyncio.timeout(5):
            await case.progressed.wait()
        case.progressed.clear()
    assert not opening.done()
    case.full = False
    await opening
    assert case.store.cursor == 1


def test_one_beat_may_be_for_several_parts() -> None:
    now = [0.0]
    pulse = Pulse(lambda: now[0])
    now[0] = max(PATIENCE.values()) + 1
    pulse.beat(*PATIENCE)
    assert pulse.stuck() is None
