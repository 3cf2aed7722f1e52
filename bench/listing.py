"""How long a page of a list takes, with few and with many finished experiments."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from ulid import ULID

from broker.database import Transaction
from broker.messages import Experiment, SortKey, Status, utc_now
from hub_service.archive import Archive, Wanted
from hub_service.archive.finished import put

FEW: Final = 1000
MANY: Final = 100_000
USERS: Final = 20
ROUNDS: Final = 15
_ME: Final = "web:user00000003"
_WANTED: Final = (
    ("my newest", Wanted(user=_ME)),
    ("mine by duration", Wanted(user=_ME, sort=SortKey.DURATION)),
    ("mine, searched", Wanted(user=_ME, search="foam")),
    ("everybody's by name", Wanted(sort=SortKey.NAME, ascending=True)),
    ("everybody's, searched", Wanted(search="growth 77")),
)


def _finished(count: int) -> list[Experiment]:
    began = utc_now() - timedelta(minutes=5 * count)
    return [
        Experiment(
            experiment_id=str(ULID.from_datetime(at)),
            name=f"Growth {n * 7919 % 1000}",
            user=f"web:user{n % USERS:08}",
            owner="teal-heron",
            status=Status.FAILED if n % 7 == 0 else Status.COMPLETED,
            revision=n,
            created_at=at,
            started_at=at + timedelta(seconds=n * 31 % 997),
            completed_at=at + timedelta(seconds=1000 + n * 7919 % 86400),
            script_sha256="0" * 64,
            note="foam after two hours, antifoam by hand" if n % 3 == 0 else "",
            parameters={"target_od": 0.4},
        )
        for n in range(count)
        for at in (began + timedelta(minutes=5 * n),)
    ]


async def _measure(directory: Path, count: int) -> Sequence[float]:
    """Return the medians of each list in milliseconds."""
    archive = Archive.open(directory)
    experiments = _finished(count)

    def put_all(transaction: Transaction) -> None:
        for experiment in experiments:
            put(transaction.connection, experiment, experiment.created_at)

    await archive._write(put_all)  # noqa: SLF001  one commit each would take minutes
    medians = []
    for _, wanted in _WANTED:
        taken = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            await archive.page(wanted)
            taken.append(time.perf_counter() - start)
        medians.append(statistics.median(taken) * 1e3)
    archive.close()
    return medians


def rows() -> list[tuple[str, float, str, float, str]]:
    """Return what each list takes with many finished experiments, beside few."""
    with tempfile.TemporaryDirectory() as directory:
        few = asyncio.run(_measure(Path(directory, "few"), FEW))
        many = asyncio.run(_measure(Path(directory, "many"), MANY))
    return [
        (f"a page of {MANY}: {name}, p50", slow, "ms", quick, f"the same of {FEW}")
        for (name, _), slow, quick in zip(_WANTED, many, few, strict=True)
    ]
