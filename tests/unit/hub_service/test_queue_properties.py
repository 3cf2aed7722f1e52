"""What holds after any sequence of events, however senseless."""

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.messages import Status
from hub_service.queue import Decision, Event, decide, views
from hub_service.queue.durations import Durations, Taken
from hub_service.queue.estimates import forecasts
from hub_service.queue.events import Answered, Ended, Evidence, Refused, Submitted
from hub_service.queue.state import MAX_ATTEMPTS, Plan, QueueState, Stage
from tests.unit.hub_service.builders import T0, empty, phase
from tests.unit.hub_service.strategies import (
    COMMANDS,
    DELAYS,
    EVENTS,
    NODE_EVENTS,
    PHASES,
    cooperative_node,
    plans,
)

DURATIONS = Durations(
    [Taken(str(n), "a" * 64, "mqtt:ada", seconds) for n, seconds in enumerate((60.0, 600.0))]
)


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = empty()
        self.now = T0
        self.given: set[tuple[str, int, int]] = set()
        self.over: dict[str, Status] = {}

    @initialize(events=cooperative_node())
    def a_node(self, events: list[Event]) -> None:
        for event in events:
            self.happens(event, timedelta(0))

    @rule(event=EVENTS, delay=DELAYS)
    def happens(self, event: Event, delay: timedelta) -> None:
        self.now += delay
        before = self.state
        decision = decide(before, event, self.now)
        self.state = decision.state
        self.check_step(before, event, decision)

    @rule(asked=plans())
    def submitted(self, asked: Plan) -> None:
        self.happens(Submitted(asked), timedelta(0))

    @rule(event=COMMANDS)
    def commanded(self, event: Event) -> None:
        self.happens(event, timedelta(0))

    @rule(event=NODE_EVENTS)
    def a_node_speaks(self, event: Event) -> None:
        self.happens(event, timedelta(seconds=1))

    @rule(data=st.data(), name=st.sampled_from(PHASES))
    def the_right_node_tells_of_a_run(self, data: st.DataObject, name: str) -> None:
        holding = [e for e in self.state.entries.values() if e.node is not None]
        if not holding:
            return
        entry = data.draw(st.sampled_from(holding))
        assert entry.node is not None
        record = phase(int(entry.id[5:]), name, entry.attempt)
        event = Evidence(entry.node, record)
        self.happens(event, timedelta(seconds=1))
        again = decide(self.state, event, self.now)
        requeued = name == "interrupted" and self.state.entries[entry.id].attempt > entry.attempt
        if not requeued:
            assert again.state.durable == self.state.durable
            assert not [e for e in again.effects if isinstance(e, Ended)]

    def check_step(self, before: QueueState, event: Event, decision: Decision) -> None:
        after = decision.state
        if decision.refusal is not None:
            assert after is before
            assert decision.effects == (Refused(decision.refusal),)
        if before.durable == after.durable:
            assert after.revision == before.revision
        else:
            assert after.revision == before.revision + 1
        if isinstance(event, Submitted) and decision.refusal is None:
            assert isinstance(decision.effects[0], Answered)
        for name, node in before.nodes.items():
            new = after.nodes[name]
            assert new.revision >= node.revision
            if new.intent != node.intent:
                assert new.revision > node.revision
        for old in before.entries.values():
            new_entry = after.entries.get(old.id)
            if new_entry is None:
                continue
            assert new_entry.number == old.number
            assert new_entry.attempt >= old.attempt
            if old.stage is Stage.ENDED:
                assert new_entry == old
        for entry in after.entries.values():
            old_entry = before.entries.get(entry.id)
            taken = entry.stage is Stage.ASSIGNED and not entry.adopted
            if taken and (old_entry is None or old_entry.attempt != entry.attempt):
                assert (entry.id, entry.attempt, entry.number) not in self.given
                self.given.add((entry.id, entry.attempt, entry.number))
                known = 0 if old_entry is None else old_entry.attempt
                if isinstance(event, Evidence) and event.record.experiment_id == entry.id:
                    # An older queue came back: its node tells of an attempt that it has forgotten.
                    known = max(known, event.record.attempt or 0)
                assert entry.attempt == known + 1
                assert entry.attempt <= MAX_ATTEMPTS or before.dispatched == 0
        assert after.dispatched >= before.dispatched
        assert after.generation >= before.generation

    @invariant()
    def the_order_holds_exactly_those_that_wait(self) -> None:
        waiting = {i for i, e in self.state.entries.items() if e.stage is Stage.WAITING}
        assert set(self.state.order) == waiting
        assert len(self.state.order) == len(waiting)

    @invariant()
    def positions_count_from_one_without_a_hole(self) -> None:
        places = views.positions(self.state)
        assert sorted(places.values()) == list(range(1, len(places) + 1))
        for experiment_id in self.state.order:
            assert self.state.position(experiment_id) == places.get(experiment_id)

    @invariant()
    def stages_and_fields_agree(self) -> None:
        for entry in self.state.entries.values():
            assert entry.status.finished == (entry.stage is Stage.ENDED)
            assert (entry.stage is Stage.ENDED) == (entry.completed_at is not None)
            assert (entry.phase is None) == (
                entry.stage is Stage.WAITING or entry.stage is Stage.ENDED
            )
            if entry.holds:
                assert entry.node is not None
                assert entry.attempt >= 1

    @invariant()
    def everything_can_be_shown(self) -> None:
        places = views.positions(self.state)
        starts = forecasts(self.state, self.now, DURATIONS)
        assert set(starts) <= set(places)
        for forecast in starts.values():
            told = (forecast.earliest, forecast.likely, forecast.latest)
            known = [at for at in told if at is not None]
            assert known == sorted(known)
        views.queue(self.state, starts, places)
        for entry in self.state.entries.values():
            shown = views.experiment(self.state, entry, places.get(entry.id))
            assert (shown.queue_position is not None) == (shown.status is Status.QUEUED)


QueueMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestQueue = QueueMachine.TestCase
