"""Lists while the hub is away: what is wanted, in the order asked for."""

from datetime import UTC, datetime, timedelta

import pytest

from broker.messages import ContractError, ErrorCode, Experiment, SortKey, Status
from portal.listing import read_page
from portal.sessions import Session

ASKER = Session("web:" + "a" * 32, "teal-heron", admin=False)
MORNING = datetime(2026, 2, 17, 6, tzinfo=UTC)


def experiment(n: int, **fields: object) -> Experiment:
    return Experiment.model_validate(
        {
            "experiment_id": f"01JM9ZQ8E6Y7W5V4T3S2R1Q0P{n}",
            "name": f"run {n}",
            "user": ASKER.user,
            "owner": ASKER.handle,
            "status": "completed",
            "created_at": MORNING + timedelta(hours=n),
            "script_sha256": "0" * 64,
            "revision": 1,
            **fields,
        }
    )


class Away:
    """A hub that does not answer, and the state that the portal has instead."""

    def __init__(self, *known: Experiment) -> None:
        self._known = known

    async def list(self, *_: object, **__: object) -> None:
        raise ContractError(ErrorCode.UNAVAILABLE, "away", "later")

    def experiments(self) -> tuple[Experiment, ...]:
        return self._known


LONG = experiment(
    1, started_at=MORNING, completed_at=MORNING + timedelta(hours=9), note="Pink colonies"
)
SHORT = experiment(2, started_at=MORNING, completed_at=MORNING + timedelta(hours=1), node="r-2")
WAITS = experiment(3, status="queued", name="Another")
THEIRS = experiment(4, user="web:" + "b" * 32)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({}, ["Another", "run 2", "run 1"]),
        ({"mine": False, "limit": 2}, ["run 4", "Another"]),
        ({"status": (Status.QUEUED,)}, ["Another"]),
        ({"search": "pink"}, ["run 1"]),
        ({"node": "r-2"}, ["run 2"]),
        ({"since": MORNING + timedelta(hours=3)}, ["Another"]),
        ({"until": MORNING + timedelta(hours=2)}, ["run 1"]),
        ({"sort": SortKey.DURATION}, ["run 1", "run 2", "Another"]),
        ({"sort": SortKey.DURATION, "ascending": True}, ["run 2", "run 1", "Another"]),
        ({"sort": SortKey.NAME, "ascending": True}, ["Another", "run 1", "run 2"]),
    ],
)
async def test_what_is_published_is_filtered_as_the_hub_would(
    wanted: dict[str, object], names: list[str]
) -> None:
    away = Away(THEIRS, WAITS, SHORT, LONG)
    asked = {"mine": True, "limit": 50, **wanted}
    page = await read_page(away, away, ASKER, **asked)  # type: ignore[arg-type]
    assert [e.name for e in page.experiments] == names
    assert page.total is None


async def test_a_page_after_the_first_is_refused_and_not_shown_twice() -> None:
    away = Away(LONG)
    with pytest.raises(ContractError):
        await read_page(away, away, ASKER, mine=True, limit=50, before="x")  # type: ignore[arg-type]
