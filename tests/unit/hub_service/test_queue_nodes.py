"""Placement on several reactors, revisions, and the recovery of a restored or emptied store."""

from broker.messages import Phase, Posture, Status
from hub_service.queue.events import (
    CancelAsked,
    NodeOffered,
    NodePresence,
    NodeReported,
    PauseAsked,
    PostureAsked,
    ResumeAsked,
    SendAsked,
    StoreDoubted,
    Submitted,
)
from hub_service.queue.state import Offer
from tests.unit.hub_service.builders import (
    CHANNELS,
    IMAGES,
    OTHER_STORE,
    STORE,
    Desk,
    boot,
    empty,
    noted,
    outcome,
    plan,
    report,
    ulid,
)

ONE = ulid(1)


def test_an_idle_reactor_takes_the_first_it_satisfies() -> None:
    desk = Desk().submit(1, needs=("ph",)).submit(2, packages=("torch",)).submit(3, node="x")
    desk.submit(4).submit(5)
    desk.node()
    assert desk.entry(4).node == "reactor-1"
    assert desk.waiting() == [1, 2, 3, 5]
    desk.node("x", CHANNELS | {"ph"})
    assert desk.entry(1).node == "x"


def test_the_reactor_that_offers_least_is_taken_first() -> None:
    desk = Desk().node("a", CHANNELS | {"ph"}).node("b").submit(1)
    assert desk.entry(1).node == "b"
    desk.submit(2, needs=("ph",))
    assert desk.entry(2).node == "a"


def test_paused_ones_are_passed_over() -> None:
    desk = Desk().submit(1, 2)
    desk.do(PauseAsked(ONE))
    desk.node()
    assert desk.entry(2).node == "reactor-1"
    assert desk.entry(1).status is Status.PAUSED


def test_an_image_that_a_node_does_not_have_is_not_offered() -> None:
    desk = Desk().node().submit(1, image="special")
    assert desk.entry(1).status is Status.QUEUED


def test_nothing_is_assigned_before_the_present_report_was_read() -> None:
    desk = Desk().submit(1)
    desk.do(NodeOffered("reactor-1", Offer(CHANNELS, IMAGES)))
    desk.do(NodeReported("reactor-1", report(boot_number=1)))  # retained, of who knows when
    assert desk.state.nodes["reactor-1"].revision == 0
    desk.do(NodePresence("reactor-1", boot(2), online=True))
    assert desk.state.nodes["reactor-1"].revision == 0
    assert desk.entry(1).status is Status.QUEUED
    desk.do(NodeReported("reactor-1", report(boot_number=2)))
    assert desk.entry(1).node == "reactor-1"


def test_a_report_that_came_before_its_presence_counts_when_that_comes() -> None:
    desk = Desk(empty(generation=1)).submit(1)
    desk.do(NodeReported("reactor-1", report(store=OTHER_STORE, generation=3)))
    desk.do(NodePresence("reactor-1", boot(1), online=True))
    assert desk.posture() is Posture.RECOVERY


def test_an_offline_or_refusing_node_gets_nothing() -> None:
    desk = Desk().submit(1)
    desk.node(accepts=False)
    assert desk.entry(1).status is Status.QUEUED
    desk.do(NodePresence("reactor-1", boot(1), online=False))
    desk.do(NodeReported("reactor-1", report()))
    assert desk.entry(1).status is Status.QUEUED
    desk.do(NodePresence("reactor-1", boot(1), online=True))
    assert desk.entry(1).status is Status.RUNNING


def test_a_stale_last_will_says_nothing() -> None:
    desk = Desk().node(boot_number=2)
    desk.do(NodePresence("reactor-1", boot(1), online=False))
    assert desk.state.nodes["reactor-1"].online
    desk.do(NodePresence("reactor-1", boot(2), online=False))
    assert not desk.state.nodes["reactor-1"].online


def test_revisions_continue_from_the_higher_of_own_and_seen() -> None:
    desk = Desk().node(seen=41)
    assert desk.state.nodes["reactor-1"].revision == 42
    desk.submit(1)
    assert desk.state.nodes["reactor-1"].revision == 43
    desk.do(NodeReported("reactor-1", report(seen=43)))
    assert desk.state.nodes["reactor-1"].revision == 43
    desk.do(NodeReported("reactor-1", report(seen=50)))
    assert desk.state.nodes["reactor-1"].revision == 51


def test_each_change_of_what_is_desired_is_a_new_revision() -> None:
    desk = Desk().node().submit(1)
    desk.says(1, "accepted", "executing")
    seen = []
    for event in (
        PauseAsked(ONE), SendAsked(ONE, {"a": 1}), SendAsked(ONE, {"a": 1}), CancelAsked(ONE, "ada")
    ):  # fmt: skip
        desk.do(event)
        node = desk.state.nodes["reactor-1"]
        assert node.intent is not None
        seen.append((node.revision, node.intent.desired))
    assert seen == [(3, "pause"), (4, "pause"), (4, "pause"), (5, "stop")]


def test_a_node_that_is_away_is_told_when_it_returns() -> None:
    desk = Desk().node().submit(1)
    desk.says(1, "accepted", "executing")
    desk.do(NodePresence("reactor-1", boot(1), online=False))
    assert outcome(desk.do(CancelAsked(ONE, "ada"))) == "accepted"
    assert desk.entry(1).status is Status.RUNNING
    intent = desk.state.nodes["reactor-1"].intent
    assert intent is not None
    assert intent.desired == "stop"


# Recovery


def test_a_restored_store_is_known_by_a_higher_generation() -> None:
    desk = Desk(empty(generation=4)).submit(1)
    desk.do(NodePresence("reactor-1", boot(1), online=True))
    desk.do(NodeOffered("reactor-1", Offer(CHANNELS, IMAGES)))
    decision = desk.do(NodeReported("reactor-1", report(store=STORE, generation=9, seen=7)))
    assert noted(decision) == ["recovery"]
    assert desk.posture() is Posture.RECOVERY
    assert "backup" in desk.state.posture_reason
    assert desk.entry(1).status is Status.QUEUED
    assert desk.state.nodes["reactor-1"].revision == 0  # not a word to the node
    assert outcome(desk.do(PostureAsked(Posture.PAUSED, "eve"))) == "WRONG_STATE"
    desk.do(PostureAsked(Posture.RUNNING, "eve"))
    assert desk.state.generation == 10
    assert desk.entry(1).node == "reactor-1"
    assert desk.state.nodes["reactor-1"].revision == 8
    desk.do(NodeReported("reactor-1", report(store=STORE, generation=10, seen=8)))
    assert desk.posture() is Posture.RUNNING


def test_a_new_store_among_nodes_with_history_recovers() -> None:
    desk = Desk().node(store=OTHER_STORE, generation=2, seen=9, running=(ONE, 1), accepts=False)
    assert desk.posture() is Posture.RECOVERY
    entry = desk.entry(1)
    assert (entry.status, entry.phase, entry.node) == (
        Status.RUNNING, Phase.EXECUTING, "reactor-1",
    )  # fmt: skip
    assert desk.intent() is None
    desk.says(1, "executing")
    desk.do(PostureAsked(Posture.RUNNING, "eve"))
    # It was found running and needs no word; nothing stops it.
    assert desk.intent() is None
    desk.do(NodeReported("reactor-1", report(store=OTHER_STORE, seen=9, running=(ONE, 1))))
    assert desk.posture() is Posture.RUNNING
    desk.says(1, "released", "finished", outcome="completed")
    intent = desk.intent()
    assert intent is not None
    assert intent.desired == "idle"
    assert desk.state.nodes["reactor-1"].revision == 10


def test_what_was_adopted_can_be_cancelled_in_recovery() -> None:
    desk = Desk().node(store=OTHER_STORE, seen=9, running=(ONE, 1))
    assert outcome(desk.do(CancelAsked(ONE, "eve"))) == "accepted"
    node = desk.state.nodes["reactor-1"]
    assert node.intent is not None
    assert (node.intent.desired, node.intent.attempt, node.revision) == ("stop", 1, 10)


def test_what_was_found_frozen_stays_frozen_until_it_is_resumed() -> None:
    desk = Desk().node(store=OTHER_STORE, seen=9, running=(ONE, 1), phase=Phase.FROZEN)
    assert (desk.entry(1).status, desk.entry(1).phase) == (Status.PAUSED, Phase.FROZEN)
    assert desk.intent() is None
    assert outcome(desk.do(ResumeAsked(ONE))) == "accepted"
    intent = desk.intent()
    assert intent is not None
    assert intent.desired == "run"


def test_a_node_from_elsewhere_is_no_reason_to_recover_where_it_runs_nothing_unknown() -> None:
    desk = Desk().node().submit(1).node("moved", store=OTHER_STORE, seen=5)
    assert desk.posture() is Posture.RUNNING
    desk.node("busy", store=OTHER_STORE, seen=5, running=(ulid(7), 1))
    assert desk.posture() is Posture.RECOVERY
    assert desk.entry(1).status is Status.RUNNING


def test_the_ledger_tells_what_a_restored_store_forgot() -> None:
    desk = Desk(empty(generation=4)).submit(1, 2)
    known = [(ONE, 1, "finished", "completed"), (ulid(2), 1, "accepted", None)]
    desk.node(store=STORE, generation=9, seen=7, ledger=known)
    assert desk.posture() is Posture.RECOVERY
    assert desk.entry(1).phase is Phase.COLLECTING
    assert desk.entry(2).node == "reactor-1"
    assert desk.waiting() == []
    desk.says(1, "accepted", "executing", "released", "finished", outcome="completed", exit_code=0)
    assert desk.entry(1).status is Status.COMPLETED
    finish = desk.entry(1).finish
    assert finish is not None
    assert finish.told


def test_recovery_takes_experiments_in_and_starts_none() -> None:
    desk = Desk()
    desk.do(StoreDoubted("the archive knows experiments that the queue does not"))
    desk.node().submit(1)
    assert outcome(desk.do(Submitted(plan(2)))) == "done"
    assert desk.waiting() == [1, 2]
    assert desk.state.nodes["reactor-1"].revision == 0
