"""What is deleted after its time, and what never is."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ulid import ULID

from broker.messages import MAX_KEEP_DAYS, Experiment, Status
from hub_service.archive import Archive, Wanted
from hub_service.retention import JUMP_S, STEADY_S, Retention

NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Clocks:
    """A wall clock and a monotonic one, which go together unless told otherwise."""

    def __init__(self) -> None:
        self.now, self.counted = NOW, 1000.0

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.counted += seconds


class Case:
    def __init__(self, archive: Archive) -> None:
        self.archive, self.clocks = archive, Clocks()
        self.days: int | None = 30
        self.forgotten: list[str] = []
        self.retention = Retention(
            archive,
            keep_days=lambda: self.days,
            forget=self.forgotten.append,
            clock=lambda: self.clocks.now,
            monotonic=lambda: self.clocks.counted,
        )

    async def ended(
        self, days_ago: float, *, took_days: float = 0.0, said: datetime | None = None
    ) -> str:
        """Archive an experiment that ended so long ago, whenever its node says that it did."""
        ended = NOW - timedelta(days=days_ago)
        completed = said or ended
        created = ended - timedelta(days=took_days)
        identity = str(ULID.from_datetime(created))
        await self.archive.finish(
            Experiment(
                experiment_id=identity,
                name="old",
                user="mqtt:ada",
                owner="ada",
                status=Status.COMPLETED,
                revision=1,
                created_at=created,
                completed_at=completed,
                script_sha256="a" * 64,
            ),
            ended,
        )
        return identity

    async def left(self) -> set[str]:
        page, _ = await self.archive.page(Wanted(limit=200))
        return {experiment.experiment_id for experiment in page}


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    archive = Archive.open(tmp_path)
    yield Case(archive)
    archive.close()


async def test_what_ended_long_enough_ago_is_deleted_and_on_record(case: Case) -> None:
    old = await case.ended(31)
    long_run = await case.ended(29, took_days=10)
    new = await case.ended(1)
    case.clocks.pass_(STEADY_S)
    assert await case.retention.look() == 1
    assert await case.left() == {long_run, new}
    assert case.forgotten == [old]
    [entry] = await case.archive.audited(old)
    assert (entry.verb, entry.outcome, entry.details["owner"]) == ("retention", "deleted", "ada")
    case.clocks.pass_(86400)
    case.days = 20
    assert await case.retention.look() == 1
    assert await case.left() == {new}


async def test_a_nodes_clock_deletes_nothing_early(case: Case) -> None:
    fresh = await case.ended(0, took_days=40, said=datetime(2020, 1, 1, tzinfo=UTC))
    case.clocks.pass_(STEADY_S)
    assert await case.retention.look() == 0
    case.clocks.pass_(30 * 86400 - STEADY_S - 1)
    assert await case.retention.look() == 0
    assert await case.left() == {fresh}
    case.clocks.pass_(2)
    assert await case.retention.look() == 1


async def test_a_nodes_clock_that_is_ahead_keeps_nothing_for_ever(case: Case) -> None:
    await case.ended(31, said=datetime(2040, 1, 1, tzinfo=UTC))
    case.clocks.pass_(STEADY_S)
    assert await case.retention.look() == 1


async def test_the_hubs_clock_that_was_behind_deletes_nothing_early(case: Case) -> None:
    fresh = await case.ended(40, said=NOW - timedelta(days=1))
    case.clocks.pass_(STEADY_S)
    assert await case.retention.look() == 0
    assert await case.left() == {fresh}


async def test_what_is_archived_again_came_when_it_first_came(case: Case) -> None:
    old = await case.ended(31)
    [(experiment, _)] = await case.archive.newest(1)
    await case.archive.finish(experiment.model_copy(update={"warnings": ("more",)}), NOW)
    case.clocks.pass_(STEADY_S)
    assert await case.retention.look() == 1
    assert case.forgotten == [old]


async def test_nothing_is_deleted_unless_asked(case: Case) -> None:
    case.days = None
    old = await case.ended(4000)
    case.clocks.pass_(STEADY_S)
    assert await case.retention.look() == 0
    assert await case.left() == {old}


async def test_to_keep_for_longer_than_computers_count_is_to_keep(case: Case) -> None:
    old = await case.ended(3650)
    case.clocks.pass_(STEADY_S)
    case.days = MAX_KEEP_DAYS
    assert await case.retention.look() == 0
    assert await case.retention.due(MAX_KEEP_DAYS) == (0, None)
    assert await case.left() == {old}


async def test_a_clock_that_jumps_deletes_nothing_for_an_hour(case: Case) -> None:
    recent = await case.ended(1)
    case.clocks.pass_(STEADY_S)
    case.clocks.now += timedelta(days=3650)  # a wrong date, which somebody then sets right
    assert await case.retention.look() == 0
    case.clocks.pass_(STEADY_S / 2)
    assert await case.retention.look() == 0
    case.clocks.now -= timedelta(days=3650)
    assert await case.retention.look() == 0
    case.clocks.pass_(STEADY_S)
    assert await case.retention.look() == 0
    assert await case.left() == {recent}


async def test_a_clock_that_is_slowly_set_right_is_believed(case: Case) -> None:
    await case.ended(40)
    case.clocks.pass_(STEADY_S)
    case.clocks.now += timedelta(seconds=JUMP_S / 2)
    assert await case.retention.look() == 1


async def test_an_administrator_who_thinks_better_of_it_stops_it(case: Case) -> None:
    for _ in range(3):
        await case.ended(40)

    def forget(experiment_id: str) -> None:
        case.forgotten.append(experiment_id)
        case.days = None

    case.retention = Retention(
        case.archive,
        keep_days=lambda: case.days,
        forget=forget,
        clock=lambda: case.clocks.now,
        monotonic=lambda: case.clocks.counted,
    )
    case.clocks.pass_(STEADY_S)
    assert await case.retention.look() == 1
    assert len(await case.left()) == 2


async def test_what_would_be_deleted_is_told_before(case: Case) -> None:
    old = [await case.ended(days) for days in (100, 40)]
    await case.ended(10)
    case.days = None
    count, oldest = await case.retention.due(30)
    assert (count, oldest) == (2, NOW - timedelta(days=100))
    assert await case.retention.due(365) == (0, None)
    case.clocks.pass_(STEADY_S)
    case.days = 30
    assert await case.retention.look() == count
    assert set(case.forgotten) == set(old)
