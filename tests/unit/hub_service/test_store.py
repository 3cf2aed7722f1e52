"""The durable queue against a model: any events, power cuts at any step, full disks."""

import asyncio
import errno
import shutil
import tempfile
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from broker.messages import ContractError, Done, ErrorCode, Reply
from hub_service.answers import MAX_ANSWERS, MAX_ANSWERS_PER_USER, REMEMBERED_FOR_S, Answers
from hub_service.queue import Decision, Event, QueueState, decide
from hub_service.queue.events import CancelAsked, Submitted
from hub_service.snapshot import Remembered, with_live
from hub_service.storage import StoreError
from hub_service.store import QueueStore
from tests.support.waiting import eventually
from tests.unit.hub_service.builders import T0, outcome, plan, ulid
from tests.unit.hub_service.strategies import COMMANDS, DELAYS, EVENTS, cooperative_node, plans

STEPS = ["write", "sync", "keep", "replace", "sync directory", "return"]
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  crashes are simulated here
LANDED = {"sync directory", "return"}
UNSURE = "sync directory again"


class PowerCutError(BaseException):
    """The machine stops here; no clean-up of the program runs after it."""


class Disk:
    """Stops the world, or refuses, before a named step."""

    def __init__(self) -> None:
        self.cut_at: str | None = None
        self.full_at: frozenset[str] = frozenset()

    def before(self, step: str) -> None:
        if step == self.cut_at:
            raise PowerCutError
        if step in self.full_at:
            raise OSError(errno.ENOSPC, "No space left on device")


def answer(user: str, fingerprint: str, at: timedelta = timedelta(0)) -> Remembered:
    return Remembered(user, fingerprint, T0 + at, Reply(result=Done(outcome="done", message="ok")))


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="store-", dir=MEMORY))
        self.loop = asyncio.new_event_loop()
        self.disk = Disk()
        self.now = T0
        self.store = self.open()
        self.model: QueueState = self.store.state
        self.cursor = 0
        self.answers: dict[str, Remembered] = {}

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.directory)

    def open(self) -> QueueStore:
        return QueueStore.open(
            self.directory, new_id=lambda: ulid(1, "STR"), before=self.disk.before
        )

    def apply(self, event: Event, *, cursor: int | None = None, key: str | None = None) -> Decision:
        kept = None if key is None else (key, answer("mqtt:ada", key))
        return self.loop.run_until_complete(
            self.store.apply(event, now=self.now, cursor=cursor, remember=lambda _: kept)
        )

    def advance_model(self, event: Event, cursor: int | None, key: str | None) -> bool:
        """Return whether there was anything to write."""
        after = decide(self.model, event, self.now).state
        moved = cursor is not None and cursor != self.cursor
        written = after.durable != self.model.durable or moved or key is not None
        self.model = after
        if cursor is not None:
            self.cursor = cursor
        if key is not None:
            self.answers[key] = answer("mqtt:ada", key)
        return written

    @initialize(events=cooperative_node())
    def a_node(self, events: list[Event]) -> None:
        for event in events:
            self.happens(event, timedelta(0), None, moves=False)

    @rule(
        event=EVENTS | COMMANDS | st.builds(Submitted, plans()),
        delay=DELAYS,
        key=st.none() | st.sampled_from(["a", "b", "c"]),
        moves=st.booleans(),
    )
    def happens(self, event: Event, delay: timedelta, key: str | None, *, moves: bool) -> None:
        self.now += delay
        cursor = self.cursor + 1 if moves else None
        told = self.apply(event, cursor=cursor, key=key)
        expected = decide(self.model, event, self.now)
        assert told.effects == expected.effects
        self.advance_model(event, cursor, key)

    @rule(event=COMMANDS | st.builds(Submitted, plans()), where=st.sampled_from(STEPS))
    def power_cut_while_writing(self, event: Event, where: str) -> None:
        self.disk.cut_at = where
        with pytest.raises(PowerCutError):
            self.apply(event, cursor=self.cursor + 1)
        self.disk.cut_at = None
        if where in LANDED:
            self.advance_model(event, self.cursor + 1, None)
        self.power_cut(b"")

    @rule(leftover=st.sampled_from([b"", b"{", b'{"about": {"queue": {"schema_version": 1,']))
    def power_cut(self, leftover: bytes) -> None:
        self.loop.run_until_complete(self.store.close())  # the kernel lets the lock go
        if leftover:
            (self.directory / "queue.json.new").write_bytes(leftover)
        self.store = self.open()
        generation = self.model.generation + 1
        self.model = with_live(self.store.state, QueueState("", 0))
        assert self.model.generation == generation

    @rule(event=COMMANDS | st.builds(Submitted, plans()), where=st.sampled_from(STEPS))
    def the_disk_is_full(self, event: Event, where: str) -> None:
        self.disk.full_at = frozenset({where})
        before = self.model
        if where in LANDED:  # the name changed: it has happened, and is told so
            told = self.apply(event, cursor=self.cursor + 1)
            self.disk.full_at = frozenset()
            assert told.effects == decide(self.model, event, self.now).effects
            self.advance_model(event, self.cursor + 1, None)
            return
        with pytest.raises(ContractError) as refused:
            self.apply(event, cursor=self.cursor + 1)
        self.disk.full_at = frozenset()
        assert refused.value.error.code is ErrorCode.STORAGE_FULL
        assert self.store.state.durable == before.durable

    @rule(event=COMMANDS | st.builds(Submitted, plans()), where=st.sampled_from(sorted(LANDED)))
    def the_disk_does_not_say_whether_it_has_it(self, event: Event, where: str) -> None:
        self.disk.full_at = frozenset({where, UNSURE})
        with pytest.raises(StoreError, match="does not say"):
            self.apply(event, cursor=self.cursor + 1)
        self.disk.full_at = frozenset()
        with pytest.raises(StoreError, match="does not say"):  # until it is opened again
            self.apply(event, cursor=self.cursor + 1)
        self.advance_model(event, self.cursor + 1, None)
        self.power_cut(b"")

    @invariant()
    def memory_is_the_model(self) -> None:
        assert self.store.state.durable == self.model.durable
        assert self.store.state.revision == self.model.revision
        assert self.store.cursor == self.cursor
        assert {k: self.store.answer(k) for k in self.answers} == self.answers

    @invariant()
    def the_disk_is_the_model(self) -> None:
        copy = self.directory.with_name(self.directory.name + "-copy")
        shutil.copytree(self.directory, copy)
        try:
            read = QueueStore.open(copy, new_id=lambda: ulid(9, "STR"))
            self.loop.run_until_complete(read.close())
        finally:
            shutil.rmtree(copy)
        model = self.model.durable
        assert read.state.durable[0] == model[0]
        assert read.state.durable[1] == self.model.generation + 1
        assert read.state.durable[2:] == model[2:]
        assert read.state.revision == self.model.revision
        assert read.cursor == self.cursor
        assert {k: read.answer(k) for k in self.answers} == self.answers


StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestStore = StoreMachine.TestCase


async def test_what_was_answered_is_remembered_for_a_day(tmp_path: Path) -> None:
    counted = 5.0
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"), count=lambda: counted)
    kept = answer("mqtt:ada", "f")
    await store.apply(Submitted(plan(1)), now=T0, remember=lambda _: ("k", kept))
    counted += REMEMBERED_FOR_S
    await store.apply(Submitted(plan(2)), now=T0)
    assert store.answer("k") == kept
    counted += 1.0
    await store.apply(Submitted(plan(3)), now=T0)
    assert store.answer("k") is None
    await store.close()
    again = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    assert again.answer("k") is None
    await again.close()


async def test_a_clock_that_is_set_makes_no_answer_forgotten(tmp_path: Path) -> None:
    """The hub starts with an old clock, which a time server then sets; before a restart or after.

    What was forgotten would be queued again, should the broker bring the request once more.
    """
    kept, leap = answer("mqtt:ada", "f"), timedelta(days=800)
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    await store.apply(Submitted(plan(1)), now=T0, remember=lambda _: ("k", kept))
    await store.apply(Submitted(plan(2)), now=T0 + leap)
    assert store.answer("k") == kept
    await store.close()
    again = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    await again.apply(Submitted(plan(3)), now=T0 + 2 * leap)
    assert again.answer("k") == kept
    await again.close()


async def test_answers_are_bounded_in_all_and_for_each_user(tmp_path: Path) -> None:
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))

    def ask(user: str, key: str) -> None:
        added = {key: answer(user, key)}
        store._answers.change(added, store._answers.outdated(added, 0.0), 0.0)

    ask("mqtt:quiet", "first")
    for number in range(MAX_ANSWERS_PER_USER + 50):
        ask("mqtt:loud", f"loud-{number}")
    assert store.answer("first") is not None
    assert store.answer("loud-49") is None
    assert store.answer("loud-50") is not None
    for number in range(MAX_ANSWERS):
        ask(f"mqtt:user-{number}", f"other-{number}")
    assert store.answer("first") is None
    assert len(store._answers) == MAX_ANSWERS
    await store.close()


def test_no_number_of_names_has_others_answers_forgotten() -> None:
    """What may not be carried out twice is remembered longest, and of each user something."""
    remembered = Answers({}, 0.0)

    def ask(user: str, key: str, *, lasting: bool) -> None:
        added = {key: replace(answer(user, key), lasting=lasting)}
        remembered.change(added, remembered.outdated(added, 0.0), 0.0)

    ask("mqtt:quiet", "pause", lasting=False)
    ask("mqtt:quiet", "job-1", lasting=True)
    ask("mqtt:quiet", "job-2", lasting=True)
    for number in range(2 * MAX_ANSWERS):
        ask(f"web:{number % 20}", f"pause-{number}", lasting=False)
    assert {"pause", "job-1", "job-2"} <= set(remembered)
    for number in range(2 * MAX_ANSWERS):
        ask(f"web:{number % 20}", f"job-of-{number}", lasting=True)
    assert {"job-1", "job-2"} <= set(remembered)
    assert "pause" not in remembered
    assert len(remembered) == MAX_ANSWERS


async def test_a_queue_of_which_one_letter_is_another_is_refused(tmp_path: Path) -> None:
    """It is JSON still, and says what could be told to nobody."""
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    await store.apply(Submitted(plan(1)), now=T0)
    await store.close()
    file = tmp_path / "queue.json"
    file.write_bytes(file.read_bytes().replace(b"aaaa", b"aaqa", 1))
    with pytest.raises(StoreError, match=r"queue.json cannot be used: .*script_sha256"):
        QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))


async def test_a_cancelled_caller_does_not_tear_memory_from_disk(tmp_path: Path) -> None:
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    asking = asyncio.create_task(store.apply(Submitted(plan(1)), now=T0))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    decision = await store.apply(CancelAsked(ulid(1), "ada"), now=T0)
    assert outcome(decision) == "done"
    await store.close()
    again = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    assert again.state.entries[ulid(1)].outcome == "cancelled"
    await again.close()


async def test_what_cannot_be_encoded_leaves_memory_as_the_disk(tmp_path: Path) -> None:
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    with pytest.raises(TypeError):
        await store.apply(Submitted(plan(1, parameters={"a": 2**70})), now=T0)
    assert not store.state.entries
    await store.apply(Submitted(plan(1)), now=T0)
    await store.close()


async def test_what_comes_before_must_succeed(tmp_path: Path) -> None:
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    begun: list[Decision] = []
    audit: Future[None] = Future()

    def begin(decision: Decision) -> Future[None]:
        begun.append(decision)
        return audit

    def fail(_: Decision) -> Future[None]:
        future: Future[None] = Future()
        future.set_exception(ContractError(ErrorCode.STORAGE_FULL, "the archive's disk is full"))
        return future

    with pytest.raises(ContractError):
        await store.apply(Submitted(plan(1)), now=T0, first=fail)
    assert not store.state.entries
    asking = asyncio.create_task(store.apply(Submitted(plan(2)), now=T0, first=begin))
    new = tmp_path / "queue.json.new"
    await eventually(lambda: new.exists() and ulid(2).encode() in new.read_bytes())
    assert ulid(2).encode() not in (tmp_path / "queue.json").read_bytes()
    assert not store.state.entries
    audit.set_result(None)
    await asking
    assert list(store.state.entries) == [ulid(2)]
    assert len(begun) == 1
    await store.close()
    again = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    assert list(again.state.entries) == [ulid(2)]
    await again.close()


async def test_one_that_fails_takes_none_of_those_with_it_that_share_its_write(
    tmp_path: Path,
) -> None:
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    good = [Submitted(plan(n, f"mqtt:u{n}")) for n in range(1, 9)]
    bad = Submitted(plan(9, "mqtt:u9", parameters={"a": 2**70}))
    told = await asyncio.gather(
        *(store.apply(event, now=T0) for event in (*good[:4], bad, *good[4:])),
        return_exceptions=True,
    )
    assert [type(one) for one in told] == [Decision] * 4 + [TypeError] + [Decision] * 4
    assert [e.plan.user for e in store.state.waiting()] == [f"mqtt:u{n}" for n in range(1, 9)]
    await store.close()


async def test_those_that_wait_share_a_write(tmp_path: Path) -> None:
    writes: list[str] = []
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"), before=writes.append)
    writes.clear()
    await asyncio.gather(
        *(store.apply(Submitted(plan(n, f"mqtt:u{n}")), now=T0) for n in range(1, 61))
    )
    assert writes.count("return") == 2  # the first alone, and all that came while it was written
    await store.close()


@pytest.mark.parametrize("count", [1, 3])
async def test_what_the_disk_has_is_told_as_done_though_a_sync_failed(
    tmp_path: Path, count: int
) -> None:
    """Told that nothing has happened, people would submit again, and it would run twice."""
    disk = Disk()
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"), before=disk.before)
    await store.apply(Submitted(plan(9, "mqtt:u9")), now=T0)

    def remember(number: int, decision: Decision) -> tuple[str, Remembered]:
        return f"k{number}", answer(f"mqtt:u{number}", outcome(decision))

    disk.full_at = frozenset({"sync directory"})
    told = await asyncio.gather(
        *(
            store.apply(Submitted(plan(n, f"mqtt:u{n}")), now=T0, remember=partial(remember, n))
            for n in range(1, 1 + count)
        )
    )
    assert [outcome(decision) for decision in told] == ["done"] * count
    disk.full_at = frozenset()
    await store.close()
    again = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    for n in range(1, 1 + count):
        assert ulid(n) in again.state.entries
        known = again.answer(f"k{n}")
        assert known is not None
        assert known.fingerprint == "done"
    await again.close()


async def test_what_the_disk_may_lose_ends_the_store_and_is_not_tried_again(
    tmp_path: Path,
) -> None:
    disk, begun = Disk(), list[Decision]()
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"), before=disk.before)
    disk.full_at = frozenset({"sync directory", UNSURE})

    def begin(decision: Decision) -> Future[None]:
        begun.append(decision)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    told = await asyncio.gather(
        *(store.apply(Submitted(plan(n, f"mqtt:u{n}")), now=T0, first=begin) for n in range(1, 5)),
        return_exceptions=True,
    )
    assert [type(one) for one in told] == [StoreError] * 4
    assert len(begun) == 1  # the first had the disk to itself
    await store.close()
    again = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    assert list(again.state.entries) == [ulid(1)]
    await again.close()


async def test_a_disk_that_can_be_neither_written_nor_read_ends_the_store(tmp_path: Path) -> None:
    def broken(step: str) -> None:
        if step == "sync" and (tmp_path / "queue.json.previous").exists():
            (tmp_path / "queue.json").write_bytes(b"")
            raise OSError(errno.EIO, "Input/output error")

    await QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR")).close()
    await QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR")).close()
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    store._storage._file._before = broken
    for _ in range(2):
        with pytest.raises(StoreError, match="empty"):
            await store.apply(Submitted(plan(1)), now=T0)
    assert not store.state.entries
    await store.close()


async def test_a_file_that_others_changed_ends_the_store(tmp_path: Path) -> None:
    def broken(step: str) -> None:
        if step == "sync" and (tmp_path / "queue.json.previous").exists():
            (tmp_path / "queue.json").write_bytes(b'{"about": {"queue": {}}}')
            raise OSError(errno.EIO, "Input/output error")

    await QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR")).close()
    await QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR")).close()
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    store._storage._file._before = broken
    for _ in range(2):
        with pytest.raises(StoreError, match="changed by another"):
            await store.apply(Submitted(plan(1)), now=T0)
    await store.close()


async def test_nothing_durable_nothing_written(tmp_path: Path) -> None:
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    written = (tmp_path / "queue.json").stat().st_ino
    await store.apply(CancelAsked(ulid(1), "ada"), now=T0)
    assert (tmp_path / "queue.json").stat().st_ino == written
    await store.close()


async def test_concurrent_changes_are_served_one_after_another(tmp_path: Path) -> None:
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    told = await asyncio.gather(
        *(store.apply(Submitted(plan(n, f"mqtt:u{n}")), now=T0) for n in range(1, 31))
    )
    assert [outcome(d) for d in told] == ["done"] * 30
    assert [e.number for e in store.state.waiting()] == list(range(1, 31))
    await store.close()
