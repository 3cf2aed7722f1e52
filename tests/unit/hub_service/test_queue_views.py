"""Positions, estimates, and what is told to people."""

from datetime import timedelta

from broker.messages import Posture
from hub_service.queue import views
from hub_service.queue.events import CancelAsked, NodePresence, PauseAsked, PostureAsked
from tests.unit.hub_service.builders import Desk, boot, ulid


def estimated(desk: Desk) -> dict[int, float]:
    """Seconds until each estimated start, by number."""
    starts = views.estimates(desk.state, desk.now)
    return {
        desk.state.entries[i].number: (at - desk.now).total_seconds() for i, at in starts.items()
    }


def test_an_honest_nothing_where_nothing_is_known() -> None:
    desk = Desk().submit(1, 2)
    assert estimated(desk) == {}
    desk.node()
    assert estimated(desk) == {}  # 1 runs, nobody knows how long


def test_declared_durations_add_up_in_real_seconds() -> None:
    desk = Desk().submit(1, 2, 3, max_duration=600.0).node(speed=10.0)
    desk.says(1, "accepted", "executing")
    assert estimated(desk) == {2: 59.0, 3: 119.0}


def test_the_last_duration_of_the_same_script_is_better_than_the_declared_one() -> None:
    desk = Desk().submit(1, max_duration=600.0).node()
    desk.says(1, "accepted", "executing")
    desk.now += timedelta(seconds=98)
    desk.says(1, "released", "finished", outcome="completed")
    desk.node(seen=3).submit(2, 3, max_duration=600.0)
    desk.says(2, "accepted", "executing")
    assert estimated(desk) == {3: 98.0}


def test_several_reactors_share_the_queue() -> None:
    desk = Desk().submit(1, 2, 3, 4, max_duration=600.0).node("a").node("b")
    desk.says(1, "accepted", "executing", node="a")
    desk.says(2, "accepted", "executing", node="b")
    starts = estimated(desk)
    assert set(starts) == {3, 4}
    assert starts[3] < starts[4] < 601


def test_one_unknown_duration_hides_all_that_depend_on_it() -> None:
    desk = Desk().submit(1, max_duration=600.0).submit(2).submit(3, max_duration=600.0).node()
    desk.says(1, "accepted", "executing")
    assert set(estimated(desk)) == {2}


def test_nothing_is_promised_while_nothing_starts() -> None:
    desk = Desk().submit(1, 2, max_duration=600.0).node()
    desk.says(1, "accepted", "executing")
    assert set(estimated(desk)) == {2}
    desk.do(PostureAsked(Posture.PAUSED, "eve"))
    assert estimated(desk) == {}


def test_an_outlived_estimate_is_withdrawn() -> None:
    desk = Desk().submit(1, 2, max_duration=600.0).node()
    desk.says(1, "accepted", "executing")
    desk.now += timedelta(seconds=601)
    assert estimated(desk) == {}


def test_what_is_told_of_one_that_waits() -> None:
    desk = Desk().submit(1)
    entry = desk.entry(1)
    assert "no reactor" in views.detail(desk.state, entry)
    desk.node(accepts=False)
    assert views.detail(desk.state, entry) == ""
    desk.do(NodePresence("reactor-1", boot(1), online=False))
    assert "offline" in views.detail(desk.state, entry)
    desk.do(PostureAsked(Posture.DRAINING, "eve"))
    assert "draining" in views.detail(desk.state, entry)


def test_what_is_told_of_one_whose_reactor_is_awaited() -> None:
    desk = Desk().node().submit(1)
    desk.says(1, "accepted", "executing")
    assert views.detail(desk.state, desk.entry(1)) == ""
    desk.do(CancelAsked(ulid(1), "ada"))
    assert views.detail(desk.state, desk.entry(1)) == (
        f"waiting for the reactor since {desk.now:%H:%M} UTC"
    )
    desk.says(1, "stopping")
    assert views.detail(desk.state, desk.entry(1)) == ""


def test_the_queue_as_everybody_sees_it() -> None:
    desk = Desk().submit(1, 2, 3).node().submit(4, user="web:somebodyelse")
    desk.says(1, "accepted", "executing")
    desk.do(PauseAsked(ulid(2)))
    queue = views.queue(
        desk.state, views.estimates(desk.state, desk.now), views.positions(desk.state)
    )
    assert (queue.total_queued, queue.total_running, queue.total_paused) == (2, 1, 1)
    assert [e.position for e in queue.waiting] == [None, 1, 2]
    assert [e.experiment_id for e in queue.running] == [ulid(1)]
    shown = views.experiment(desk.state, desk.entry(3), 1)
    assert (shown.queue_position, shown.owner, shown.revision) == (1, "ada", desk.state.revision)
