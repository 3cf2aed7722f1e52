"""A node without hardware and containers that follows the contract: real client, real journal.

It starts each attempt at most once, keeps its ledger for good, and journals each step. What a run
does is up to the test: it goes on until the test (or a stop) ends it.
"""

import asyncio
import base64
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ulid import ULID

from broker.connection import Connection, Message, NotConnectedError, Presence
from broker.journal import Journal, JournalSender
from broker.messages import (
    Activity,
    Assignment,
    ChannelInfo,
    Channels,
    FileChunk,
    HubStatus,
    LedgerEntry,
    LogRecord,
    NodeReport,
    Outcome,
    Parameters,
    Phase,
    PhaseRecord,
    Quantity,
    ResultFile,
    SampleRecord,
    ServiceStatus,
    decode,
    utc_now,
)
from broker.settings import BrokerSettings
from broker.topics import Topic

Key = tuple[str, int]
STEPS: dict[str, Phase] = {
    "accepted": Phase.PREPARING,
    "executing": Phase.EXECUTING,
    "resumed": Phase.EXECUTING,
    "paused": Phase.FROZEN,
    "stopping": Phase.STOPPING,
}


@dataclass
class Memory:
    """What outlives the node's process."""

    seen_revision: int = 0
    store_id: str | None = None
    generation: int = 0


class ContractNode:
    """Use `ContractNode.running`.

    Attributes:
        started: How often each attempt was started: once, or the test fails.
        ledger: State and outcome of every attempt.
        parameters: Of the run, as last assigned.
        automatic: Whether a run ends by itself at once, completed.
        missed: Called with each assignment before it is taken; whether it does not reach the node.
        clock: What it dates the steps of its runs by.
    """

    def __init__(self, name: str, connection: Connection, journal: Journal) -> None:
        self.name, self.connection, self.journal = name, connection, journal
        self.boot_id = str(ULID())
        self.memory = Memory()
        self.ledger: dict[Key, tuple[str, Outcome | None]] = {}
        self.started: Counter[Key] = Counter()
        self.holder: Key | None = None
        self.phase = Phase.PREPARING
        self.assignments: list[Assignment] = []
        self.parameters: Parameters = {}
        self.automatic = False
        self.missed: Callable[[Assignment], bool] = lambda _: False
        self.clock: Callable[[], datetime] = utc_now
        self.accepts = True
        self.estops = 0
        self.lines = 0
        self._news = asyncio.Event()
        topics = connection.topics
        for topic, handler in (
            (topics.build(Topic.NODE_ASSIGNMENT, node=name), self._on_assignment),
            (topics.build(Topic.HUB_STATUS), self._on_hub),
            (topics.build(Topic.NODE_ESTOP, node=name, principal="hub"), self._on_estop),
        ):
            connection.subscribe(topic, handler)
        connection.on_connect(self.say_everything)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, settings: BrokerSettings, directory: Path, name: str = "reactor-1"
    ) -> AsyncIterator["ContractNode"]:
        """Run a node until the block ends."""
        connection = Connection(settings, client_id=f"{name}-{ULID()}")
        journal = await asyncio.to_thread(Journal.open, directory / name)
        try:
            node = cls(name, connection, journal)
            status = ServiceStatus(
                state="online", version="test", boot_id=node.boot_id, since=utc_now()
            )
            topic = connection.topics.build(Topic.NODE_STATUS, node=name)
            presence = Presence(connection, topic, status)
            sending = asyncio.create_task(JournalSender(journal, connection, name).run())
            acting = asyncio.create_task(node._act())
            try:
                async with connection, presence:
                    yield node
            finally:
                for task in (sending, acting):
                    task.cancel()
                await asyncio.gather(sending, acting, return_exceptions=True)
        finally:
            await asyncio.to_thread(journal.close)

    async def end(
        self,
        outcome: Outcome = "completed",
        *,
        exit_code: int | None = 0,
        file: bytes | None = None,
        elapsed: float | None = None,
    ) -> None:
        """End the run: release the reactor, send the results, finish.

        Args:
            elapsed: What the experiment's clock shows then.
        """
        assert self.holder is not None
        key, self.holder = self.holder, None
        self.ledger[key] = ("released", None)
        await self._step(key, "released", elapsed=elapsed)
        await self.report()
        files: tuple[ResultFile, ...] = ()
        mark: tuple[str, int] | None = None
        if file is not None:
            digest = hashlib.sha256(file).hexdigest()
            files = (ResultFile(name="result.bin", size=len(file), sha256=digest),)
            mark = await self.journal.append("files", _chunks(key, file, digest))
        self.ledger[key] = ("finished", outcome)
        await self._step(
            key, "finished", outcome=outcome, exit_code=exit_code, files=files, files_upto=mark
        )
        await self.report()

    async def interrupt(self) -> None:
        """Lose the container, as a reboot does."""
        assert self.holder is not None
        key, self.holder = self.holder, None
        self.ledger[key] = ("finished", "failed")
        await self._step(key, "interrupted")
        await self.report()

    async def measure(self, count: int = 1) -> None:
        """Journal samples and log lines of the run."""
        assert self.holder is not None
        experiment_id, attempt = self.holder
        for _ in range(count):
            self.lines += 1
            common = {"t": utc_now(), "experiment_id": experiment_id, "attempt": attempt}
            sample = SampleRecord.model_validate(
                {**common, "elapsed": float(self.lines), "values": {"od": 0.1 * self.lines}}
            )
            line = LogRecord.model_validate(
                {**common, "n": self.lines, "source": "stdout", "text": f"line {self.lines}"}
            )
            await self.journal.append("records", [sample, line])

    async def say_everything(self) -> None:
        """Publish channels and report, as at each connect."""
        channels = Channels(
            node=self.name,
            label=self.name,
            channels=tuple(_channel(name) for name in ("od", "temperature", "media", "waste")),
            images={"standard": {"numpy": "numpy", "sklearn": "scikit-learn"}},
        )
        topics = self.connection.topics
        topic = topics.build(Topic.NODE_CHANNELS, node=self.name)
        await self.connection.publish(topic, channels.encode(), retain=True)
        await self.report()

    async def report(self) -> None:
        """Publish the report as of now."""
        activity = None
        if self.holder is not None:
            activity = Activity(
                experiment_id=self.holder[0],
                attempt=self.holder[1],
                phase=self.phase,
                since=utc_now(),
            )
        backlog = self.journal.backlog()
        report = NodeReport(
            node=self.name,
            boot_id=self.boot_id,
            at=utc_now(),
            seen_revision=self.memory.seen_revision,
            seen_store_id=self.memory.store_id,
            seen_generation=self.memory.generation,
            accepts=self.accepts and self.holder is None,
            isolation="none",
            activity=activity,
            ledger=tuple(
                LedgerEntry.model_validate(
                    {"experiment_id": i, "attempt": a, "state": state, "outcome": outcome}
                )
                for (i, a), (state, outcome) in self.ledger.items()
            ),
            safe=self.holder is None,
            backlog=dict(backlog),
        )
        topic = self.connection.topics.build(Topic.NODE_REPORT, node=self.name)
        with contextlib.suppress(NotConnectedError, TimeoutError):  # said again at the connect
            await self.connection.publish(topic, report.encode(), retain=True)

    async def _on_assignment(self, message: Message) -> None:
        if not message.payload:
            return
        desired = decode(Assignment, message.payload)
        if self.missed(desired) or desired.revision <= self.memory.seen_revision:
            return
        self.memory.seen_revision = desired.revision
        self.memory.store_id, self.memory.generation = desired.store_id, desired.generation
        self.assignments.append(desired)
        self._news.set()

    async def _on_hub(self, message: Message) -> None:
        hub = decode(HubStatus, message.payload)
        if hub.store_id == self.memory.store_id:
            self.memory.generation = max(self.memory.generation, hub.generation)

    async def _on_estop(self, message: Message) -> None:
        self.estops += bool(message.payload)

    async def _act(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._follow(self.assignments[-1])
            await self.report()

    async def _follow(self, desired: Assignment) -> None:
        if desired.experiment_id is None or desired.attempt is None:
            return
        key = (desired.experiment_id, desired.attempt)
        self.parameters = desired.parameters
        if self.holder == key:
            if desired.desired == "stop":
                self.phase = Phase.STOPPING
                await self._step(key, "stopping")
                await self.end("cancelled", exit_code=-15)
            elif desired.desired == "pause" and self.phase is not Phase.FROZEN:
                await self._step(key, "paused")
            elif desired.desired == "run" and self.phase is Phase.FROZEN:
                await self._step(key, "resumed")
        elif key not in self.ledger and desired.desired == "stop":
            self.ledger[key] = ("finished", "cancelled")
            await self._step(key, "finished", outcome="cancelled")
        elif key not in self.ledger and self.holder is None:
            assert desired.script is not None
            assert hashlib.sha256(desired.script.encode()).hexdigest() == desired.script_sha256
            self.holder, self.ledger[key] = key, ("accepted", None)
            await self._step(key, "accepted")
            self.started[key] += 1
            await self._step(key, "executing", image="standard@test", isolation="none")
            if self.automatic:
                await self.measure()
                await self.end()

    async def _step(self, key: Key, phase: str, **more: object) -> None:
        self.phase = STEPS.get(phase, self.phase)
        record = PhaseRecord.model_validate(
            {"t": self.clock(), "experiment_id": key[0], "attempt": key[1], "phase": phase, **more}
        )
        await self.journal.append("records", [record])


def _chunks(key: Key, content: bytes, digest: str) -> list[FileChunk]:
    pieces = [content[i : i + 65536] for i in range(0, len(content), 65536)] or [b""]
    return [
        FileChunk(
            experiment_id=key[0],
            attempt=key[1],
            name="result.bin",
            offset=number * 65536,
            data=base64.b64encode(piece).decode(),
            last=number == len(pieces) - 1,
            size=len(content) if number == len(pieces) - 1 else None,
            sha256=digest if number == len(pieces) - 1 else None,
        )
        for number, piece in enumerate(pieces)
    ]


def _channel(name: str) -> ChannelInfo:
    return ChannelInfo(
        name=name,
        kind="pump" if name in {"media", "waste"} else "sensor",
        quantity=Quantity.OTHER,
        unit="1",
        label=name,
        driver="test",
        period=1,
    )
