"""Reactors that administrators drain, declare dead and give back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.messages import ErrorCode, Status
from hub_service.queue import Decision
from hub_service.queue.durations import Durations
from hub_service.queue.estimates import forecasts
from hub_service.queue.events import (
    Archived,
    DeclareDeadAsked,
    DrainNodeAsked,
    Listened,
    NodePresence,
    NodeReported,
    ResumeNodeAsked,
    RunNowAsked,
    Ticked,
)
from hub_service.queue.reasons import detail
from hub_service.queue.views import queue
from tests.unit.hub_service.builders import Desk, boot, ended, noted, outcome, report, ulid

ONE = ulid(1)


def running(*, phases: tuple[str, ...] = ("accepted", "executing"), **plan: str) -> Desk:
    """A queue whose first experiment runs on reactor-1, which then goes away."""
    desk = Desk().node().submit(1, **plan)
    desk.says(1, *phases)
    desk.do(NodeReported("reactor-1", report(running=(ONE, 1), seen=1)))
    desk.do(NodePresence("reactor-1", boot(1), online=False), seconds=60)
    return desk


def dead(desk: Desk, *, power_is_off: bool = True) -> Decision:
    return desk.do(DeclareDeadAsked("reactor-1", "eve", power_is_off))


def test_a_drained_reactor_finishes_what_it_runs_and_starts_nothing() -> None:
    desk = Desk().node().submit(1, 2)
    assert outcome(desk.do(DrainNodeAsked("reactor-1", "eve"))) == "done"
    assert outcome(desk.do(DrainNodeAsked("reactor-1", "eve"))) == "unchanged"
    desk.says(1, "accepted", "executing", "released", "finished", exit_code=0)
    assert desk.entry(1).status is Status.COMPLETED
    desk.do(NodeReported("reactor-1", report()))
    assert desk.waiting() == [2]
    assert detail(desk.state, desk.entry(2)) == "reactor-1 is drained: nothing is started there"
    assert forecasts(desk.state, desk.now, Durations()) == {}
    assert queue(desk.state, {}, {}).withheld["reactor-1"].by == "eve"

    assert outcome(desk.do(ResumeNodeAsked("reactor-1", "eve"))) == "done"
    assert desk.entry(2).node == "reactor-1"
    assert outcome(desk.do(ResumeNodeAsked("reactor-1", "eve"))) == "unchanged"


def test_nothing_is_run_now_on_a_drained_reactor() -> None:
    desk = Desk().node().submit(1, 2)
    desk.do(DrainNodeAsked("reactor-1", "eve"))
    asked = RunNowAsked(ulid(2), "eve", "reactor-1", stop_running=True)
    assert outcome(desk.do(asked)) == "WRONG_STATE"
    assert desk.entry(1).want == "run"
    assert outcome(desk.do(RunNowAsked(ulid(2), "eve", None, stop_running=True))) == "MALFORMED"
    desk.node("reactor-2")
    assert desk.entry(2).node == "reactor-2"


def test_unknown_reactors_are_refused() -> None:
    for event in (
        DrainNodeAsked("reactor-9", "eve"),
        ResumeNodeAsked("reactor-9", "eve"),
        DeclareDeadAsked("reactor-9", "eve", power_is_off=True),
    ):
        assert outcome(Desk().node().do(event)) == "NOT_FOUND"


def test_only_a_confirmed_word_declares_dead() -> None:
    desk = running()
    assert outcome(dead(desk, power_is_off=False)) == "CONFIRMATION_REQUIRED"
    assert desk.entry(1).status is Status.RUNNING
    desk.do(NodePresence("reactor-1", boot(1), online=True))
    assert outcome(dead(desk)) == "WRONG_STATE"
    assert desk.entry(1).status is Status.RUNNING


def test_a_hub_that_has_not_listened_yet_declares_nobody_dead() -> None:
    """A request that was kept for it comes before any node's presence was read."""
    desk = running()
    node = replace(
        desk.state.node("reactor-1"), boot_id=None, online=False, heard_at=None, report=None
    )
    desk.state = replace(desk.state.put_node("reactor-1", node), listening=True)
    assert outcome(dead(desk)) == "UNAVAILABLE"
    assert desk.entry(1).status is Status.RUNNING
    desk.do(NodePresence("reactor-1", boot(1), online=True))
    desk.do(Listened())
    assert outcome(dead(desk)) == "WRONG_STATE"
    assert desk.entry(1).status is Status.RUNNING


@pytest.mark.parametrize("leap", [timedelta(days=9), timedelta(days=-9)])
@pytest.mark.parametrize("noticed", [True, False])
def test_a_clock_that_is_set_makes_no_reactor_look_silent(
    leap: timedelta, *, noticed: bool
) -> None:
    """The node may be heard before the hub notices that its clock was set, or after."""
    desk = running()
    if noticed:
        desk.do(NodePresence("reactor-1", boot(1), online=True))
        desk.do(Ticked(leap), leap.total_seconds() + 1)
    else:
        desk.do(NodePresence("reactor-1", boot(1), online=True), leap.total_seconds())
        desk.do(Ticked(leap), 1)
    assert outcome(dead(desk)) == "WRONG_STATE"
    desk.do(Ticked(), 60)
    assert outcome(dead(desk)) == "done"


def test_what_a_dead_reactor_held_has_failed_and_is_not_run_again() -> None:
    desk = running(on_interruption="requeue").submit(2)
    decision = dead(desk)
    assert outcome(decision) == "done"
    assert ended(decision) == [ONE]
    assert noted(decision) == ["given-up"]
    entry = desk.entry(1)
    assert entry.status is Status.FAILED
    assert entry.finish is not None
    assert entry.finish.error is not None
    assert entry.finish.error.code is ErrorCode.INTERRUPTED
    assert "declared dead by eve" in entry.finish.error.message
    assert desk.waiting() == [2]
    assert outcome(dead(desk)) == "unchanged"


def test_an_old_attempt_that_returns_is_stopped_and_said_to_have_returned() -> None:
    desk = running().submit(2)
    dead(desk)
    desk.do(Archived(ONE))
    intent = desk.intent()
    assert intent is not None
    assert (intent.desired, intent.experiment_id, intent.attempt) == ("stop", ONE, 1)

    # The machine was never off: it comes back with its script running.
    desk.do(NodePresence("reactor-1", boot(1), online=True))
    desk.do(NodeReported("reactor-1", report(running=(ONE, 1), seen=1)))
    assert desk.intent() == intent
    assert noted(desk.says(1, "stopping", "released")) == []
    assert noted(desk.says(1, "finished", outcome="cancelled")) == ["returned"]
    assert noted(desk.says(1, "finished", outcome="cancelled")) == []
    desk.do(NodeReported("reactor-1", report(seen=3)))
    assert desk.waiting() == [2]
    desk.do(ResumeNodeAsked("reactor-1", "eve"))
    assert desk.entry(2).node == "reactor-1"


def test_a_dead_reactor_whose_report_is_not_known_is_told_to_stop_all_the_same() -> None:
    desk = running()
    node = replace(desk.state.node("reactor-1"), boot_id=None, online=False, report=None)
    desk.state = desk.state.put_node("reactor-1", node)
    revision = node.revision
    dead(desk)
    intent = desk.intent()
    assert intent is not None
    assert intent.desired == "stop"
    assert desk.state.node("reactor-1").revision == revision + 1


def test_an_outcome_that_was_told_stays_true_without_its_files() -> None:
    desk = running(phases=("accepted", "executing", "released"))
    desk.says(1, "finished", exit_code=0, files_upto=(ulid(1, "EPC"), 9))
    assert desk.entry(1).status is Status.RUNNING
    assert outcome(dead(desk)) == "done"
    entry = desk.entry(1)
    assert entry.status is Status.COMPLETED
    assert entry.finish is not None
    assert (entry.finish.exit_code, entry.finish.error is not None) == (0, True)
