"""A journal in memory, and a gateway on a real socket in front of a real simulated reactor."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from ulid import ULID

from broker.journal import MAX_ENTRY_BYTES
from broker.journal.window import Want
from broker.messages import (
    Console,
    ContractError,
    ErrorCode,
    EventRecord,
    Payload,
    Record,
    RunLimits,
    Telemetry,
)
from hardware.clock import ManualClock
from hardware.reactor import Reactor, ReactorEvent
from hardware.reactors import simulated_reactor
from node_service.answers import Answers
from node_service.console import Console as RunConsole
from node_service.doses import Doses
from node_service.gateway import Access, create_app
from node_service.gateway_server import GatewayServer
from node_service.inbox import Inbox
from node_service.lease import Lease
from node_service.recorder import Recorder
from node_service.runclock import RunClock
from node_service.runs import LogPosition, RunKey
from node_service.saves import Saves
from tests.support.plain import PLAIN

KEY = RunKey(str(ULID()), 1)


@dataclass
class MemoryJournal:
    """What a journal does, without a disk; `level` is how full it is said to be.

    Attributes:
        disk: Cleared while it hangs.
        appended: Set when something has come to be appended.
    """

    level: float = 0.0
    full: bool = False
    records: list[Payload] = field(default_factory=list)
    files: list[Payload] = field(default_factory=list)
    appends: int = 0
    order: int = 1
    disk: asyncio.Event = field(default_factory=asyncio.Event)
    appended: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.disk.set()

    async def append(
        self, stream: Literal["records", "files"], entries: Sequence[Payload]
    ) -> tuple[str, int]:
        self.appended.set()
        await self.disk.wait()
        if self.full:
            raise ContractError(ErrorCode.STORAGE_FULL, "full")
        if max(len(entry.encode()) for entry in entries) > MAX_ENTRY_BYTES:
            raise ContractError(ErrorCode.TOO_LARGE, "too large")
        self.appends += 1
        kept = self.records if stream == "records" else self.files
        kept.extend(entries)
        return "0" * 26, len(kept)

    def fill(self) -> float:
        return self.level

    async def read(self, stream: Literal["records", "files"], want: Want) -> list[bytes]:
        kept = self.records if stream == "records" else self.files
        if want.order != self.order:
            return []
        return [entry.encode() for entry in kept[want.first - 1 : want.last]][:50]

    def floor(self, stream: Literal["records", "files"], order: int) -> int:
        del stream, order
        return 1

    async def newest(self, stream: Literal["records", "files"]) -> bytes | None:
        kept = self.records if stream == "records" else self.files
        return kept[-1].encode() if kept else None

    def of(self, kind: str) -> list[Any]:
        return [record for record in self.records if getattr(record, "kind", "") == kind]


@dataclass
class Shown:
    """What went live."""

    readings: list[Telemetry] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    async def telemetry(self, payload: Telemetry) -> None:
        self.readings.append(payload)

    async def console(self, payload: Console) -> None:
        self.lines += [line.text for line in payload.lines]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
async def recorder(journal: MemoryJournal, clock: ManualClock) -> AsyncIterator[Recorder]:
    recorder = Recorder(journal, clock)
    running = asyncio.create_task(recorder.run())
    yield recorder
    journal.full = False
    journal.disk.set()
    recorder.close()
    await running


@dataclass
class Gate:
    """A gateway and its client."""

    client: httpx.AsyncClient
    reactor: Reactor
    clock: ManualClock
    lease: Lease
    inbox: Inbox
    run_clock: RunClock
    saves: Saves
    journal: MemoryJournal
    shown: Shown
    positions: list[LogPosition]
    kept_setpoints: list[dict[str, float]]
    socket: Path
    doses: Path

    def events(self) -> list[EventRecord]:
        """Return what is on record of what was done to the reactor."""
        return [e for e in self.journal.of("event") if e.event in {"set", "dose"}]

    async def get(self, path: str) -> Any:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self.client.post(path, content=json.dumps(body))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, path: str, **body: Any) -> tuple[int, str]:
        answer = await self.client.post(path, content=json.dumps(body))
        assert answer.status_code >= 400, answer.text
        error = answer.json()["error"]
        assert error["message"]
        assert error["hint"]
        return answer.status_code, error["code"]


@pytest.fixture
async def gate(
    tmp_path: Path,
    clock: ManualClock,
    journal: MemoryJournal,
    shown: Shown,
    recorder: Recorder,
) -> AsyncIterator[Gate]:
    async with AsyncExitStack() as stack:
        reactor = await stack.enter_async_context(simulated_reactor(clock, seed=1, state_file=None))
        run_clock = RunClock(clock)
        run_clock.begin()
        positions: list[LogPosition] = []
        kept: list[dict[str, float]] = []

        async def keep(position: LogPosition) -> None:
            positions.append(position)

        async def keep_setpoints() -> None:
            kept.append(dict(reactor.setpoints()))

        def hear(event: ReactorEvent) -> None:
            recorder.post(
                EventRecord(
                    t=event.t,
                    mono=event.mono,
                    event=event.event,
                    channel=event.channel,
                    value=event.value,
                    data=event.data,
                )
            )

        stack.callback(reactor.on_event(hear))
        doses = tmp_path / "doses.json"
        saves = Saves(tmp_path, 100_000, lambda: 0)
        await saves.open()
        answers = Answers()
        stack.push_async_callback(answers.close)
        lease = Lease(run_clock)
        inbox = Inbox({"target": 0.4}, 3, clock.now)
        access = Access(
            key=KEY,
            name="Test",
            limits=RunLimits(),
            clock=run_clock,
            reactor=reactor,
            lease=lease,
            inbox=inbox,
            answers=answers,
            doses=await Doses.load(doses),
            saves=saves,
            recorder=recorder,
            console=RunConsole(
                KEY, LogPosition(), 10_000, clock=run_clock, recorder=recorder, live=shown,
                keep=keep,
            ),
            live=shown,
            keep_setpoints=keep_setpoints,
            series=set(),
        )  # fmt: skip
        socket = tmp_path / "gateway.sock"
        await stack.enter_async_context(GatewayServer(socket, create_app(access), lease.touch))
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(socket), verify=PLAIN),
                base_url="http://reactor/v1",
            )
        )
        yield Gate(
            client, reactor, clock, lease, inbox, run_clock, saves, journal, shown, positions,
            kept, socket, doses,
        )  # fmt: skip


def records_of(journal: MemoryJournal, kind: str) -> list[Record]:
    return journal.of(kind)
