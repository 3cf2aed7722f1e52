"""Lists of live and archived experiments together: the order, and pages that miss nothing."""

import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from broker.database import open_database
from broker.messages import ContractError, ErrorCode, Experiment, List, SortKey, Status
from hub_service.archive import Archive
from hub_service.archive.archive import DATABASE
from hub_service.archive.finished import words
from hub_service.archive.schema import APPLICATION_ID, MIGRATIONS
from hub_service.listing import listed, wanted_of
from tests.unit.hub_service.archive_entries import T0, experiment
from tests.unit.hub_service.builders import ulid

ME = "mqtt:alice"
NAMES = ("Growth", "growth", "Äpfel", "zeta", "")


def made(chance: random.Random) -> tuple[list[Experiment], list[Experiment]]:
    """Return live and archived experiments, with many equal values among them."""
    both: tuple[list[Experiment], list[Experiment]] = ([], [])
    for n in range(1, 41):
        over = n % 4 != 0
        started = T0 + timedelta(hours=chance.randrange(5)) if chance.random() < 0.7 else None
        ended = T0 + timedelta(hours=6 + chance.randrange(3)) if over else None
        both[over].append(
            experiment(
                n,
                experiment_id=ulid(n),
                user=chance.choice([ME, ME, "mqtt:bob"]),
                name=f"{chance.choice(NAMES)} run",
                note=chance.choice(["", "the Blue\nflask"]),
                status=chance.choice([Status.COMPLETED, Status.FAILED]) if over else Status.QUEUED,
                created_at=T0 + timedelta(minutes=n),
                started_at=started,
                completed_at=ended,
            )
        )
    return both


async def pages(archive: Archive, live: Sequence[Experiment], request: List) -> list[list[str]]:
    found: list[list[str]] = []
    before: str | None = None
    while True:
        wanted = wanted_of(request.model_copy(update={"before": before}), ME)
        page = listed(wanted, live, *(await archive.page(wanted)))
        found.append([e.experiment_id for e in page.experiments])
        before = page.next
        if before is None:
            assert page.total == sum(map(len, found))
            return found


def expected(everything: Sequence[Experiment], request: List) -> list[str]:
    """Return the ids in order, decided the plain way."""

    def key(e: Experiment) -> object:
        match request.sort:
            case SortKey.CREATED:
                return e.experiment_id
            case SortKey.STARTED:
                return e.started_at
            case SortKey.FINISHED:
                return e.completed_at
            case SortKey.DURATION:
                return e.completed_at - e.started_at if e.started_at and e.completed_at else None
            case SortKey.NAME:
                return e.name.casefold()

    wanted = [
        e
        for e in everything
        if (not request.mine or e.user == ME)
        and (not request.status or e.status in request.status)
        and request.search.casefold() in (e.name + "\n" + e.note).casefold()
        and (request.since is None or e.created_at >= request.since)
        and (request.until is None or e.created_at < request.until)
    ]
    known = [e for e in wanted if key(e) is not None]
    rest = [e for e in wanted if key(e) is None]
    turned = not request.ascending
    known.sort(key=lambda e: (key(e), e.experiment_id), reverse=turned)
    rest.sort(key=lambda e: e.experiment_id, reverse=turned)
    return [e.experiment_id for e in (*known, *rest)]


@pytest.mark.parametrize("seed", range(3))
async def test_pages_of_every_order_hold_everything_once(tmp_path: Path, seed: int) -> None:
    archive = Archive.open(tmp_path)
    live, over = made(random.Random(seed))  # noqa: S311  no secret
    for one in over:
        await archive.finish(one)
    variants = (
        List(),
        List(mine=True),
        List(mine=True, status=(Status.COMPLETED, Status.QUEUED)),
        List(search="blue"),
        List(mine=True, search="GROWTH"),
        List(since=T0 + timedelta(minutes=7), until=T0 + timedelta(minutes=31)),
    )
    try:
        for plain in variants:
            for sort in SortKey:
                for ascending in (False, True):
                    order = {"sort": sort, "ascending": ascending, "limit": 7}
                    request = plain.model_copy(update=order)
                    found = await pages(archive, live, request)
                    assert [i for page in found for i in page] == expected([*live, *over], request)
                    assert all(len(page) == 7 for page in found[:-1])
    finally:
        archive.close()


@pytest.mark.parametrize(
    ("before", "sort"),
    [
        ("x", SortKey.CREATED),
        ("bm8=", SortKey.NAME),
        ("WzEuMCwgIngiXQ==", SortKey.STARTED),
        (ulid(1), SortKey.NAME),
        ("WyJhIiwiMDFKTkU1WDZUM005WTJROFI0VjdXMFpBQkMiXQ==", SortKey.STARTED),
    ],
)
def test_a_page_of_another_order_is_refused(before: str, sort: SortKey) -> None:
    with pytest.raises(ContractError) as refused:
        wanted_of(List(before=before, sort=sort), ME)
    assert refused.value.error.code is ErrorCode.MALFORMED


async def test_what_an_older_schema_has_is_listed_like_the_rest(tmp_path: Path) -> None:
    over = [
        experiment(
            n,
            experiment_id=ulid(n),
            name=name,
            started_at=T0 + timedelta(microseconds=999_517 * n),
            completed_at=T0 + timedelta(hours=1, microseconds=500_050_123 // n),
        )
        for n, name in enumerate(("Ärger", "öl", "Äpfel", "Zeta", "alpha", "Öl"), start=1)
    ]
    older = open_database(tmp_path / DATABASE, MIGRATIONS[:3], APPLICATION_ID)
    for one in over:
        older.execute(
            "INSERT INTO finished VALUES (?, ?, ?, ?, ?, 0)",
            (one.experiment_id, one.user, one.status.value, words(one), one.encode().decode()),
        )
        older.execute(
            "INSERT INTO tally VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1",
            (one.user, one.status.value),
        )
    older.close()
    archive = Archive.open(tmp_path)
    try:
        for sort in SortKey:
            for ascending in (False, True):
                request = List(sort=sort, ascending=ascending, limit=2)
                found = await pages(archive, (), request)
                assert [i for page in found for i in page] == expected(over, request)
    finally:
        archive.close()
