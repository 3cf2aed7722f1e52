"""Positions, and what is told to people."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from broker.messages import Posture
from hub_service.queue import views
from hub_service.queue.durations import Durations
from hub_service.queue.estimates import forecasts
from hub_service.queue.events import (
    CancelAsked,
    NodeOffered,
    NodePresence,
    NodeReported,
    PauseAsked,
    PostureAsked,
)
from hub_service.queue.reasons import detail
from hub_service.queue.state import Offer
from tests.unit.hub_service.builders import IMAGES, T0, Desk, boot, report, ulid


def test_what_is_told_of_one_that_waits() -> None:
    desk = Desk().submit(1)
    entry = desk.entry(1)
    assert detail(desk.state, entry) == "no reactor has said yet what it offers"
    desk.node(accepts=False)
    assert detail(desk.state, entry) == ""
    desk.do(NodePresence("reactor-1", boot(1), online=False))
    assert "offline" in detail(desk.state, entry)
    desk.do(PostureAsked(Posture.DRAINING, "eve"))
    assert "draining" in detail(desk.state, entry)


def test_what_is_told_of_one_whose_reactor_is_awaited() -> None:
    desk = Desk().node().submit(1)
    desk.says(1, "accepted", "executing")
    assert detail(desk.state, desk.entry(1)) == ""
    desk.do(CancelAsked(ulid(1), "ada"))
    assert detail(desk.state, desk.entry(1)) == (
        f"waiting for the reactor since {desk.now:%H:%M} UTC"
    )
    desk.says(1, "stopping")
    assert detail(desk.state, desk.entry(1)) == ""


def test_the_queue_as_everybody_sees_it() -> None:
    desk = Desk().submit(1, 2, 3).node().submit(4, user="web:somebodyelse")
    desk.says(1, "accepted", "executing")
    desk.do(PauseAsked(ulid(2)))
    starts = forecasts(desk.state, desk.now, Durations())
    queue = views.queue(desk.state, starts, views.positions(desk.state))
    assert (queue.total_queued, queue.total_running, queue.total_paused) == (2, 1, 1)
    assert [e.position for e in queue.waiting] == [None, 1, 2]
    assert [e.experiment_id for e in queue.running] == [ulid(1)]
    shown = views.experiment(desk.state, desk.entry(3), 1)
    assert (shown.queue_position, shown.owner, shown.revision) == (1, "ada", desk.state.revision)


def needing(**more: Any) -> str:
    desk = Desk().submit(1, **more)
    desk.node("a", frozenset({"od", "media"})).node("b", frozenset({"od", "waste"}))
    return detail(desk.state, desk.entry(1))


def test_what_no_reactor_has_is_named() -> None:
    assert needing(needs=("co2",)) == "needs co2: no reactor has it"
    assert needing(needs=("co2", "od", "ph")) == "needs co2, ph: no reactor has them"
    assert needing(needs=("media", "waste")).startswith("no single reactor")
    assert needing(image="gpu") == "needs the image gpu: no reactor has it"
    assert needing(packages=("torch",)) == "imports torch: no reactor has it"
    assert needing(node="b", needs=("media",)) == "needs media: b does not have it"
    assert needing(node="c") == "it waits for c: there is no such reactor now"


def test_a_reactor_that_loses_a_channel_is_told_to_those_who_wait_for_it() -> None:
    desk = Desk().node(accepts=False).submit(1, needs=("media",))
    assert detail(desk.state, desk.entry(1)) == ""
    desk.do(NodeOffered("reactor-1", Offer(frozenset({"od"}), IMAGES)))
    assert detail(desk.state, desk.entry(1)) == "needs media: no reactor has it"
    shown = views.queue(desk.state, {}, views.positions(desk.state))
    assert shown.waiting[0].detail == "needs media: no reactor has it"


def test_a_reactor_that_is_away_is_said_to_be_since_it_was_last_heard() -> None:
    desk = Desk().submit(1).node()
    desk.says(1, "accepted", "executing")
    last = T0 + timedelta(minutes=5)
    desk.do(NodeReported("reactor-1", report(running=(ulid(1), 1), at=last)))
    assert views.experiment(desk.state, desk.entry(1)).unreachable_since is None
    # a last will says when the node connected, long before
    desk.do(NodePresence("reactor-1", boot(1), online=False, since=T0))
    shown = views.experiment(desk.state, desk.entry(1))
    assert (shown.status, shown.unreachable_since) == ("running", last)
    assert shown.phase_detail == (
        f"reactor-1 is unreachable since {last:%Y-%m-%d %H:%M} UTC; it may well be running on"
    )
    assert views.queue(desk.state, {}, {}).running[0].unreachable_since == last
    desk.do(CancelAsked(ulid(1), "ada"))
    assert "it is told to stop when it is back" in detail(desk.state, desk.entry(1))
    desk.do(NodePresence("reactor-1", boot(1), online=True, since=desk.now))
    assert views.experiment(desk.state, desk.entry(1)).unreachable_since is None


def test_a_reactor_that_was_not_heard_of_in_this_life_of_the_hub() -> None:
    desk = Desk().submit(1).node()
    desk.says(1, "accepted", "executing")
    desk.state = replace(desk.state, nodes={})
    shown = views.experiment(desk.state, desk.entry(1))
    assert "nothing was heard of reactor-1" in shown.phase_detail


def test_a_run_that_is_dated_before_its_submission_says_so() -> None:
    desk = Desk().submit(1).node()
    desk.says(1, "accepted", "executing", at=T0 - timedelta(seconds=30))
    assert views.experiment(desk.state, desk.entry(1)).warnings == ()  # clocks may differ
    desk.says(1, "finished", at=T0 - timedelta(days=2000), outcome="completed")
    shown = views.experiment(desk.state, desk.entry(1))
    [warning] = shown.warnings
    assert "the clock of reactor-1 was wrong" in warning
