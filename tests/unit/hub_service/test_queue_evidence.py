"""What phase records prove, once or repeated, late or of an old attempt."""

import itertools
from typing import Any

import pytest

from broker.messages import ErrorCode, Phase, Status, StreamBacklog
from hub_service.queue.events import (
    Archived,
    CancelAsked,
    Collected,
    Evidence,
    NodePresence,
    NodeReported,
    PauseAsked,
    Ticked,
)
from hub_service.queue.nodes import MEMORY_PATIENCE
from tests.unit.hub_service.builders import (
    Desk,
    boot,
    ended,
    noted,
    phase,
    report,
    ulid,
)

ONE = ulid(1)
MARK = (ulid(1, "EPC"), 17)
LOST = "result files that reactor-1 had not sent yet were lost there"


def started(**more: Any) -> Desk:
    return Desk().node().submit(1, **more)


def test_the_whole_life_of_an_experiment() -> None:
    desk = started()
    seen = []
    for name, more in (
        ("accepted", {}),
        ("executing", {"image": "standard@sha256:0", "isolation": "docker"}),
        ("paused", {}),
        ("resumed", {}),
        ("released", {}),
    ):
        desk.says(1, name, **more)
        seen.append((desk.entry(1).status, desk.entry(1).phase))
    assert seen == [
        (Status.RUNNING, Phase.PREPARING),
        (Status.RUNNING, Phase.EXECUTING),
        (Status.PAUSED, Phase.RESUMING),  # nobody here asked for the pause: it is not wanted
        (Status.RUNNING, Phase.EXECUTING),
        (Status.RUNNING, Phase.COLLECTING),
    ]
    desk.says(1, "finished", outcome="completed", exit_code=0, files_upto=MARK)
    assert desk.entry(1).phase is Phase.COLLECTING
    decision = desk.do(Collected(ONE, gaps=2))
    assert ended(decision) == [ONE]
    entry = desk.entry(1)
    assert (entry.status, entry.phase, entry.gaps) == (Status.COMPLETED, None, 2)
    assert entry.image == "standard@sha256:0"
    desk.do(Archived(ONE))
    assert not desk.state.entries


def test_completed_only_when_the_files_are_committed() -> None:
    desk = started()
    desk.do(Collected(ONE))
    decision = desk.says(1, "accepted", "executing", "released")
    assert not ended(decision)
    desk.do(Collected(ONE))
    assert desk.entry(1).status is Status.RUNNING
    decision = desk.says(1, "finished", outcome="completed", files_upto=MARK)
    assert not ended(decision)
    assert ended(desk.do(Collected(ONE))) == [ONE]


def test_released_frees_the_reactor_for_the_next() -> None:
    desk = started().submit(2)
    desk.says(1, "accepted", "executing", "released")
    assert desk.state.nodes["reactor-1"].intent is not None
    # The report still in hand is the one from before the run: it may take the next at once.
    assert desk.entry(2).node == "reactor-1"
    assert desk.entry(1).phase is Phase.COLLECTING


def test_idle_is_said_after_released_and_not_before() -> None:
    desk = started()
    desired = [desk.state.nodes["reactor-1"].intent]
    for name in ("accepted", "executing", "stopping", "released"):
        desk.says(1, name)
        desired.append(desk.state.nodes["reactor-1"].intent)
    told = [intent.desired for intent in desired if intent is not None]
    assert told == ["run", "run", "run", "run", "idle"]


@pytest.mark.parametrize("repeated", ["accepted", "executing", "paused", "stopping", "released"])
def test_a_repeated_record_changes_nothing(repeated: str) -> None:
    desk = started()
    names = ["accepted", "executing", "paused", "resumed", "stopping", "released"]
    for name in names[: names.index(repeated) + 1]:
        desk.says(1, name)
    before = desk.state
    desk.says(1, repeated)
    assert desk.state.durable == before.durable
    assert desk.state.revision == before.revision


def test_a_finished_state_never_changes() -> None:
    desk = started()
    desk.says(1, "accepted", "executing", "released", "finished", outcome="failed", exit_code=1)
    before = desk.state
    desk.says(1, "finished", "interrupted", outcome="completed", exit_code=0)
    desk.says(1, "accepted", attempt=2)
    assert desk.state.durable == before.durable


def test_a_failure_says_what_to_do() -> None:
    desk = started()
    desk.says(1, "accepted", "executing", "released", "finished", outcome="failed", exit_code=3)
    finish = desk.entry(1).finish
    assert finish is not None
    assert finish.error is not None
    assert finish.error.code is ErrorCode.SCRIPT_FAILED
    assert "3" in finish.error.message
    assert finish.error.hint


def test_the_nodes_reason_for_a_failure_is_kept() -> None:
    desk = started()
    reason = {"code": "TIMEOUT", "message": "it ran for longer than 60 s", "hint": "raise it"}
    desk.says(1, "accepted", "executing", "released")
    desk.says(1, "finished", outcome="failed", error=reason, exit_code=-9)
    finish = desk.entry(1).finish
    assert finish is not None
    assert finish.error is not None
    assert finish.error.code is ErrorCode.TIMEOUT


def test_an_interruption_fails_unless_the_author_asked_for_repetition() -> None:
    desk = started()
    decision = desk.says(1, "accepted", "executing", "interrupted")
    assert ended(decision) == [ONE]
    finish = desk.entry(1).finish
    assert finish is not None
    assert finish.error is not None
    assert finish.error.code is ErrorCode.INTERRUPTED
    assert "requeue" in finish.error.hint


def test_requeued_at_the_front_with_the_same_id_three_times_at_most() -> None:
    desk = started(on_interruption="requeue").submit(2)
    for attempt in (1, 2):
        assert desk.entry(1).attempt == attempt
        decision = desk.says(1, "accepted", "executing", "interrupted", attempt=attempt)
        assert noted(decision) == ["requeued"]
        assert desk.entry(1).attempt == attempt + 1  # the idle reactor took it again at once
        assert desk.waiting() == [2]
        assert desk.state.count("mqtt:ada") == 2
    decision = desk.says(1, "accepted", "executing", "interrupted", attempt=3)
    assert ended(decision) == [ONE]
    assert desk.entry(1).status is Status.FAILED


def test_a_cancelled_one_is_not_requeued() -> None:
    desk = started(on_interruption="requeue")
    desk.says(1, "accepted", "executing")
    desk.do(CancelAsked(ONE, "ada"))
    desk.says(1, "interrupted")
    assert desk.entry(1).status is Status.CANCELLED


def test_a_paused_one_that_is_requeued_stays_paused() -> None:
    desk = started(on_interruption="requeue")
    desk.says(1, "accepted", "executing")
    desk.do(PauseAsked(ONE))
    desk.says(1, "paused", "interrupted")
    assert desk.entry(1).status is Status.PAUSED
    assert desk.waiting() == [1]


def test_an_old_attempt_that_returns_changes_nothing() -> None:
    desk = started(on_interruption="requeue")
    desk.says(1, "accepted", "interrupted")
    desk.says(1, "accepted", "executing", attempt=2)
    before = desk.entry(1)
    desk.says(1, "executing", "finished", attempt=1, outcome="failed")
    desk.says(1, "finished", attempt=2, outcome="failed", node="reactor-9")
    assert desk.entry(1) == before


def test_an_attempt_that_this_store_has_forgotten_is_not_made_a_second_time() -> None:
    """An older queue came back, which knows of the first attempt alone."""
    desk = started(on_interruption="requeue")
    desk.says(1, "interrupted", attempt=2)
    assert desk.entry(1).attempt == 3


def test_an_old_attempt_that_still_runs_is_stopped() -> None:
    desk = started(on_interruption="requeue")
    desk.says(1, "accepted", "interrupted")
    revision = desk.state.nodes["reactor-1"].revision
    desk.do(NodeReported("reactor-1", report(running=(ulid(9), 1), seen=revision)))
    node = desk.state.nodes["reactor-1"]
    assert node.intent is not None
    assert (node.intent.desired, node.intent.experiment_id) == ("stop", ulid(9))
    assert node.revision == revision + 1
    desk.says(9, "released")
    after = desk.state.nodes["reactor-1"].intent
    assert after is not None
    assert after.desired == "run"


def test_evidence_of_an_attempt_that_this_store_never_made_is_true() -> None:
    """The queue was restored from a backup: what happened since counts."""
    desk = Desk().submit(1)
    desk.do(PauseAsked(ONE))
    desk.says(1, "accepted", "executing", attempt=1)
    assert desk.entry(1).status is Status.RUNNING
    assert desk.waiting() == []
    desk.says(1, "released", "finished", outcome="completed")
    assert desk.entry(1).status is Status.COMPLETED


def test_cancelled_before_the_node_ever_accepted_it() -> None:
    desk = started()
    desk.do(CancelAsked(ONE, "ada"))
    revision = desk.state.nodes["reactor-1"].revision
    desk.do(NodeReported("reactor-1", report(seen=revision - 1)))
    assert desk.entry(1).phase is Phase.STOPPING
    decision = desk.do(NodeReported("reactor-1", report(seen=revision)))
    assert ended(decision) == [ONE]
    assert desk.entry(1).status is Status.CANCELLED


def test_accepted_in_the_ledger_means_evidence_is_awaited() -> None:
    desk = started()
    desk.do(CancelAsked(ONE, "ada"))
    revision = desk.state.nodes["reactor-1"].revision
    told = report(seen=revision, ledger=[(ONE, 1, "accepted", None)])
    desk.do(NodeReported("reactor-1", told))
    assert desk.entry(1).status is Status.RUNNING


def test_an_end_that_the_journal_lost_is_concluded_from_the_ledger_after_a_minute() -> None:
    desk = started()
    desk.says(1, "accepted", "executing")
    known = report(seen=2, ledger=[(ONE, 1, "finished", "completed")])
    desk.do(NodeReported("reactor-1", known))
    desk.do(Ticked(), 50)
    assert desk.entry(1).status is Status.RUNNING
    decision = desk.do(Ticked(), 20)
    assert ended(decision) == [ONE]
    assert desk.entry(1).status is Status.COMPLETED
    assert "concluded" in noted(decision)


def test_while_records_are_outstanding_the_ledger_concludes_nothing() -> None:
    desk = started()
    desk.says(1, "accepted", "executing")
    known = report(seen=2, ledger=[(ONE, 1, "finished", "completed")], backlog=3)
    desk.do(NodeReported("reactor-1", known))
    desk.do(Ticked(), 3600)
    assert desk.entry(1).status is Status.RUNNING


def owing(records: int = 0, files: int = 0, **more: Any) -> NodeReported:
    """A report of a node that the hub owes so many acknowledgements."""
    owed = {"records": records, "files": files}
    backlog = {s: StreamBacklog(entries=n, bytes=n) for s, n in owed.items()}
    return NodeReported("reactor-1", report(**more).model_copy(update={"backlog": backlog}))


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_files_that_a_new_disk_of_the_node_cannot_bring_are_not_awaited_for_good(
    outcome: str,
) -> None:
    desk = started()
    desk.says(1, "accepted", "executing", "released")
    desk.says(1, "finished", outcome=outcome, files_upto=MARK)
    desk.do(owing(files=3))
    desk.do(Ticked(), 86400)
    assert desk.entry(1).phase is Phase.COLLECTING
    desk.do(NodePresence("reactor-1", boot(2), online=True))
    desk.do(owing(boot_number=2))
    desk.do(Ticked(), MEMORY_PATIENCE.total_seconds() - 10)
    assert desk.entry(1).phase is Phase.COLLECTING
    decision = desk.do(Ticked(), 20)
    assert ended(decision) == [ONE]
    assert desk.entry(1).status == outcome
    assert (
        "result files that reactor-1 had not sent yet were lost" in desk.entry(1).plan.warnings[0]
    )
    assert "concluded" in noted(decision)


def test_an_end_that_a_new_disk_of_the_node_does_not_know_is_an_interruption() -> None:
    desk = started()
    desk.says(1, "accepted", "executing", "released")
    desk.do(NodePresence("reactor-1", boot(2), online=True))
    desk.do(owing(boot_number=2))
    decision = desk.do(Ticked(), MEMORY_PATIENCE.total_seconds() + 10)
    assert ended(decision) == [ONE]
    told = desk.entry(1).finish
    assert told is not None
    assert told.error is not None
    assert (told.outcome, told.error.code) == ("failed", ErrorCode.INTERRUPTED)


@pytest.mark.parametrize(
    "said",
    [
        owing(records=1),
        owing(files=1),
        owing(ledger=[(ONE, 1, "released", None)]),
        NodeReported("reactor-1", report()),  # it says nothing of its files
    ],
)
def test_who_owes_something_or_knows_of_the_attempt_is_awaited(said: NodeReported) -> None:
    desk = started()
    desk.says(1, "accepted", "executing", "released")
    desk.do(said)
    desk.do(Ticked(), 86400)
    assert desk.entry(1).phase is Phase.COLLECTING


def test_a_node_that_is_away_is_awaited_whatever_it_said_last() -> None:
    desk = started()
    desk.says(1, "accepted", "executing", "released")
    desk.do(owing())
    desk.do(Ticked(), MEMORY_PATIENCE.total_seconds() - 10)
    desk.do(NodePresence("reactor-1", boot(1), online=False))
    desk.do(Ticked(), 86400)
    assert desk.entry(1).phase is Phase.COLLECTING
    desk.do(NodePresence("reactor-1", boot(1), online=True))
    desk.do(Ticked(), MEMORY_PATIENCE.total_seconds() - 10)
    assert desk.entry(1).phase is Phase.COLLECTING


def test_every_order_of_repetitions_leads_to_the_same_end() -> None:
    """A node that crashes between ledger and journal tells a step twice."""
    names = ["accepted", "executing", "released", "finished"]
    for twice in itertools.product((1, 2), repeat=4):
        desk = started()
        for name, times in zip(names, twice, strict=True):
            for _ in range(times):
                more: dict[str, Any] = {"outcome": "completed"} if name == "finished" else {}
                desk.do(Evidence("reactor-1", phase(1, name, **more)))
        assert desk.entry(1).status is Status.COMPLETED
        assert sum(len(ended(d)) for d in desk.decisions) == 1


def test_a_report_from_before_the_release_read_late_is_not_believed() -> None:
    desk = started()
    desk.says(1, "accepted", "executing", "released", "finished", outcome="completed")
    desk.do(Archived(ONE))
    late = report(seen=2, accepts=False, running=(ONE, 1))
    desk.do(NodeReported("reactor-1", late))
    intent = desk.state.nodes["reactor-1"].intent
    assert intent is not None
    assert intent.desired == "idle"
    assert boot(1) == late.boot_id
