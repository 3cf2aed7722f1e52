"""Window and reception together, over a channel that loses, repeats and reorders."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.journal.reception import (
    Arrived,
    acknowledged,
    acknowledgement,
    judge,
    plan,
)
from broker.journal.window import RESEND_AFTER, Limit, Span, Want, Window
from broker.messages import JournalAck

BATCH = 3
LIMIT = Limit(batches=4, bytes=10**9)
BOUND = 4000
MOST = 3


@dataclass
class NodeEpoch:
    epoch: str
    order: int
    last: int = 0
    floor: int = 1
    acked: int = 0

    @property
    def span(self) -> Span:
        return Span(self.epoch, self.order, self.floor, self.last, self.acked)


@dataclass
class Hub:
    cursors: dict[str, int] = field(default_factory=dict)
    entries: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    gaps: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    arrival: list[tuple[int, int]] = field(default_factory=list)

    def take(self, batches: Sequence[Arrived[str]]) -> JournalAck:
        for commit in plan(self.cursors, batches):
            epoch = commit.epoch
            upto = self.cursors.get(epoch, 0)
            if commit.gap is not None:
                assert commit.gap[0] == upto + 1
                self.gaps.setdefault(epoch, []).append(commit.gap)
                upto = commit.gap[1]
            assert commit.first == upto + 1
            for offset, entry in enumerate(commit.entries):
                self.entries.setdefault(epoch, []).append((commit.first + offset, entry))
                self.arrival.append((commit.order, commit.first + offset))
            self.cursors[epoch] = upto + len(commit.entries)
        return acknowledgement(self.cursors, [batch.epoch for batch in batches], MOST)

    def copy(self) -> "Hub":
        return Hub(
            dict(self.cursors),
            {k: list(v) for k, v in self.entries.items()},
            {k: list(v) for k, v in self.gaps.items()},
            list(self.arrival),
        )


class Flow(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.node: list[NodeEpoch] = []
        self.hub = Hub()
        self.backup = Hub()
        self.restores = self.restored = False
        self.to_hub: list[Arrived[str]] = []
        self.to_node: list[JournalAck] = []
        self.reopen(stale=0)

    def body(self, epoch: str, number: int) -> str:
        return f"{epoch}:{number}"

    def pending(self) -> list[Span]:
        return [e.span for e in self.node if e.acked < e.last]

    def hear(self, ack: JournalAck) -> None:
        news = False
        told = acknowledged(ack, [epoch.epoch for epoch in self.node], MOST)
        for epoch in self.node:
            upto = min(told.get(epoch.epoch, epoch.acked), epoch.last)
            if upto != epoch.acked:
                epoch.acked = upto
                news = True
        if not news:
            self.window.hint(self.now)

    def send_one(self, size: int) -> bool:
        want = self.window.next(self.pending(), self.now)
        if want is None:
            return False
        upto = min(want.first + size - 1, want.last)
        self.window.sent(want, upto, 1, self.now)
        entries = [self.body(want.epoch, n) for n in range(want.first, upto + 1)]
        self.to_hub.append(Arrived(want.epoch, want.order, want.floor, want.first, entries))
        return True

    @rule(stale=st.integers(0, 3))
    def reopen(self, stale: int) -> None:
        """The node's process dies; it starts again knowing perhaps older acknowledgements."""
        for epoch in self.node:
            epoch.acked = max(epoch.floor - 1, epoch.acked - stale)
        order = len(self.node) + 1  # more epochs than one acknowledgement names
        self.node.append(NodeEpoch(f"{order:026d}", order))
        self.window = Window(LIMIT)

    @rule(count=st.integers(1, 8))
    def append(self, count: int) -> None:
        self.node[-1].last += count

    @rule(size=st.integers(1, BATCH))
    def send(self, size: int) -> None:
        self.send_one(size)

    @precondition(lambda self: self.to_hub)
    @rule(data=st.data(), keep=st.booleans(), count=st.integers(1, 3))
    def deliver_batches(self, data: st.DataObject, keep: bool, count: int) -> None:
        """Any that are on their way, in any order, perhaps again later."""
        chosen = []
        for _ in range(min(count, len(self.to_hub))):
            index = data.draw(st.integers(0, len(self.to_hub) - 1))
            chosen.append(self.to_hub[index])
            if not keep:
                del self.to_hub[index]
        self.to_node.append(self.hub.take(chosen))

    @precondition(lambda self: self.to_node)
    @rule(data=st.data(), keep=st.booleans())
    def deliver_ack(self, data: st.DataObject, keep: bool) -> None:
        index = data.draw(st.integers(0, len(self.to_node) - 1))
        self.hear(self.to_node[index])
        if not keep:
            del self.to_node[index]

    @rule(count=st.integers(1, 8), batches=st.integers(1, 6), heard=st.booleans())
    def work(self, count: int, batches: int, heard: bool) -> None:
        """For a while all goes well; perhaps the last acknowledgement is late."""
        self.append(count)
        for _ in range(batches):
            self.send_one(BATCH)
        while self.to_hub:
            self.to_node.append(self.hub.take([self.to_hub.pop(0)]))
        while heard and self.to_node:
            self.hear(self.to_node.pop(0))

    @precondition(lambda self: self.to_hub)
    @rule(data=st.data())
    def lose_batch(self, data: st.DataObject) -> None:
        del self.to_hub[data.draw(st.integers(0, len(self.to_hub) - 1))]

    @rule()
    def lose_everything_on_its_way(self) -> None:
        self.to_hub.clear()
        self.to_node.clear()
        self.window.restart()

    @rule(seconds=st.floats(0.5, 2 * RESEND_AFTER))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data())
    def prune(self, data: st.DataObject) -> None:
        epoch = data.draw(st.sampled_from(self.node))
        epoch.floor = max(epoch.floor, data.draw(st.integers(0, epoch.acked)) + 1)

    @initialize(restores=st.booleans())
    def choose(self, restores: bool) -> None:
        self.restores = restores

    @rule()
    def back_up_the_hub(self) -> None:
        self.backup = self.hub.copy()

    @precondition(lambda self: self.restores)
    @rule()
    def restore_the_hub(self) -> None:
        """The hub's acknowledgements of before are gone with it, those on their way are not."""
        self.hub = self.backup.copy()
        self.restored = True

    @invariant()
    def hub_has_a_prefix_of_each_epoch(self) -> None:
        lasts = {e.epoch: e.last for e in self.node}
        for epoch, upto in self.hub.cursors.items():
            assert upto <= lasts[epoch]
            missing = {n for a, b in self.hub.gaps.get(epoch, []) for n in range(a, b + 1)}
            expected = [n for n in range(1, upto + 1) if n not in missing]
            got = self.hub.entries.get(epoch, [])
            assert got == [(n, self.body(epoch, n)) for n in expected]

    @invariant()
    def no_gap_without_a_restore(self) -> None:
        if not self.restored:
            assert not self.hub.gaps

    @invariant()
    def entries_arrive_in_the_order_they_were_made(self) -> None:
        if not self.restored:
            assert all(a < b for a, b in pairwise(self.hub.arrival))

    def teardown(self) -> None:
        """On a channel that works, all arrives and the node knows it."""
        self.to_hub.clear()
        self.to_node.clear()
        self.hear(acknowledgement(self.hub.cursors, [], MOST))  # as at a connect
        for _ in range(BOUND):
            while self.send_one(BATCH):
                pass
            if not self.to_hub and not self.pending():
                break
            for batch in self.to_hub:
                self.hear(self.hub.take([batch]))
            self.to_hub.clear()
            if self.pending():
                self.now += 1.0
        for epoch in self.node:
            assert self.hub.cursors.get(epoch.epoch, 0) == epoch.last
            assert epoch.acked == epoch.last
        self.hub_has_a_prefix_of_each_epoch()
        self.entries_arrive_in_the_order_they_were_made()
        self.no_gap_without_a_restore()


Flow.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestFlow = Flow.TestCase


def test_batches_go_out_up_to_the_window_and_continue_with_each_ack() -> None:
    window = Window(Limit(batches=2, bytes=10**9))
    span = Span("E", 1, 1, 9, 0)
    for first, upto in [(1, 3), (4, 6)]:
        want = window.next([span], 0.0)
        assert want == Want("E", 1, 1, first, 9)
        window.sent(want, upto, 100, 0.0)
    assert window.next([span], 0.0) is None
    want = window.next([replace(span, acked=3)], 1.0)
    assert want is not None
    assert want.first == 7


def test_bytes_on_the_way_are_limited() -> None:
    window = Window(Limit(batches=16, bytes=512 * 1024))
    span = Span("E", 1, 1, 100, 0)
    sizes = []
    while (want := window.next([span], 0.0)) is not None:
        window.sent(want, want.first, 200 * 1024, 0.0)
        sizes.append(want.first)
    assert sizes == [1, 2]


def test_without_progress_all_is_sent_again_ever_more_rarely() -> None:
    window = Window(LIMIT)
    span = Span("E", 1, 1, 2, 0)
    now, deadlines = 0.0, []
    for _ in range(5):
        want = window.next([span], now)
        assert want is not None
        assert want.first == 1
        window.sent(want, 2, 1, now)
        assert window.next([span], now + 9.0) is None
        assert window.deadline is not None
        deadlines.append(window.deadline - now)
        now = window.deadline
    assert deadlines == [10.0, 20.0, 40.0, 60.0, 60.0]


def test_an_ack_without_news_hastens_the_resend_once() -> None:
    window = Window(LIMIT)
    span = Span("E", 1, 1, 2, 0)
    want = window.next([span], 0.0)
    assert want is not None
    window.sent(want, 2, 1, 0.0)
    window.hint(0.0)
    assert window.deadline == 1.0
    want = window.next([span], 1.0)
    assert want is not None
    window.sent(want, 2, 1, 1.0)
    window.hint(1.0)
    assert window.deadline == 21.0


def test_a_newer_epoch_waits_for_the_older_one() -> None:
    window = Window(LIMIT)
    old, new = Span("A", 1, 1, 2, 0), Span("B", 2, 1, 5, 0)
    want = window.next([old, new], 0.0)
    assert want is not None
    window.sent(want, 2, 1, 0.0)
    assert window.next([old, new], 0.0) is None
    want = window.next([new], 0.0)
    assert want == Want("B", 2, 1, 1, 5)


def test_a_hub_that_has_less_than_before_gets_it_again_at_once() -> None:
    window = Window(LIMIT)
    span = Span("E", 1, 1, 9, 3)
    want = window.next([span], 0.0)
    assert want is not None
    window.sent(want, 9, 1, 0.0)
    assert window.next([span], 0.0) is None
    want = window.next([replace(span, acked=1)], 0.0)
    assert want is not None
    assert want.first == 2


def test_an_epoch_whose_entries_are_all_gone_is_still_told() -> None:
    window = Window(LIMIT)
    gone = Span("A", 1, 8, 7, 3)
    want = window.next([gone], 0.0)
    assert want == Want("A", 1, 8, 8, 7)
    window.sent(want, 7, 1, 0.0)
    assert window.next([gone], 0.0) is None
    assert judge(3, 8, 8, 0).gap == (4, 7)


EPOCHS = [f"{n:026d}" for n in range(10)]
NEW = f"{99:026d}"


def test_an_ack_names_the_newest_epochs_and_those_heard_of() -> None:
    ack = acknowledgement({epoch: n for n, epoch in enumerate(EPOCHS)}, [EPOCHS[1], NEW], most=3)
    assert dict(ack.epochs) == {EPOCHS[7]: 7, EPOCHS[8]: 8, EPOCHS[9]: 9, EPOCHS[1]: 1, NEW: 0}


def test_an_ack_is_silent_only_about_epochs_older_than_those_it_names() -> None:
    ack = acknowledgement(dict.fromkeys(EPOCHS[:6], 9), [EPOCHS[0]], most=3)
    told = acknowledged(ack, EPOCHS, most=3)
    spoken_of = {EPOCHS[place]: 9 for place in (0, 3, 4, 5)}
    assert told == spoken_of | dict.fromkeys(EPOCHS[6:], 0)


def test_an_ack_that_names_few_epochs_says_that_the_hub_has_nothing_of_others() -> None:
    ack = acknowledgement({EPOCHS[4]: 9}, [], most=3)
    assert acknowledged(ack, EPOCHS, most=3) == {**dict.fromkeys(EPOCHS, 0), EPOCHS[4]: 9}
    empty = acknowledgement({}, [], most=3)
    assert acknowledged(empty, EPOCHS, most=3) == dict.fromkeys(EPOCHS, 0)
