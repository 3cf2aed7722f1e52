"""The hub for the protocol's state machine: its real rules on its real stores, without a broker.

The store can die at each step of a write; `Watched` compares the state before and after each
change with what must hold of every change.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from broker.journal.receiver import parse_batch
from broker.journal.reception import Arrived, acknowledgement, plan
from broker.messages import (
    Channels,
    Done,
    HubStatus,
    NodeReport,
    Plain,
    Result,
    RunLimits,
    ServiceStatus,
    decode,
)
from broker.requests import Asked
from broker.topics import STREAMS
from hub_service.archive import Archive
from hub_service.desk import Desk
from hub_service.dispatch import assignment, script_of
from hub_service.queue import Decision, Event, QueueState
from hub_service.queue.events import (
    MoveAsked,
    NodeOffered,
    NodePresence,
    NodeReported,
    RunNowAsked,
    Submitted,
)
from hub_service.queue.settle import may_run
from hub_service.queue.state import Offer, Stage
from hub_service.store import QueueStore

SCRIPT = "print(1)\n"
Publish = Callable[[str, str, bytes], None]


class PowerCutError(Exception):
    """The hub died in the middle of a write."""


class Fate:
    """Cuts the power before a step of a write, when told to."""

    def __init__(self) -> None:
        self.left = 0

    def step(self, _name: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise PowerCutError


class Watched(QueueStore):
    """A store that checks each change."""

    async def apply(self, *events: Event, now: datetime, **more: Any) -> Decision:
        before = self.state
        decision = await super().apply(*events, now=now, **more)
        check_change(before, decision.state, events)
        return decision


def check_change(before: QueueState, after: QueueState, events: tuple[Event, ...]) -> None:
    """Check what holds for every change, whatever caused it."""
    assert after.revision >= before.revision
    assert after.generation >= before.generation
    for name, node in before.nodes.items():
        new = after.nodes[name]
        assert new.revision >= node.revision
        assert new.revision > node.revision or new.intent == node.intent
    for old in before.entries.values():
        kept = after.entries.get(old.id)
        if kept is None:
            assert old.stage is Stage.ENDED, "only what is archived leaves the queue"
        else:
            assert kept.attempt >= old.attempt
            assert old.stage is not Stage.ENDED or kept == old, "a finished state never changes"
    _check_order(before, after, events)
    _check_places(before, after)


def _check_order(before: QueueState, after: QueueState, events: tuple[Event, ...]) -> None:
    assert len(set(after.order)) == len(after.order)
    assert set(after.order) == {i for i, e in after.entries.items() if e.stage is Stage.WAITING}
    held = [after.entries[i].held for i in after.order]
    places = [after.position(i) for i in after.order]
    assert [p for p in places if p] == list(range(1, held.count(False) + 1))
    moved = {e.experiment_id for e in events if isinstance(e, MoveAsked | RunNowAsked)}
    stayed = [i for i in before.order if i in after.order and i not in moved]
    assert [i for i in after.order if i in stayed] == stayed, "only a move changes the order"
    for event in events:
        if isinstance(event, Submitted) and event.plan.experiment_id not in before.entries:
            user = event.plan.user
            assert before.count(user) < before.limits.per_user or after.count(user) == before.count(
                user
            )


def _check_places(before: QueueState, after: QueueState) -> None:
    """First in, first out: nobody was given a reactor that one in front could have had."""
    seen = [i for i in before.order if i in after.entries]
    for place, one in enumerate(seen):
        entry = after.entries[one]
        if entry.stage is not Stage.ASSIGNED or entry.adopted or entry.node is None:
            continue
        for front in after.order[: after.order.index(one)] if one in after.order else ():
            assert after.entries[front].held
        ahead = [after.entries[i] for i in seen[:place] if i in after.order]
        node = after.nodes[entry.node]
        moved = after.order[:1] == (one,)
        for other in ahead:
            assert moved or other.held or not may_run(other, entry.node, node)


class HubSide:
    """A hub that lives from `open` to `die`.

    Args:
        publish: Takes node, kind of topic and payload; what is retained.
    """

    def __init__(
        self,
        directory: Path,
        *,
        publish: Publish,
        new_id: Callable[[], str],
        clock: Callable[[], datetime],
    ) -> None:
        self.directory = directory
        self.fate = Fate()
        self._publish, self._new_id, self._clock = publish, new_id, clock
        self._told: dict[tuple[str, str], bytes] = {}
        self._boot_id = ""
        self.alive = False

    async def open(self) -> None:
        """Start the hub's process."""
        self.store = Watched.open(self.directory, new_id=self._new_id, before=self.fate.step)
        self.archive = Archive.open(self.directory / "archive")
        self.desk = Desk(self.store, self.archive, clock=self._clock, changed=lambda: None)
        self._boot_id = self._new_id()
        self._told.clear()
        self.alive = True
        try:
            await self.desk.open()
        except PowerCutError:
            await self.die()
            raise

    async def die(self) -> None:
        """End it; what was not written is gone."""
        self.fate.left = 0
        self.alive = False
        self.archive.close()
        await self.store.close()

    @property
    def state(self) -> QueueState:
        return self.store.state

    async def ask(
        self, user: str, verb: str, event: Event, identity: str, *, script: bool = False
    ) -> Result:
        """Carry out a command as `Commands` does."""
        asked = Asked(
            principal=user,
            admin=False,
            verb=verb,
            request=Plain(id=identity),
            fingerprint=verb,
            received_at=self._clock(),
        )
        known = self.desk.recall(asked)
        if known is not None:
            return known
        sha256 = "a" * 64
        return await self.desk.command(
            asked, event, _told, script=(sha256, SCRIPT) if script else None
        )

    async def take(self, node: str, kind: str, payload: bytes) -> None:
        """Take a message of a node."""
        if kind in STREAMS:
            await self._journal(node, kind, payload)
            return
        event: Event
        if kind == "status":
            status = decode(ServiceStatus, payload)
            event = NodePresence(node, status.boot_id, online=status.state == "online")
        elif kind == "channels":
            told = decode(Channels, payload)
            names = frozenset(channel.name for channel in told.channels)
            event = NodeOffered(node, Offer(names, dict(told.images), told.speed))
        else:
            event = NodeReported(node, decode(NodeReport, payload))
        await self.desk.learn(event)
        if isinstance(event, NodePresence) and event.online:
            for stream in STREAMS:
                await self._acknowledge(node, stream, ())

    async def _journal(self, node: str, stream: str, payload: bytes) -> None:
        batch = parse_batch(payload)
        assert isinstance(batch, Arrived)
        cursors = await self.archive.cursors(node, stream)
        for commit in plan(cursors, [batch]):
            assert commit.gap is None
            await self.archive.commit(node, stream, commit)
        await self.desk.catch_up()
        await self._acknowledge(node, stream, (batch.epoch,))

    async def _acknowledge(self, node: str, stream: str, heard: tuple[str, ...]) -> None:
        applied = await self.archive.applied(node, stream, heard)
        self._publish(node, stream, acknowledgement(applied, heard).encode())

    async def tell(self) -> None:
        """Publish what changed of the retained topics."""
        state = self.state
        status = HubStatus(
            state="online", version="1", boot_id=self._boot_id, since=self._clock(),
            store_id=state.store_id, generation=state.generation,
        )  # fmt: skip
        for name in state.nodes:
            self._retain(name, "hub", status.encode(), key=f"{status.generation}")
            sha256 = script_of(state, name)
            script = None if sha256 is None else await self.archive.get_script(sha256)
            desired = assignment(state, name, RunLimits(), script)
            if desired is not None:
                self._retain(name, "assignment", desired.encode())

    async def archive_ended(self) -> None:
        await self.desk._archive_ended()

    async def finished(self) -> Mapping[str, JsonValue]:
        """Return the archived experiments as they stand there."""
        rows = await self.archive._rows("SELECT experiment_id, body FROM finished")
        return dict(rows)

    async def lines(self, node: str, experiment_id: str, attempt: int) -> list[int]:
        rows = await self.archive._rows(
            "SELECT l.n FROM logs l JOIN runs r ON r.id = l.run JOIN nodes n ON n.id = r.node"
            " WHERE n.name = ? AND r.experiment_id = ? AND r.attempt = ? ORDER BY l.n, l.tie",
            node,
            experiment_id,
            attempt,
        )
        return [n for (n,) in rows]

    def _retain(self, node: str, kind: str, payload: bytes, key: str | None = None) -> None:
        mark = payload if key is None else key.encode()
        if self._told.get((node, kind)) != mark:
            self._told[node, kind] = mark
            self._publish(node, kind, payload)


def _told(decision: Decision) -> Result:
    answer = decision.answer
    assert answer is not None
    entry = decision.state.entries.get(answer.experiment_id or "")
    return Done(
        outcome=answer.outcome,
        message=answer.message,
        experiment_id=answer.experiment_id,
        status=None if entry is None else entry.status,
    )
