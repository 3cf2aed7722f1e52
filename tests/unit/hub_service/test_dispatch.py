"""The queue's intents as assignments."""

from broker.messages import ErrorCode, RunLimits
from hub_service.dispatch import assignment, script_of
from hub_service.queue.events import CancelAsked, NodePresence, PauseAsked
from tests.unit.hub_service.builders import OTHER_STORE, STORE, Desk, boot, ulid

LIMITS = RunLimits(memory=64 * 1024**2)


def test_a_run_carries_all_that_the_node_needs() -> None:
    desk = Desk().node().submit(1, max_duration=60.0, max_silence=5.0, parameters={"a": 1})
    assert script_of(desk.state, "reactor-1") == "a" * 64
    told = assignment(desk.state, "reactor-1", LIMITS, "print(1)")
    assert told is not None
    assert (told.desired, told.experiment_id, told.attempt) == ("run", ulid(1), 1)
    assert (told.revision, told.store_id, told.generation) == (2, STORE, 1)
    assert (told.script, told.script_sha256) == ("print(1)", "a" * 64)
    assert (told.name, told.owner, told.parameters) == ("experiment 1", "ada", {"a": 1})
    assert (told.limits.max_duration, told.limits.max_silence) == (60.0, 5.0)
    assert told.limits.memory == LIMITS.memory


def test_the_queues_limit_bounds_what_is_not_declared() -> None:
    desk = Desk().node().submit(1)
    told = assignment(desk.state, "reactor-1", LIMITS, "x")
    assert told is not None
    assert told.limits.max_duration == desk.state.limits.max_duration


def test_a_pause_carries_the_script_too_and_a_stop_its_reason() -> None:
    desk = Desk().node().submit(1)
    desk.do(PauseAsked(ulid(1)))
    assert script_of(desk.state, "reactor-1") == "a" * 64
    desk.do(CancelAsked(ulid(1), "ada"))
    assert script_of(desk.state, "reactor-1") is None
    told = assignment(desk.state, "reactor-1", LIMITS, None)
    assert told is not None
    assert told.stop_reason is not None
    assert (told.desired, told.stop_reason.code) == ("stop", ErrorCode.CANCELLED)
    assert told.script_sha256 is None


def test_idle_names_nothing() -> None:
    desk = Desk().node()
    told = assignment(desk.state, "reactor-1", LIMITS, None)
    assert told is not None
    assert (told.desired, told.experiment_id, told.script) == ("idle", None, None)


def test_nothing_is_said_to_a_node_whose_present_report_is_unread() -> None:
    desk = Desk().node().submit(1)
    desk.do(NodePresence("reactor-1", boot(2), online=True))
    assert assignment(desk.state, "reactor-1", LIMITS, "x") is None
    assert assignment(desk.state, "reactor-9", LIMITS, "x") is None


def test_what_was_found_running_needs_no_script() -> None:
    desk = Desk().node(store=OTHER_STORE, seen=9, running=(ulid(1), 1))
    assert assignment(desk.state, "reactor-1", LIMITS, None) is None
    desk.do(CancelAsked(ulid(1), "eve"))
    told = assignment(desk.state, "reactor-1", LIMITS, None)
    assert told is not None
    assert (told.desired, told.revision) == ("stop", 10)
