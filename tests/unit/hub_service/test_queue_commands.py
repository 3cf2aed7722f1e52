"""The table of commands and states, row by row."""

from datetime import timedelta

import pytest

from broker.messages import MAX_EXCEPTIONS, ErrorCode, Phase, Posture, Status
from hub_service.queue.events import (
    CancelAsked,
    Event,
    LimitsAsked,
    MoveAsked,
    PauseAsked,
    PostureAsked,
    ResumeAsked,
    RunNowAsked,
    SendAsked,
    Submitted,
    Ticked,
)
from tests.unit.hub_service.builders import Desk, ended, outcome, plan, ulid

ONE = ulid(1)


def waiting() -> Desk:
    return Desk().submit(1, 2, 3)


def held() -> Desk:
    desk = waiting()
    desk.do(PauseAsked(ONE))
    return desk


def running() -> Desk:
    desk = Desk().submit(1, 2, 3).node()
    desk.says(1, "accepted", "executing")
    return desk


def frozen() -> Desk:
    desk = running()
    desk.do(PauseAsked(ONE))
    desk.says(1, "paused")
    return desk


def over() -> Desk:
    desk = running()
    desk.says(1, "released", "finished", outcome="completed", exit_code=0)
    return desk


COMMANDS: dict[str, Event] = {
    "pause": PauseAsked(ONE),
    "resume": ResumeAsked(ONE),
    "cancel": CancelAsked(ONE, "ada"),
    "move": MoveAsked(ONE, position=3),
    "run-now": RunNowAsked(ONE, "ada"),
}


@pytest.mark.parametrize(
    ("command", "state", "answer", "status"),
    [
        ("pause", waiting, "done", "paused"),
        ("pause", held, "unchanged", "paused"),
        ("pause", running, "accepted", "running"),
        ("pause", frozen, "unchanged", "paused"),
        ("pause", over, "WRONG_STATE", "completed"),
        ("resume", waiting, "WRONG_STATE", "queued"),
        ("resume", held, "done", "queued"),
        ("resume", running, "WRONG_STATE", "running"),
        ("resume", frozen, "accepted", "paused"),
        ("resume", over, "WRONG_STATE", "completed"),
        ("cancel", waiting, "done", "cancelled"),
        ("cancel", held, "done", "cancelled"),
        ("cancel", running, "accepted", "running"),
        ("cancel", frozen, "accepted", "paused"),
        ("cancel", over, "WRONG_STATE", "completed"),
        ("move", waiting, "done", "queued"),
        ("move", held, "done", "paused"),
        ("move", running, "WRONG_STATE", "running"),
        ("move", frozen, "WRONG_STATE", "paused"),
        ("move", over, "WRONG_STATE", "completed"),
        ("run-now", waiting, "done", "queued"),
        ("run-now", held, "done", "queued"),
        ("run-now", running, "WRONG_STATE", "running"),
        ("run-now", frozen, "WRONG_STATE", "paused"),
        ("run-now", over, "WRONG_STATE", "completed"),
    ],
)
def test_the_command_table(command: str, state: object, answer: str, status: str) -> None:
    assert callable(state)
    desk = state()
    before = desk.state
    decision = desk.do(COMMANDS[command])
    assert outcome(decision) == answer
    assert desk.entry(1).status == status
    if answer == "WRONG_STATE":
        assert desk.state is before
        assert decision.refusal is not None
        assert decision.refusal.hint


def test_an_unknown_experiment_is_not_found() -> None:
    for command in COMMANDS.values():
        assert outcome(Desk().do(command)) == "NOT_FOUND"


def test_five_per_user_count_queued_running_and_paused() -> None:
    desk = Desk().node().submit(1, 2, 3, 4, 5)
    desk.do(PauseAsked(ulid(3)))
    decision = desk.do(Submitted(plan(6)))
    assert outcome(decision) == ErrorCode.USER_LIMIT
    assert decision.refusal is not None
    assert "5" in decision.refusal.message
    desk.submit(7, user="web:somebodyelse")
    desk.do(CancelAsked(ulid(2), "ada"))
    desk.submit(8)
    assert outcome(desk.do(Submitted(plan(9)))) == ErrorCode.USER_LIMIT


def test_a_finished_experiment_gives_its_place_in_the_quota_back() -> None:
    desk = over().submit(4, 5, 6)
    assert outcome(desk.do(Submitted(plan(7)))) == ErrorCode.USER_LIMIT


def test_limits_change_while_the_hub_runs() -> None:
    desk = Desk().submit(1, 2)
    assert outcome(desk.do(LimitsAsked(per_user=2))) == "done"
    assert outcome(desk.do(LimitsAsked(per_user=2))) == "unchanged"
    assert outcome(desk.do(Submitted(plan(3)))) == ErrorCode.USER_LIMIT
    desk.do(LimitsAsked(per_user=3))
    desk.submit(3)
    assert desk.state.limits.max_pause == 86400.0


def test_the_queue_takes_a_bounded_number() -> None:
    desk = Desk()
    desk.do(LimitsAsked(per_user=1000))
    desk.submit(*range(1, 1001))
    decision = desk.do(Submitted(plan(1001, "mqtt:bob")))
    assert outcome(decision) == ErrorCode.LIMIT


def test_a_paused_one_keeps_its_rank_without_a_position() -> None:
    desk = held()
    assert desk.state.position(ONE) is None
    assert [desk.state.position(ulid(n)) for n in (2, 3)] == [1, 2]
    desk.do(ResumeAsked(ONE))
    assert [desk.state.position(ulid(n)) for n in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("event", "order"),
    [
        (MoveAsked(ONE, position=2), [2, 1, 3, 4]),
        (MoveAsked(ONE, position=4), [2, 3, 4, 1]),
        (MoveAsked(ONE, position=99), [2, 3, 4, 1]),
        (MoveAsked(ulid(4), position=1), [4, 1, 2, 3]),
        (MoveAsked(ulid(4), before=ulid(2)), [1, 4, 2, 3]),
        (MoveAsked(ONE, after=ulid(3)), [2, 3, 1, 4]),
    ],
)
def test_move(event: MoveAsked, order: list[int]) -> None:
    desk = Desk().submit(1, 2, 3, 4)
    assert outcome(desk.do(event)) == "done"
    assert desk.waiting() == order


def test_a_position_counts_queued_ones_only() -> None:
    desk = Desk().submit(1, 2, 3, 4)
    desk.do(PauseAsked(ulid(1)))
    desk.do(MoveAsked(ulid(4), position=2))
    assert desk.waiting() == [1, 2, 4, 3]
    assert desk.state.position(ulid(4)) == 2


def test_a_move_to_where_it_stands_changes_nothing() -> None:
    desk = Desk().submit(1, 2)
    before = desk.state
    for event in (
        MoveAsked(ONE, position=1), MoveAsked(ONE, before=ulid(2)), MoveAsked(ONE, after=ONE),
    ):  # fmt: skip
        assert outcome(desk.do(event)) == "unchanged"
    assert desk.state.revision == before.revision


def test_a_move_wants_exactly_one_place() -> None:
    desk = Desk().submit(1, 2)
    for event in (MoveAsked(ONE), MoveAsked(ONE, position=1, before=ulid(2))):
        assert outcome(desk.do(event)) == ErrorCode.MALFORMED
    assert outcome(desk.do(MoveAsked(ONE, before=ulid(7)))) == ErrorCode.NOT_FOUND


def test_where_others_must_not_be_put_back_a_move_stays_among_ones_own() -> None:
    desk = Desk().submit(1).submit(2, user="mqtt:bob").submit(3, 4)
    assert outcome(desk.do(MoveAsked(ulid(4), position=1, user="mqtt:ada"))) == ErrorCode.FORBIDDEN
    assert outcome(desk.do(MoveAsked(ulid(4), before=ulid(3), user="mqtt:ada"))) == "done"
    assert outcome(desk.do(MoveAsked(ulid(1), position=4, user="mqtt:ada"))) == "done"
    assert desk.waiting() == [2, 4, 3, 1]


def test_cancelling_what_runs_waits_for_the_nodes_evidence() -> None:
    desk = running()
    desk.do(CancelAsked(ONE, "bob"))
    assert (desk.entry(1).status, desk.entry(1).phase) == (Status.RUNNING, Phase.STOPPING)
    assert outcome(desk.do(CancelAsked(ONE, "bob"))) == "unchanged"
    assert outcome(desk.do(PauseAsked(ONE))) == ErrorCode.WRONG_STATE
    assert outcome(desk.do(ResumeAsked(ONE))) == ErrorCode.WRONG_STATE
    desk.says(1, "stopping", "released")
    assert outcome(desk.do(CancelAsked(ONE, "bob"))) == "unchanged"
    assert outcome(desk.do(PauseAsked(ONE))) == ErrorCode.WRONG_STATE
    decision = desk.says(1, "finished", outcome="cancelled", exit_code=-15)
    assert ended(decision) == [ONE]
    finish = desk.entry(1).finish
    assert desk.entry(1).status is Status.CANCELLED
    assert finish is not None
    assert finish.error is not None
    assert finish.error.code is ErrorCode.CANCELLED
    assert "bob" in finish.error.message


def test_a_script_that_ended_before_the_stop_arrived_keeps_its_true_outcome() -> None:
    desk = running()
    desk.do(CancelAsked(ONE, "ada"))
    desk.says(1, "released", "finished", outcome="completed", exit_code=0)
    assert desk.entry(1).status is Status.COMPLETED
    finish = desk.entry(1).finish
    assert finish is not None
    assert finish.error is None


def test_a_pause_may_be_taken_back_before_the_node_followed_it() -> None:
    desk = running()
    desk.do(PauseAsked(ONE))
    assert desk.entry(1).phase is Phase.PAUSING
    assert outcome(desk.do(ResumeAsked(ONE))) == "accepted"
    assert desk.entry(1).phase is Phase.EXECUTING


def test_pause_and_resume_of_a_running_one() -> None:
    desk = frozen()
    assert (desk.entry(1).status, desk.entry(1).phase) == (Status.PAUSED, Phase.FROZEN)
    desk.do(ResumeAsked(ONE))
    assert (desk.entry(1).status, desk.entry(1).phase) == (Status.PAUSED, Phase.RESUMING)
    assert outcome(desk.do(ResumeAsked(ONE))) == "unchanged"
    desk.says(1, "resumed")
    assert (desk.entry(1).status, desk.entry(1).phase) == (Status.RUNNING, Phase.EXECUTING)


def test_a_pause_of_a_running_one_ends_in_a_stop() -> None:
    desk = frozen()
    desk.do(Ticked(), 86000)
    assert desk.entry(1).want == "pause"
    desk.do(Ticked(), 1000)
    entry = desk.entry(1)
    assert entry.want == "stop"
    assert entry.stop_error is not None
    assert entry.stop_error.code is ErrorCode.TIMEOUT
    assert entry.status is Status.PAUSED  # until the node says otherwise


def test_a_nodes_wrong_clock_does_not_end_a_pause() -> None:
    desk = running()
    desk.do(PauseAsked(ONE))
    desk.says(1, "paused", at=desk.now - timedelta(days=2000))
    desk.do(Ticked(), 60)
    assert desk.entry(1).want == "pause"


def test_run_now_names_a_reactor_and_stops_what_runs_there_only_if_told_to() -> None:
    desk = running().submit(4)
    four = ulid(4)
    assert outcome(desk.do(RunNowAsked(four, "eve", node="reactor-1"))) == "done"
    assert desk.waiting() == [4, 2, 3]
    assert desk.entry(1).want == "run"
    decision = desk.do(RunNowAsked(ulid(3), "eve", stop_running=True))
    assert outcome(decision) == "done"
    assert desk.waiting() == [3, 4, 2]
    assert desk.entry(1).want == "stop"
    reason = desk.entry(1).stop_error
    assert reason is not None
    assert "eve" in reason.message
    desk.says(1, "stopping", "released", "finished", outcome="cancelled")
    desk.node(seen=2)
    assert desk.entry(3).node == "reactor-1"


def test_run_now_refuses_a_reactor_that_does_not_suit() -> None:
    desk = Desk().node().submit(1, needs=("ph",)).submit(2, node="reactor-7")
    assert (
        outcome(desk.do(RunNowAsked(ONE, "eve", node="reactor-1"))) == ErrorCode.NO_SUITABLE_REACTOR
    )
    assert outcome(desk.do(RunNowAsked(ONE, "eve", node="reactor-9"))) == ErrorCode.NOT_FOUND
    decision = desk.do(RunNowAsked(ulid(2), "eve", node="reactor-1"))
    assert decision.refusal is not None
    assert "reactor-7" in decision.refusal.message


def test_run_now_asks_which_reactor_where_several_are_busy() -> None:
    desk = Desk().node().node("reactor-2").submit(1, 2, 3)
    decision = desk.do(RunNowAsked(ulid(3), "eve", stop_running=True))
    assert outcome(decision) == ErrorCode.MALFORMED
    assert decision.refusal is not None
    assert "reactor-1, reactor-2" in decision.refusal.hint
    desk.do(RunNowAsked(ulid(3), "eve", node="reactor-2", stop_running=True))
    assert [desk.entry(n).want for n in (1, 2)] == ["run", "stop"]


def test_send_changes_parameters_of_what_runs() -> None:
    desk = running()
    assert outcome(desk.do(SendAsked(ONE, {"target": 2.0}))) == "accepted"
    assert outcome(desk.do(SendAsked(ONE, {"target": 2.0}))) == "unchanged"
    assert desk.entry(1).plan.parameters == {"target": 2.0}
    assert outcome(desk.do(SendAsked(ulid(2), {"target": 2.0}))) == ErrorCode.WRONG_STATE


def test_send_overwrites_nothing_that_its_sender_has_not_seen() -> None:
    desk = running()
    desk.do(SendAsked(ONE, {"target": 2.0}))
    late = SendAsked(ONE, {"target": 3.0}, expected={"target": 0.5})
    assert outcome(desk.do(late)) == ErrorCode.CHANGED_MEANWHILE
    assert desk.entry(1).plan.parameters == {"target": 2.0}
    assert outcome(desk.do(SendAsked(ONE, {"target": 3.0}, {"target": 2.0}))) == "accepted"


def test_postures() -> None:
    desk = Desk().submit(1)
    assert outcome(desk.do(PostureAsked(Posture.PAUSED, "eve"))) == "done"
    assert outcome(desk.do(PostureAsked(Posture.PAUSED, "eve"))) == "unchanged"
    desk.node()
    assert desk.entry(1).status is Status.QUEUED
    desk.do(PostureAsked(Posture.RUNNING, "eve"))
    assert desk.entry(1).status is Status.RUNNING
    desk.submit(2)
    desk.do(PostureAsked(Posture.DRAINING, "eve"))
    desk.says(1, "accepted", "executing", "released", "finished", outcome="completed")
    desk.node(seen=2)
    assert desk.entry(2).status is Status.QUEUED


def test_order_is_the_hubs_own_counter_and_never_a_clock() -> None:
    desk = Desk().submit(3, 1)
    desk.now -= timedelta(days=1)
    desk.submit(2)
    assert [e.id for e in desk.state.waiting()] == [ulid(3), ulid(1), ulid(2)]


def test_a_move_by_an_order_that_was_changed_meanwhile_moves_nothing() -> None:
    desk = Desk().submit(1, 2, 3)
    first = desk.do(MoveAsked(ulid(3), before=ulid(1), by="ada", known=0))
    assert (outcome(first), desk.waiting(), desk.state.moves) == ("done", [3, 1, 2], 1)
    stale = desk.do(MoveAsked(ulid(2), before=ulid(3), by="ben", known=0))
    assert stale.refusal is not None
    assert stale.refusal.code is ErrorCode.CHANGED_MEANWHILE
    assert "ada moved “experiment 3”" in stale.refusal.message
    assert desk.waiting() == [3, 1, 2]
    again = desk.do(MoveAsked(ulid(2), before=ulid(3), by="ben", known=1))
    assert (outcome(again), desk.waiting(), desk.state.moves) == ("done", [2, 3, 1], 2)


def test_only_people_change_the_order() -> None:
    desk = Desk().submit(1, 2, 3)
    desk.do(MoveAsked(ulid(1), position=1, by="ada"))  # where it stands
    desk.do(CancelAsked(ulid(2), "ada"))
    desk.node()  # takes the first
    assert desk.state.moves == 0
    desk.submit(4).do(RunNowAsked(ulid(4), "ada"))
    assert desk.state.moved is not None
    assert (desk.state.moved.by, desk.state.moved.experiment_id) == ("ada", ulid(4))
    assert desk.state.moves == 1


def test_run_now_stops_only_what_its_asker_agreed_to_stop() -> None:
    desk = running()
    decision = desk.do(RunNowAsked(ulid(2), "ada", "reactor-1", stop_running=True, stops=ulid(9)))
    assert decision.refusal is not None
    assert decision.refusal.code is ErrorCode.CHANGED_MEANWHILE
    assert "experiment 1" in decision.refusal.message
    assert desk.entry(1).want == "run"
    assert desk.waiting() == [2, 3]
    agreed = desk.do(RunNowAsked(ulid(2), "ada", "reactor-1", stop_running=True, stops=ONE))
    assert outcome(agreed) == "done"
    assert desk.entry(1).want == "stop"


def test_a_user_may_have_a_limit_of_their_own() -> None:
    desk = Desk()
    desk.do(LimitsAsked(per_user=1, user="mqtt:ada"))
    assert desk.state.limits.per_user == 5
    desk.submit(1)
    assert outcome(desk.do(Submitted(plan(2)))) == ErrorCode.USER_LIMIT
    desk.submit(3, 4, user="mqtt:ben")
    desk.do(LimitsAsked(user="mqtt:ada"))
    assert desk.state.limits.exceptions == {}
    desk.submit(5)
    for number in range(MAX_EXCEPTIONS):
        desk.do(LimitsAsked(per_user=2, user=f"mqtt:u{number}"))
    assert outcome(desk.do(LimitsAsked(per_user=2, user="mqtt:more"))) == ErrorCode.LIMIT
    assert outcome(desk.do(LimitsAsked(per_user=3, user="mqtt:u7"))) == "done"


def test_the_queue_says_why_it_is_paused() -> None:
    desk = waiting()
    desk.do(PostureAsked(Posture.PAUSED, "ada", "the autoclave is broken"))
    assert desk.state.posture_reason == "the autoclave is broken (by ada)"
