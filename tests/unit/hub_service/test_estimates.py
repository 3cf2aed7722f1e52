"""When those that wait will start, and what is honestly not known."""

from datetime import timedelta

from broker.messages import Activity, Phase, Posture
from hub_service.queue.durations import MAX_KEYS, Durations, Length, Taken
from hub_service.queue.estimates import forecasts
from hub_service.queue.events import (
    NodePresence,
    NodeReported,
    PauseAsked,
    PostureAsked,
    ResumeAsked,
)
from tests.unit.hub_service.builders import Desk, boot, plan, report, ulid

SCRIPT = "a" * 64  # of everything that the builders submit
Seconds = float | None


def past(*seconds: float, script: str = SCRIPT, user: str = "mqtt:ada") -> Durations:
    return Durations([Taken(ulid(n), script, user, s) for n, s in enumerate(seconds)])


def expected(desk: Desk, durations: Durations | None = None) -> dict[int, tuple[Seconds, ...]]:
    """Seconds until the earliest, likely and latest start, by number."""

    def left(at: object) -> Seconds:
        return None if at is None else (at - desk.now).total_seconds()  # type: ignore[operator]

    told = forecasts(desk.state, desk.now, durations or Durations())
    return {
        desk.state.entries[i].number: (left(f.earliest), left(f.likely), left(f.latest))
        for i, f in told.items()
    }


def running(*numbers: int, **more: object) -> Desk:
    """One runs since now, the others wait."""
    desk = Desk().submit(*numbers, **more).node()  # type: ignore[arg-type]
    desk.says(numbers[0], "accepted", "executing")
    return desk


def test_an_honest_nothing_where_nothing_is_known() -> None:
    desk = Desk().submit(1, 2)
    assert expected(desk, past(60.0, 70.0)) == {}  # no reactor
    desk = running(1, 2)
    assert expected(desk) == {}


def test_a_bound_is_no_estimate() -> None:
    desk = running(1, 2, max_duration=600.0)
    assert expected(desk) == {2: (None, None, 599.0)}


def test_earlier_runs_of_the_script_give_a_range() -> None:
    desk = running(1, 2, 3)
    assert expected(desk, past(100.0, 130.0, 400.0)) == {
        2: (99.0, 129.0, 399.0),
        3: (199.0, 259.0, 799.0),
    }


def test_one_earlier_run_shows_no_spread() -> None:
    assert expected(running(1, 2), past(100.0)) == {2: (None, 99.0, None)}
    assert expected(running(1, 2, max_duration=600.0), past(100.0)) == {2: (None, 99.0, 599.0)}


def test_the_authors_word_comes_before_earlier_runs_and_these_before_the_users() -> None:
    desk = running(1, 2, duration=300.0)
    assert expected(desk) == {2: (None, 299.0, None)}
    assert expected(desk, past(100.0, 200.0)) == {2: (99.0, 299.0, 299.0)}
    own = past(5.0, 9.0, script="b" * 64)  # of the user's other scripts
    assert expected(desk, own) == {2: (None, 299.0, None)}
    basis = {f.basis for f in forecasts(desk.state, desk.now, past(1.0)).values()}
    assert basis == {"declared"}
    desk = running(1, 2)
    others = Durations([Taken("1", "b" * 64, "mqtt:ada", 50.0), Taken("2", SCRIPT, "x", 80.0)])
    assert expected(desk, others)[2][1] == 79.0
    assert forecasts(desk.state, desk.now, others)[ulid(2)].basis == "script"
    own = past(50.0, script="b" * 64)
    assert forecasts(desk.state, desk.now, own)[ulid(2)].basis == "user"
    assert expected(desk, past(50.0, script="b" * 64, user="mqtt:bob")) == {}


def test_a_run_that_took_longer_than_some_before_is_like_the_longer_ones() -> None:
    desk = running(1, 2)
    desk.now += timedelta(seconds=149)  # it runs for 150 s
    assert expected(desk, past(100.0, 200.0, 300.0)) == {2: (-50.0, 100.0, 150.0)}
    desk.now += timedelta(seconds=160)
    assert expected(desk, past(100.0, 200.0, 300.0)) == {2: (-210.0, None, None)}


def test_lengths_are_of_the_experiments_clock() -> None:
    desk = Desk().submit(1, 2, duration=600.0).node(speed=10.0)
    desk.says(1, "accepted", "executing")
    assert expected(desk)[2] == (None, 59.0, None)


def test_a_forecast_does_not_change_with_each_look() -> None:
    desk = running(1, 2, 3)
    before = forecasts(desk.state, desk.now, past(100.0, 130.0))
    later = forecasts(desk.state, desk.now + timedelta(seconds=7.3), past(100.0, 130.0))
    assert before == later


def test_several_reactors_share_the_queue_in_its_order() -> None:
    desk = Desk().submit(1, duration=600.0).submit(2, duration=100.0).node("a").node("b")
    desk.says(1, "accepted", "executing", node="a")
    desk.says(2, "accepted", "executing", node="b")
    desk.submit(3, duration=50.0).submit(4, duration=50.0, node="a").submit(5, duration=10.0)
    starts = {n: likely for n, (_, likely, _) in expected(desk).items()}
    assert starts[3] is not None
    assert starts[4] is not None
    assert starts[5] is not None
    assert starts[3] < starts[5] < 200.0 < starts[4]
    assert starts[5] - starts[3] == 50.0


def test_one_unknown_length_hides_all_that_depend_on_it() -> None:
    desk = Desk().submit(1, duration=600.0).submit(2).submit(3, duration=600.0).node()
    desk.says(1, "accepted", "executing")
    assert set(expected(desk)) == {2}


def test_needs_decide_whom_an_unknown_length_holds_up() -> None:
    desk = Desk().submit(1, duration=60.0, needs=("co2",)).submit(2)
    desk.node("a").node("b", frozenset({"co2"}))
    desk.says(1, "accepted", "executing", node="b")
    desk.says(2, "accepted", "executing", node="a")
    desk.submit(3, needs=("od",)).submit(4, needs=("co2",))
    assert set(expected(desk)) == {4}


def test_what_is_paused_is_passed_over_and_holds_its_reactor() -> None:
    desk = running(1, 2, 3, duration=100.0)
    desk.do(PauseAsked(ulid(2)))
    assert set(expected(desk)) == {3}
    desk.do(PauseAsked(ulid(1)))
    desk.says(1, "paused")
    assert expected(desk) == {}
    desk.do(ResumeAsked(ulid(1)), seconds=50)
    desk.says(1, "resumed")
    activity = Activity(
        experiment_id=ulid(1), attempt=1, phase=Phase.EXECUTING, since=desk.now, frozen_for=50.0
    )
    said = report(running=(ulid(1), 1)).model_copy(update={"activity": activity})
    before = expected(desk)[3][1]
    desk.do(NodeReported("reactor-1", said), seconds=0)
    after = expected(desk)[3][1]
    assert before is not None
    assert after == before + 50.0


def test_nothing_is_promised_while_nothing_starts_or_the_reactor_is_away() -> None:
    desk = running(1, 2, duration=600.0)
    assert set(expected(desk)) == {2}
    desk.do(NodePresence("reactor-1", boot(1), online=False))
    assert expected(desk) == {}
    desk.do(NodePresence("reactor-1", boot(1), online=True))
    desk.do(PostureAsked(Posture.PAUSED, "eve"))
    assert expected(desk) == {}


def test_what_no_run_can_take_is_not_known() -> None:
    for absurd in (1e12, 1e15, 1e300, float("inf"), float("nan")):
        assert expected(running(1, 2), past(absurd)) == {}
        waiting = Desk().submit(1, 2).node()
        assert set(expected(waiting, past(absurd))) <= {1, 2}
    honest = expected(running(1, 2), past(100.0, 130.0, 1e15))
    assert honest == {2: (99.0, 129.0, None)}
    slow = Desk().submit(1, 2, duration=600.0).node(speed=1e-9)
    slow.says(1, "accepted", "executing")
    assert expected(slow) == {}


def test_a_long_queue_of_long_runs_ends_in_what_is_not_known() -> None:
    year = 365 * 86400.0
    desk = Desk()
    for number in range(1, 31):
        desk.submit(number, user=f"mqtt:{number}", duration=4 * year)
    desk.node().says(1, "accepted", "executing")
    assert set(expected(desk)) == {2, 3}


def test_what_is_remembered_is_bounded_and_the_newest_counts() -> None:
    durations = Durations()
    for number in range(MAX_KEYS + 5):
        durations.add(Taken(str(number), f"{number:064}", f"user {number}", 1.0))
    assert durations.of(plan(1, user="user 4")) == ("user", ())
    assert durations.of(plan(1, user="user 5")) == ("user", (1.0,))
    for number in range(30):
        durations.add(Taken(ulid(number), SCRIPT, "mqtt:ada", 5.0 if number >= 10 else 1.0))
    length = Length.of(plan(1), durations)
    assert (length.least, length.likely, length.most) == (5.0, 5.0, 5.0)


def test_a_run_that_is_told_again_counts_once() -> None:
    durations = past(60.0)
    for _ in range(5):
        durations.add(Taken(ulid(1), SCRIPT, "mqtt:ada", 100.0))
    assert durations.of(plan(1)) == ("script", (60.0, 100.0))
