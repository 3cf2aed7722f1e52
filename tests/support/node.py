"""A node as a process of its own, and a hub for it that is a plain client of the contract."""

import asyncio
import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ulid import ULID

from broker.children import Child
from broker.connection import Connection, Message
from broker.messages import (
    RECORD,
    Assignment,
    Batch,
    Channels,
    Console,
    ErrorReport,
    FileChunk,
    HubStatus,
    JournalAck,
    LogRecord,
    NodeReport,
    PhaseRecord,
    Record,
    RunLimits,
    SampleRecord,
    Telemetry,
    decode,
    utc_now,
)
from broker.settings import BrokerSettings
from broker.topics import Topic
from node_service.runner.options import LABEL_INSTANCE
from tests.support.brokers import broker_section
from tests.support.waiting import PATIENCE, eventually

BASE_IMAGE: Final = os.environ.get("BIOREACTOR_NODE_BASE_IMAGE", "bioreactor-base:debian12")
SMALL: Final = RunLimits(
    memory=64 * 1024**2, results=4 * 1024**2, tmp=4 * 1024**2, pids=32, grace=3.0
)


@dataclass
class Hub:
    """Commits what a node journals, in memory, and says what it desires.

    Attributes:
        entries: What was committed, by stream; each with its epoch's order and its number.
        on_commit: Told of the stream and each entry as it comes.
    """

    connection: Connection
    node: str = "reactor-1"
    store_id: str = field(default_factory=lambda: str(ULID()))
    revision: int = 0
    boot_id: str = field(default_factory=lambda: str(ULID()))
    committed: dict[str, dict[str, int]] = field(
        default_factory=lambda: {"records": {}, "files": {}}
    )
    entries: dict[str, list[tuple[str, int, Any]]] = field(
        default_factory=lambda: {"records": [], "files": []}
    )
    reports: list[NodeReport] = field(default_factory=list)
    telemetry: list[Telemetry] = field(default_factory=list)
    console: list[Console] = field(default_factory=list)
    errors: list[ErrorReport] = field(default_factory=list)
    channels: Channels | None = None
    gaps: int = 0
    on_commit: Callable[[str, Any], None] = lambda _stream, _entry: None

    def listen(self) -> None:
        """Subscribe; before the connection is entered."""
        topic, subscribe = self.connection.topics.build, self.connection.subscribe
        node = self.node
        for stream in ("records", "files"):
            subscribe(topic(Topic.NODE_JOURNAL, node=node, stream=stream), self._batch)
        subscribe(topic(Topic.NODE_REPORT, node=node), self._report)
        subscribe(topic(Topic.NODE_CHANNELS, node=node), self._channels)
        self.connection.on_connect(self.say_online)

    async def say_online(self) -> None:
        status = HubStatus(
            state="online", version="test", boot_id=self.boot_id, since=utc_now(),
            store_id=self.store_id, generation=1,
        )  # fmt: skip
        await self._retain(Topic.HUB_STATUS, status.encode())

    async def desire(self, **what: Any) -> Assignment:
        """Publish an assignment with the next revision."""
        seen = self.report.seen_revision if self.reports else 0
        self.revision = max(self.revision, seen) + 1
        assignment = Assignment(
            revision=self.revision, store_id=self.store_id, generation=1, **what
        )
        await self._retain(Topic.NODE_ASSIGNMENT, assignment.encode(), node=self.node)
        return assignment

    async def run(self, script: str, **more: Any) -> Assignment:
        """Have a fresh experiment run."""
        text = textwrap.dedent(script)
        wanted: dict[str, Any] = {
            "desired": "run", "experiment_id": str(ULID()), "attempt": 1, "name": "Test",
            "script": text, "script_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "image": "bare", "limits": SMALL,
        }  # fmt: skip
        return await self.desire(**(wanted | more))

    async def again(self, assignment: Assignment, **changes: Any) -> Assignment:
        """Publish an assignment once more, changed."""
        kept = assignment.model_dump(exclude={"revision", "store_id", "generation"})
        return await self.desire(**(kept | changes))

    @property
    def report(self) -> NodeReport:
        return self.reports[-1]

    def records(self, experiment_id: str | None = None) -> list[Record]:
        records = [RECORD.validate_python(entry) for _, _, entry in self.entries["records"]]
        if experiment_id is None:
            return records
        return [record for record in records if record.experiment_id == experiment_id]

    def phases(self, experiment_id: str) -> list[str]:
        found = self.records(experiment_id)
        return [record.phase for record in found if isinstance(record, PhaseRecord)]

    def last(self, experiment_id: str) -> PhaseRecord:
        """Return the last step of an experiment."""
        return [r for r in self.records(experiment_id) if isinstance(r, PhaseRecord)][-1]

    def log(self, experiment_id: str, *sources: str) -> list[str]:
        return [
            record.text
            for record in self.records(experiment_id)
            if isinstance(record, LogRecord) and record.source in (sources or ("stdout", "stderr"))
        ]

    def samples(self, experiment_id: str | None = None) -> list[SampleRecord]:
        return [r for r in self.records(experiment_id) if isinstance(r, SampleRecord)]

    def files(self, experiment_id: str) -> dict[str, bytes]:
        """Return the files that arrived whole, with what their last piece says checked."""
        contents: dict[str, bytearray] = {}
        whole: dict[str, bytes] = {}
        for _, _, entry in self.entries["files"]:
            chunk = FileChunk.model_validate(entry)
            if chunk.experiment_id != experiment_id:
                continue
            content = contents.setdefault(chunk.name, bytearray())
            del content[chunk.offset :]
            assert len(content) == chunk.offset
            content += base64.b64decode(chunk.data)
            if chunk.last:
                assert (len(content), hashlib.sha256(content).hexdigest()) == (
                    chunk.size,
                    chunk.sha256,
                )
                whole[chunk.name] = bytes(content)
        return whole

    async def until_phase(
        self, experiment_id: str, phase: str, within: float = PATIENCE
    ) -> PhaseRecord:
        """Wait until a step was committed."""
        await eventually(lambda: phase in self.phases(experiment_id), within=within, every=0.05)
        return next(
            r for r in self.records(experiment_id)
            if isinstance(r, PhaseRecord) and r.phase == phase
        )  # fmt: skip

    async def until_said(self, experiment_id: str, text: str, within: float = PATIENCE) -> None:
        """Wait until the log has a line with the text."""
        await eventually(
            lambda: any(
                text in line for line in self.log(experiment_id, "stdout", "stderr", "system")
            ),
            within=within,
            every=0.05,
        )

    async def _batch(self, message: Message) -> None:
        address = self.connection.topics.parse(message.topic)
        assert address is not None
        stream = address["stream"]
        batch = decode(Batch, message.payload)
        committed = self.committed[stream]
        have = committed.get(batch.epoch, 0)
        if batch.floor > have + 1:
            self.gaps += 1
            have = batch.floor - 1
        if batch.first <= have + 1:
            for number, entry in enumerate(batch.entries, start=batch.first):
                if number > have:
                    self.entries[stream].append((batch.epoch, number, entry))
                    self.on_commit(stream, entry)
                    have = number
        committed[batch.epoch] = have
        ack = JournalAck(epochs=dict(committed))
        topic = self.connection.topics.build(Topic.NODE_JOURNAL_ACK, node=self.node, stream=stream)
        await self.connection.publish(topic, ack.encode(), retain=True)

    async def _report(self, message: Message) -> None:
        if message.payload:
            self.reports.append(decode(NodeReport, message.payload))

    async def _channels(self, message: Message) -> None:
        if message.payload:
            self.channels = decode(Channels, message.payload)

    async def _retain(self, topic: Topic, payload: bytes, **levels: str) -> None:
        await self.connection.publish(
            self.connection.topics.build(topic, **levels), payload, retain=True
        )


@dataclass
class Node:
    """A node's process.

    Attributes:
        lines: Its log.
    """

    config: Path
    data: Path
    lines: list[str] = field(default_factory=list)
    child: Child | None = None

    def start(self, module: str = "node_service", **environment: str) -> None:
        """Start it, or start it again; a test may have a node of its own in `module`."""
        self.child = Child.start(
            [sys.executable, "-m", module, "--config", str(self.config)],
            env={**os.environ, **environment},
            on_line=self.lines.append,
        )

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, None while it runs."""
        return None if self.child is None else self.child.returncode

    async def until_ready(self, hub: Hub, within: float = PATIENCE) -> None:
        """Wait until it reports that it accepts experiments."""
        seen = len(hub.reports)
        try:
            await eventually(
                lambda: (
                    self.returncode is not None or (len(hub.reports) > seen and hub.report.accepts)
                ),
                within=within,
            )
            assert self.returncode is None
        except AssertionError as error:
            raise AssertionError("the node is not ready:\n" + "\n".join(self.lines)) from error

    async def until_dead(self, within: float = PATIENCE) -> None:
        """Wait until it was killed, by whomever."""
        await eventually(lambda: self.returncode == -signal.SIGKILL, within=within)

    async def kill(self) -> None:
        """Kill it as a power cut would."""
        assert self.child is not None
        self.child.send_signal(signal.SIGKILL)
        await self.child.wait()

    async def stop(self) -> int:
        """Stop it as a service manager would."""
        assert self.child is not None
        return await self.child.stop(40)


def write_config(
    path: Path, broker: BrokerSettings, images: Mapping[str, Path], **node: str | float | bool
) -> None:
    """Write a node's configuration."""
    sections: dict[str, Mapping[str, str | float | bool]] = {
        "broker": broker_section(broker),
        "node": node,
        "node.images": {name: str(directory) for name, directory in images.items()},
    }
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    path.write_text("\n".join(lines))
    path.chmod(0o600)


def instance_of(data: Path) -> str:
    """Return what tells this node's containers and control groups from those of others."""
    return hashlib.sha256(os.fsencode((data / "runner" / "runs").resolve())).hexdigest()[:12]


async def remove_containers(data: Path) -> None:
    """Remove what a node left at the engine."""
    instance = instance_of(data)
    listing = await asyncio.create_subprocess_exec(
        "docker", "ps", "-aq", "--filter", f"label={LABEL_INSTANCE}={instance}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    found = (await listing.communicate())[0].decode().split()
    if found:
        removal = await asyncio.create_subprocess_exec(
            "docker", "rm", "-f", *found, stdout=asyncio.subprocess.DEVNULL
        )
        await removal.wait()
    for mount in (data / "runner" / "runs").glob("*/results"):
        if mount.is_mount():
            unmount = await asyncio.create_subprocess_exec("umount", "-l", str(mount))
            await unmount.wait()


def engine(*arguments: str) -> list[str]:
    """Ask the container engine; return the words of its answer."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.split()
