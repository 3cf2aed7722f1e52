"""A node for the protocol's state machine: the real rules, a ledger and a journal in memory.

What a node writes to its disk survives `kill`; containers survive it too, but not `reboot`. Each
call of `advance` takes one step between two durable writes, so that a kill can come between any.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from broker.journal.reception import acknowledged
from broker.messages import (
    Activity,
    Assignment,
    Batch,
    Channels,
    FileChunk,
    HubStatus,
    JournalAck,
    LogRecord,
    NodeReport,
    Phase,
    PhaseRecord,
    ServiceStatus,
    StreamBacklog,
    decode,
)
from node_service import endings
from node_service.reconcile import (
    Accept,
    Answer,
    Close,
    Known,
    Nothing,
    Refuse,
    Steer,
    Stop,
    check,
    is_news,
    next_action,
)
from node_service.runs import Ending, Run, RunKey, Stage
from tests.support.contract_node import _channel

IMAGE = "sha256:" + "1" * 64
Publish = Callable[[str, str, bytes], None]


@dataclass
class Shelf:
    """One epoch of a stream."""

    epoch: str
    order: int
    entries: list[dict[str, Any]] = field(default_factory=list)
    acked: int = 0


@dataclass
class Live:
    """What the node's process knows of an attempt; gone with it."""

    key: RunKey
    frozen: bool | None = None
    ending: Ending | None = None
    begun: bool = False
    adopting: bool = False


class NodeSide:
    """One node.

    Args:
        publish: Takes node, kind of topic and payload.

    Attributes:
        started: How often each attempt's container was started.
        containers: Of each attempt: running, paused, or how it exited.
    """

    def __init__(
        self,
        name: str,
        channels: Sequence[str],
        *,
        publish: Publish,
        new_id: Callable[[], str],
        clock: Callable[[], datetime],
    ) -> None:
        self.name, self._channels = name, channels
        self._publish, self._new_id, self._clock = publish, new_id, clock
        self.seen_revision, self.seen_generation = 0, 0
        self.seen_store_id: str | None = None
        self.assignment: Assignment | None = None
        self.runs: dict[RunKey, Run] = {}
        self.outbox: list[PhaseRecord] = []
        self.shelves: dict[str, list[Shelf]] = {"records": [], "files": []}
        self.packed: dict[RunKey, tuple[str, int]] = {}
        self.containers: dict[RunKey, str] = {}
        self.started: Counter[RunKey] = Counter()
        self.boot_id: str | None = None
        self._order = 0
        self._incoming: Assignment | None = None
        self._living: dict[RunKey, Live] = {}
        self._journaled = 0

    @property
    def up(self) -> bool:
        return self.boot_id is not None

    def start(self) -> None:
        """Start the process: a new boot, a new epoch of the journal."""
        self.boot_id = self._new_id()
        self._order += 1
        for shelves in self.shelves.values():
            shelves.append(Shelf(self._new_id(), self._order))
        self._incoming = None
        self._journaled = 0
        self._living = {
            run.key: Live(
                run.key,
                ending=None if run.stage in {Stage.ENDED, Stage.RELEASED} else run.ending,
                begun=run.stage is Stage.RUNNING and run.ending is not None,
                adopting=run.stage in {Stage.STARTING, Stage.RUNNING},
            )
            for run in self.runs.values()
            if run.stage is not Stage.FINISHED
        }
        if self.holder is not None:
            self._step()
        self.connect()

    def kill(self) -> None:
        self.boot_id = None

    def reboot(self) -> None:
        self.kill()
        self.containers.clear()

    def connect(self) -> None:
        """Say everything, as at each connect."""
        self._say_online()
        channels = Channels(
            node=self.name,
            label=self.name,
            channels=tuple(_channel(name) for name in self._channels),
            images={"standard": {}},
        )
        self._publish(self.name, "channels", channels.encode())
        self.report()

    def _say_online(self) -> None:
        assert self.boot_id is not None
        status = ServiceStatus(
            state="online", version="1", boot_id=self.boot_id, since=self._clock()
        )
        self._publish(self.name, "status", status.encode())

    def last_will(self) -> bytes:
        assert self.boot_id is not None
        return ServiceStatus(
            state="offline", version="1", boot_id=self.boot_id, since=self._clock()
        ).encode()

    @property
    def holder(self) -> RunKey | None:
        return next((key for key in self._living if self._holds(self.runs[key])), None)

    @staticmethod
    def _holds(run: Run) -> bool:
        closed = run.stage is Stage.ENDED and run.image is None
        return run.stage.holds_reactor and not closed

    def hear(self, kind: str, payload: bytes) -> None:
        """Take a message of the hub."""
        if kind == "assignment":
            desired = decode(Assignment, payload)
            check(desired)
            if self._incoming is None or is_news(desired, self._incoming.revision):
                self._incoming = desired
        elif kind == "hub":
            status = decode(HubStatus, payload)
            if status.store_id == self.seen_store_id:
                self.seen_generation = max(self.seen_generation, status.generation)
        elif kind == "status":
            if decode(ServiceStatus, payload).state == "offline":
                self._say_online()
        else:
            ack = decode(JournalAck, payload)
            shelves = self.shelves[kind]
            told = acknowledged(ack, [shelf.epoch for shelf in shelves])
            for shelf in shelves:
                shelf.acked = min(told.get(shelf.epoch, shelf.acked), len(shelf.entries))

    def advance(self) -> bool:
        """Take one step up to the next durable write; False if there is nothing to do."""
        if self._incoming is not None:
            assignment, self._incoming = self._incoming, None
            if is_news(assignment, self.seen_revision):
                self.assignment, self.seen_revision = assignment, assignment.revision
                self.seen_store_id = assignment.store_id
                self.seen_generation = assignment.generation
            self._step()
            return True
        if self._journaled:
            del self.outbox[: self._journaled]
            self._journaled = 0
            return True
        if self.outbox:
            for record in self.outbox:
                self._append("records", record.model_dump(mode="json", exclude_none=True))
            self._journaled = len(self.outbox)
            return True
        return any(self._move_on(live) for live in list(self._living.values())) or self._step()

    def write_line(self) -> None:
        """Have the script that runs print a line, if the node takes it."""
        for key, live in self._living.items():
            stage = self.runs[key].stage
            if stage is Stage.RUNNING and self.containers.get(key) == "running" and not live.ending:
                n = len(self.lines(key)) + 1
                line = LogRecord(
                    t=self._clock(), experiment_id=key.experiment_id, attempt=key.attempt,
                    n=n, source="stdout", text=f"line {n}",
                )  # fmt: skip
                self._append("records", line.model_dump(mode="json", exclude_none=True))

    def lines(self, key: RunKey) -> list[int]:
        """Return the numbers of all log lines of an attempt that this node ever journaled."""
        return [
            entry["n"]
            for shelf in self.shelves["records"]
            for entry in shelf.entries
            if entry["kind"] == "log" and (entry["experiment_id"], entry["attempt"]) == key
        ]

    def exit(self, code: int) -> None:
        """Have the scripts that run end by themselves."""
        for key, state in self.containers.items():
            if state == "running":
                self.containers[key] = f"exited {code}"

    def batch(self, stream: str, skip: int, most: int) -> None:
        """Send entries that are not acknowledged, a few ahead of the first."""
        for shelf in self.shelves[stream]:
            if shelf.acked < len(shelf.entries):
                first = min(shelf.acked + skip, len(shelf.entries) - 1)
                batch = Batch(
                    epoch=shelf.epoch, order=shelf.order, floor=1, first=first + 1,
                    entries=tuple(shelf.entries[first : first + most]),
                )  # fmt: skip
                self._publish(self.name, stream, batch.encode())
                return

    def report(self) -> None:
        """Publish the report as of now."""
        assert self.boot_id is not None
        key = self.holder or next(iter(self._living), None)
        activity = None
        if key is not None:
            activity = Activity(
                experiment_id=key.experiment_id,
                attempt=key.attempt,
                phase=self._phase(self.runs[key]),
                since=self._clock(),
            )
        newest = tuple(run.entry for run in reversed(self.runs.values()))[:50]
        report = NodeReport(
            node=self.name,
            boot_id=self.boot_id,
            at=self._clock(),
            seen_revision=self.seen_revision,
            seen_store_id=self.seen_store_id,
            seen_generation=self.seen_generation,
            accepts=True,
            isolation="docker",
            activity=activity,
            ledger=newest,
            safe=self.holder is None,
            backlog={
                stream: StreamBacklog(
                    entries=sum(len(s.entries) - s.acked for s in shelves), bytes=0
                )
                for stream, shelves in self.shelves.items()
            },
        )
        self._publish(self.name, "report", report.encode())

    def _phase(self, run: Run) -> Phase:
        if run.stage is Stage.RUNNING:
            state = self.containers.get(run.key)
            return Phase.FROZEN if state == "paused" else Phase.EXECUTING
        if not run.stage.holds_reactor:
            return Phase.COLLECTING
        return Phase.STOPPING if run.stage is Stage.ENDED else Phase.PREPARING

    def _step(self) -> bool:
        """Ask the real rules for the next step and take it; False if nothing changed."""
        desired = self.assignment
        key = None if desired is None else RunKey.of(desired)
        run = None if key is None else self.runs.get(key)
        action = next_action(desired, Known(self.holder, run.entry if run else None))
        holder = None if self.holder is None else self._living[self.holder]
        match action:
            case Nothing() | Answer() | Refuse():
                return False
            case Accept(assignment=assignment):
                self._accept(assignment, None)
            case Close(assignment=assignment, ending=ending):
                self._accept(assignment, ending)
            case Steer(frozen=frozen):
                assert holder is not None
                changed = holder.frozen != frozen
                holder.frozen = frozen
                return changed
            case Stop(ending=ending):
                assert holder is not None
                if holder.ending is not None:
                    return False
                holder.ending = ending
        return True

    def _accept(self, assignment: Assignment, ending: Ending | None) -> None:
        key = RunKey.of(assignment)
        assert key is not None
        assert key not in self.runs
        stage = Stage.ACCEPTED if ending is None else Stage.ENDED
        self.runs[key] = Run(key, stage, assignment, self._clock(), ending=ending)
        self._post(key, "accepted")
        self._living[key] = Live(key)

    def _move_on(self, live: Live) -> bool:
        run = self.runs[live.key]
        state = self.containers.get(live.key)
        match run.stage:
            case Stage.ACCEPTED:
                if live.ending is not None:
                    self._end(run, live.ending)
                else:
                    self._put(run, stage=Stage.STARTING, image=IMAGE)
            case Stage.STARTING if state is None and live.adopting:
                self._end(run, live.ending or endings.LOST)
            case Stage.STARTING if state is None:
                self.started[live.key] += 1
                self.containers[live.key] = "running"
            case Stage.STARTING:
                self._put(run, stage=Stage.RUNNING)
                self._post(live.key, "executing", image=IMAGE)
            case Stage.RUNNING:
                return self._supervise(live, run, state)
            case Stage.ENDED:
                self.containers.pop(live.key, None)
                self._put(run, stage=Stage.RELEASED)
                self._post(live.key, "released")
            case Stage.RELEASED if run.image is not None and live.key not in self.packed:
                chunk = FileChunk(
                    experiment_id=live.key.experiment_id, attempt=live.key.attempt,
                    name="a", offset=0, data="", last=True, size=0,
                    sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                )  # fmt: skip
                self._append("files", chunk.model_dump(mode="json", exclude_none=True))
                shelf = self.shelves["files"][-1]
                self.packed[live.key] = (shelf.epoch, len(shelf.entries))
            case Stage.RELEASED:
                assert run.ending is not None
                self._put(run, stage=Stage.FINISHED)
                self._post(
                    live.key,
                    "interrupted" if run.ending.interrupted else "finished",
                    outcome=run.ending.outcome,
                    exit_code=run.ending.exit_code,
                    error=run.ending.error,
                    files_upto=self.packed.get(live.key),
                )
                del self._living[live.key]
            case Stage.FINISHED:
                raise AssertionError("what is finished does not live")
        return True

    def _supervise(self, live: Live, run: Run, state: str | None) -> bool:
        if state is None or state.startswith("exited"):
            if live.begun and live.ending is not None:
                self._end(run, live.ending)
            elif state is None:
                self._end(run, endings.LOST)
            else:
                code = int(state.split()[1])
                outcome = "completed" if code == 0 else "failed"
                self._end(run, Ending(outcome=outcome, exit_code=code))
            return True
        if live.ending is not None:
            if not live.begun:
                live.begun = True
                self._put(run, ending=live.ending)
                self._post(live.key, "stopping", error=live.ending.error)
            else:
                self.containers[live.key] = "exited 137"
            return True
        if live.frozen is not None and live.frozen != (state == "paused"):
            self.containers[live.key] = "paused" if live.frozen else "running"
            self._post(live.key, "paused" if live.frozen else "resumed")
            return True
        return False

    def _end(self, run: Run, ending: Ending) -> None:
        self._put(run, stage=Stage.ENDED, ending=ending)

    def _put(self, run: Run, **changes: Any) -> None:
        self.runs[run.key] = replace(run, **changes)

    def _post(self, key: RunKey, phase: str, **more: Any) -> None:
        self.outbox.append(
            PhaseRecord.model_validate(
                {
                    "t": self._clock(),
                    "experiment_id": key.experiment_id,
                    "attempt": key.attempt,
                    "phase": phase,
                    **more,
                }
            )
        )

    def _append(self, stream: str, entry: dict[str, Any]) -> None:
        self.shelves[stream][-1].entries.append(entry)
