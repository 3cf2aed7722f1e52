"""A clock that is set back or forward: order stays, and what is timed lasts as long."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.messages import Actor, Phase, Submit, Submitted
from broker.requests import Asked
from hub_service.archive import Archive, Wanted
from hub_service.desk import Desk as HubDesk
from hub_service.ids import GrowingIds
from hub_service.leaps import Leaps
from hub_service.queue import events, views
from hub_service.queue.events import CancelAsked, NodeReported, PauseAsked, Ticked
from hub_service.queue.nodes import LEDGER_PATIENCE
from hub_service.store import QueueStore
from tests.unit.hub_service.builders import T0, Desk, plan, report, ulid

JUMPS = [timedelta(0), timedelta(days=-400), timedelta(days=300), timedelta(days=-30)]


class Clocks:
    """A wall clock that is set, and one that only grows."""

    def __init__(self) -> None:
        self.wall, self.counted = T0, 0.0

    def pass_(self, seconds: float, leap: timedelta = timedelta(0)) -> None:
        self.wall += timedelta(seconds=seconds) + leap
        self.counted += seconds

    def now(self) -> datetime:
        return self.wall

    def count(self) -> float:
        return self.counted


def test_a_leap_is_told_once_and_slewing_is_none() -> None:
    clocks = Clocks()
    leaps = Leaps(clocks.now, clocks.count)
    clocks.pass_(1.0, timedelta(seconds=0.5))
    assert leaps.since_last() == timedelta(0)
    clocks.pass_(1.0, timedelta(days=-3))
    assert leaps.since_last() == timedelta(days=-3)
    clocks.pass_(1.0)
    assert leaps.since_last() == timedelta(0)


@pytest.mark.parametrize("leap", [timedelta(days=9), timedelta(days=-9)])
def test_a_pause_lasts_as_long_whatever_the_clock_is_set_to(leap: timedelta) -> None:
    desk = Desk().submit(1).node()
    desk.says(1, "accepted", "executing")
    desk.do(PauseAsked(ulid(1)))
    desk.says(1, "paused")
    desk.do(Ticked(), 3600)
    desk.do(Ticked(leap), leap.total_seconds() + 1)
    assert desk.entry(1).want == "pause"
    desk.do(Ticked(), 86400 - 3700)
    assert (desk.entry(1).want, desk.entry(1).phase) == ("pause", Phase.FROZEN)
    desk.do(Ticked(), 200)
    assert desk.entry(1).want == "stop"


def test_a_pause_that_began_by_a_clock_that_was_ahead_ends() -> None:
    """The hub was restarted with its clock set right: what began counts from now."""
    desk = Desk().submit(1).node()
    desk.says(1, "accepted", "executing")
    desk.do(PauseAsked(ulid(1)))
    desk.says(1, "paused")
    desk.do(Ticked(), -1400 * 86400)
    assert desk.entry(1).want == "pause"
    desk.do(Ticked(), 86400 - 100)
    assert desk.entry(1).want == "pause"
    desk.do(Ticked(), 200)
    assert desk.entry(1).want == "stop"


def test_a_pause_ends_where_the_hub_came_back_without_a_clock() -> None:
    """It began by the right clock; a computer without a battery starts in 1970, then asks."""
    desk = Desk().submit(1).node()
    desk.says(1, "accepted", "executing")
    desk.do(PauseAsked(ulid(1)))
    desk.says(1, "paused")
    leap = desk.now - datetime(1970, 1, 1, tzinfo=UTC)
    desk.do(Ticked(), -leap.total_seconds())
    desk.do(Ticked(leap), leap.total_seconds() + 1)
    assert desk.entry(1).want == "pause"
    desk.do(Ticked(), 86400 + 1)
    assert desk.entry(1).want == "stop"


def test_an_end_that_only_the_ledger_tells_is_drawn_by_a_clock_that_was_ahead() -> None:
    desk = Desk().submit(1).node()
    desk.says(1, "accepted", "executing")
    over = [(ulid(1), 1, "finished", "completed")]
    desk.do(NodeReported("reactor-1", report(ledger=over)))
    desk.do(Ticked(), -1400 * 86400)
    desk.do(Ticked(), LEDGER_PATIENCE.total_seconds())
    assert desk.entry(1).outcome == "completed"


async def test_the_order_is_that_of_submission_whatever_the_clock_says(tmp_path: Path) -> None:
    clocks = Clocks()
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    archive = Archive.open(tmp_path / "archive")
    desk = HubDesk(store, archive, clock=clocks.now, changed=lambda: None)
    new_id = GrowingIds(clocks.now)
    ids: list[str] = []

    def tell(_: events.Decision) -> Submitted:
        return Submitted(experiment_id=ids[-1], status="queued", message="")

    for number, jump in enumerate(JUMPS):
        clocks.pass_(60.0, jump)
        ids.append(new_id())
        actor = Actor(user=f"web:user000{number}", name="somebody")
        request = Submit(script="x", id=f"job-{number}", actor=actor)
        asked = Asked("portal", False, "submit", request, str(number), clocks.wall)
        submitted = events.Submitted(replace(plan(number, asked.user), experiment_id=ids[-1]))
        await desk.command(asked, submitted, tell, experiment_id=ids[-1])
    assert ids == sorted(ids)
    assert list(store.state.order) == ids
    assert list(views.positions(store.state)) == ids
    await store.close()
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    desk = HubDesk(store, archive, clock=clocks.now, changed=lambda: None)
    assert list(store.state.order) == ids
    for identity in (ids[2], ids[0], ids[3], ids[1]):
        clocks.pass_(60.0, timedelta(days=-100))
        await desk.learn(CancelAsked(identity, "ada"))
    await desk._archive_ended()
    page, _ = await archive.page(Wanted())
    assert [experiment.experiment_id for experiment in page] == ids[::-1]
    for identity in ids:
        assert [entry.verb for entry in await archive.audited(identity)] == ["submit"]
    archive.close()
    await store.close()
