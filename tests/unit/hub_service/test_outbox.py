"""What people are told of ends, interruptions and alarms: each once, and nothing that is not so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.messages import Error, ErrorCode, Experiment, Status
from hub_service.archive import Archive
from hub_service.archive.outbox import named
from tests.unit.hub_service.archive_entries import (
    EXPERIMENT,
    NODE,
    Node,
    event,
    experiment,
    phase,
)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive.open(tmp_path)
    yield archive
    archive.close()


def ended(status: Status, code: ErrorCode | None = None, attempt: int = 1) -> Experiment:
    error = None if code is None else Error(code=code, message="why")
    return experiment(
        experiment_id=EXPERIMENT, status=status, error=error, attempt=attempt, node=NODE
    )


async def kinds(archive: Archive) -> list[str]:
    return [row.notification.kind for row in await archive.outbox.waiting()]


@pytest.mark.parametrize("code", [ErrorCode.INTERRUPTED, ErrorCode.ESTOP, ErrorCode.HARDWARE])
async def test_an_interruption_is_told_once_whatever_its_error(
    archive: Archive, code: ErrorCode
) -> None:
    await Node(archive).record(phase("interrupted"))
    await archive.finish(ended(Status.FAILED, code))
    assert await kinds(archive) == ["interrupted"]


async def test_a_later_attempt_that_fails_is_told_too(archive: Archive) -> None:
    await Node(archive).record(phase("interrupted"), phase("finished", attempt=2))
    await archive.finish(ended(Status.FAILED, ErrorCode.SCRIPT_FAILED, attempt=2))
    assert await kinds(archive) == ["interrupted", "failed"]


async def test_what_failed_with_its_reactor_is_told_once(archive: Archive) -> None:
    await archive.finish(ended(Status.FAILED, ErrorCode.INTERRUPTED))  # it was declared dead
    assert await kinds(archive) == ["failed"]
    await Node(archive).record(phase("interrupted"))  # it came back
    assert await kinds(archive) == ["failed"]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (ended(Status.RUNNING), "runs there."),
        (ended(Status.PAUSED), "is paused there."),
        (ended(Status.COMPLETED), "ran there."),
        (ended(Status.FAILED), "ran there."),
        (ended(Status.RUNNING, attempt=2), "ran there."),
        (ended(Status.RUNNING).model_copy(update={"node": "reactor-2"}), "ran there."),
        (ended(Status.QUEUED).model_copy(update={"node": None}), "ran there."),
    ],
)
async def test_an_alarm_says_of_its_experiment_what_is_so(
    archive: Archive, now: Experiment, said: str
) -> None:
    await Node(archive).record(event(1.0, "alarm", message="It is too hot."))
    [row] = await archive.outbox.waiting()
    told = named(row.notification, now)
    assert told.message == f"It is too hot. Growth 1 of alice {said}"
    assert (told.name, told.owner, told.status) == ("Growth 1", "alice", now.status)
