"""The rules by which a node follows its hub, and what no sequence of messages can make it do."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ulid import ULID

from broker.messages import Assignment, ContractError, Error, ErrorCode, LedgerEntry
from node_service.reconcile import (
    Accept,
    Action,
    Answer,
    Close,
    Known,
    Nothing,
    ParameterChange,
    Refuse,
    Steer,
    Stop,
    check,
    is_news,
    next_action,
)
from node_service.runs import RunKey

STORE = str(ULID())
EXPERIMENTS = [str(ULID()) for _ in range(3)]
A, B = RunKey(EXPERIMENTS[0], 1), RunKey(EXPERIMENTS[1], 1)
FULL = Error(code=ErrorCode.STORAGE_FULL, message="full")


def assignment(desired: str, key: RunKey | None = A, revision: int = 1, **more: Any) -> Assignment:
    named = {} if key is None else {"experiment_id": key.experiment_id, "attempt": key.attempt}
    return Assignment.model_validate(
        {
            "revision": revision, "store_id": STORE, "generation": 1, "desired": desired,
            "script": "pass", **named, **more,
        }
    )  # fmt: skip


def entry(key: RunKey, state: str = "finished") -> LedgerEntry:
    return LedgerEntry.model_validate(
        {
            "experiment_id": key.experiment_id, "attempt": key.attempt, "state": state,
            "outcome": "completed" if state == "finished" else None,
        }
    )  # fmt: skip


@pytest.mark.parametrize("desired", [None, assignment("idle", None), assignment("idle", A)])
@pytest.mark.parametrize("holder", [None, A])
def test_no_opinion_and_idle_stop_nothing(
    desired: Assignment | None, holder: RunKey | None
) -> None:
    assert next_action(desired, Known(holder=holder)) == Nothing()


def test_a_new_attempt_is_accepted_by_a_free_reactor() -> None:
    wanted = assignment("run")
    assert next_action(wanted, Known()) == Accept(A, wanted)
    assert next_action(assignment("pause"), Known()) == Accept(A, assignment("pause"))


def test_a_new_attempt_waits_while_the_node_refuses() -> None:
    assert next_action(assignment("run"), Known(refusal=FULL)) == Refuse(A, FULL)


@pytest.mark.parametrize("desired", ["run", "pause", "stop"])
@pytest.mark.parametrize("state", ["released", "finished"])
def test_a_known_attempt_is_answered_with_its_outcome(desired: str, state: str) -> None:
    known = entry(A, state)
    assert next_action(assignment(desired), Known(entry=known)) == Answer(known)
    assert next_action(assignment(desired), Known(entry=known, holder=B)) == Answer(known)


def test_the_holder_is_steered() -> None:
    known = Known(holder=A, entry=entry(A, "accepted"), refusal=FULL)
    run, pause, stop = assignment("run"), assignment("pause"), assignment("stop", stop_reason=FULL)
    assert next_action(run, known) == Steer(A, frozen=False, assignment=run)
    assert next_action(pause, known) == Steer(A, frozen=True, assignment=pause)
    action = next_action(stop, known)
    assert isinstance(action, Stop)
    assert (action.ending.outcome, action.ending.error) == ("cancelled", FULL)


def test_another_attempt_ends_the_holder_first() -> None:
    action = next_action(assignment("run", B), Known(holder=A))
    assert isinstance(action, Stop)
    assert action.key == A
    assert action.ending.error is not None
    assert B.experiment_id in action.ending.error.message


def test_what_never_ran_and_is_to_stop_is_closed() -> None:
    action = next_action(assignment("stop", B), Known(holder=A))
    assert isinstance(action, Close)
    assert (action.key, action.ending.outcome) == (B, "cancelled")


def test_an_attempt_without_script_is_closed() -> None:
    action = next_action(assignment("run", script=None), Known())
    assert isinstance(action, Close)
    assert action.ending.outcome == "failed"


def test_an_assignment_that_names_nothing_is_malformed() -> None:
    with pytest.raises(ContractError):
        check(assignment("run", None))
    check(assignment("idle", None))


def test_parameters_of_other_types_are_other_parameters() -> None:
    change = ParameterChange.between({"a": 1, "b": 2, "c": "x"}, {"a": 1.0, "b": 2, "d": True})
    assert change == ParameterChange({"a": 1.0, "d": True}, ("c",))
    assert not ParameterChange.between({"a": 1}, {"a": 1})


KEYS = st.builds(RunKey, st.sampled_from(EXPERIMENTS), st.integers(1, 2))


@dataclass
class Model:
    """A node without hardware, as `duties` drives the rules."""

    seen: int = 0
    desired: Assignment | None = None
    ledger: dict[RunKey, str] = field(default_factory=dict)
    holder: RunKey | None = None
    refusal: Error | None = None
    started: list[RunKey] = field(default_factory=list)
    stopped: list[tuple[RunKey, Assignment]] = field(default_factory=list)

    def hear(self, wanted: Assignment) -> None:
        if is_news(wanted, self.seen):
            self.seen, self.desired = wanted.revision, wanted
        self.follow()

    def follow(self) -> None:
        while True:
            action = self.step()
            if not isinstance(action, Accept | Close):
                return

    def step(self) -> Action:
        key = None if self.desired is None else RunKey.of(self.desired)
        known = None
        if key is not None and key in self.ledger:
            known = entry(key, self.ledger[key])
        action = next_action(self.desired, Known(self.holder, known, self.refusal))
        match action:
            case Accept(key=accepted):
                self.ledger[accepted] = "accepted"
                self.holder = accepted
                self.started.append(accepted)
            case Close(key=closed):
                self.ledger[closed] = "finished"
            case Stop(key=stopped):
                assert self.desired is not None
                self.stopped.append((stopped, self.desired))
            case _:
                pass
        return action

    def end(self) -> None:
        if self.holder is not None:
            self.ledger[self.holder] = "finished"
            self.holder = None
        self.follow()


EVENTS = st.one_of(
    st.tuples(
        st.just("hear"),
        st.builds(
            assignment,
            st.sampled_from(["run", "pause", "stop", "idle"]),
            KEYS,
            st.integers(1, 30),
        ),
    ),
    st.tuples(st.sampled_from(["end", "restart", "refuse", "allow"]), st.none()),
)


@given(st.lists(EVENTS, max_size=60))
@settings(max_examples=400, deadline=None)
def test_no_sequence_starts_anything_twice_or_stops_it_unasked(
    events: list[tuple[str, Assignment | None]],
) -> None:
    node = Model()
    for event, wanted in events:
        seen, holder = node.seen, node.holder
        match event, wanted:
            case "hear", Assignment():
                node.hear(wanted)
            case "end", _:
                node.end()
            case "restart", _:
                node.follow()  # the ledger is all there is; nothing else is remembered
            case "refuse", _:
                node.refusal = FULL
            case "allow", _:
                node.refusal = None
                node.follow()
        assert node.seen >= seen
        assert len(node.started) == len(set(node.started))
        assert node.holder is None or node.ledger[node.holder] == "accepted"
        if event == "hear" and wanted is not None and wanted.revision <= seen:
            assert node.holder == holder
    for stopped, wanted in node.stopped:
        assert wanted.desired == "stop" or RunKey.of(wanted) != stopped


@given(st.permutations(range(1, 8)))
def test_only_the_highest_revision_counts_in_the_end(order: list[int]) -> None:
    node = Model()
    for revision in order:
        node.hear(assignment("idle", None, revision))
    assert node.desired is not None
    assert node.desired.revision == 7
