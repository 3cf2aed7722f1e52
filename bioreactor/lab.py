"""Talk to a laboratory's hub from a program: submit, follow, fetch.

```python
async with Lab(settings) as lab:
    submitted = await lab.submit(Path("turbidostat.py").read_text())
    async for change in lab.follow(submitted.experiment_id):
        print(change)
```
"""

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from ulid import ULID

from bioreactor.emergency import EmergencyStop
from broker.connection import Connection, Message
from broker.messages import (
    MAX_FETCH_BYTES,
    Annotate,
    Audited,
    Channels,
    Check,
    Checked,
    Console,
    ContractError,
    DeclareDead,
    Done,
    Due,
    DueOf,
    ErrorCode,
    Estop,
    Experiment,
    Export,
    Exported,
    ExportKind,
    Fetch,
    Fetched,
    Got,
    Halt,
    HubStatus,
    Limits,
    List,
    Listed,
    LogLine,
    LogPage,
    Logs,
    Move,
    NodeReport,
    OnExperiment,
    OnNode,
    Parameters,
    Payload,
    Plain,
    Queue,
    ReadAudit,
    Request,
    Retention,
    RunNow,
    Send,
    ServiceStatus,
    Storage,
    Submit,
    Submitted,
    Telemetry,
    Users,
    UsersOf,
    decode,
)
from broker.requests import Asker
from broker.settings import BrokerSettings
from broker.topics import ANY, Topic

FETCHES_AT_ONCE = 4
ASK_TIMEOUT_S = 15.0
EXPORT_TIMEOUT_S = 300.0

R = TypeVar("R", bound=Payload)


@dataclass
class Node:
    """What a node last said of itself.

    Attributes:
        readings: The latest values by channel, null where the device gave none.
    """

    name: str
    status: ServiceStatus | None = None
    channels: Channels | None = None
    report: NodeReport | None = None
    readings: Mapping[str, float | None] = field(default_factory=dict)


class Lab:
    """A connection to a laboratory.

    Args:
        settings: Where the broker is and who we are.
        principal: Our name in topics; the user name of the settings where absent.
    """

    def __init__(self, settings: BrokerSettings, principal: str | None = None) -> None:
        self.principal = principal or settings.username or "anonymous"
        self._connection = Connection(
            settings, client_id=f"lab-{ULID()}".lower(), stop_if_refused=True
        )
        self._asker = Asker(self._connection, self.principal)
        self.hub: HubStatus | None = None
        self.queue: Queue | None = None
        self.nodes: dict[str, Node] = {}
        self.changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        """Connect; requests wait for the broker by themselves."""
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self._connection.__aexit__(kind, error, trace)

    async def submit(
        self,
        script: str,
        *,
        name: str | None = None,
        parameters: Parameters | None = None,
        filename: str | None = None,
        request_id: str | None = None,
    ) -> Submitted:
        """Queue an experiment; durable at the hub when this returns.

        Args:
            script: The Python source, at most 256 KiB in UTF-8.
            name: Shown to people; the script's own name or the file's where absent.
            parameters: Values for what the script declares.
            filename: Of the script.
            request_id: The same id again gives the same experiment, for a day.

        Raises:
            ContractError: The hub refused it, or could not be reached in time.
        """
        request = Submit(
            id=request_id or str(ULID()),
            script=script,
            name=name,
            filename=filename,
            parameters=parameters or {},
        )
        return await self._ask("submit", request, Submitted)

    async def check(self, script: str, parameters: Parameters | None = None) -> Checked:
        """Check a script as `submit` would, without queueing it."""
        return await self._ask("check", Check(script=script, parameters=parameters or {}), Checked)

    async def get(self, experiment_id: str) -> Got:
        """Return an experiment, with its script if we may see it."""
        return await self._ask("get", OnExperiment(experiment_id=experiment_id), Got)

    async def list(self, request: List | None = None) -> Listed:
        """Return a page of experiments."""
        return await self._ask("list", request or List(), Listed)

    async def logs(self, experiment_id: str, after: int | None = None) -> LogPage:
        """Return log lines after a number, or the last ones."""
        return await self._ask("logs", Logs(experiment_id=experiment_id, after=after), LogPage)

    async def command(self, verb: str, experiment_id: str, *, admin: bool = False) -> Done:
        """Cancel, pause or resume an experiment."""
        return await self._ask(verb, OnExperiment(experiment_id=experiment_id), Done, admin=admin)

    async def move(self, request: Move, *, admin: bool = False) -> Done:
        """Move a waiting experiment."""
        return await self._ask("move", request, Done, admin=admin)

    async def run_now(self, request: RunNow) -> Done:
        """Put a waiting experiment first (administrators)."""
        return await self._ask("run-now", request, Done, admin=True)

    async def send(self, experiment_id: str, parameters: Parameters) -> Done:
        """Change parameters of a running experiment."""
        return await self._ask(
            "send", Send(experiment_id=experiment_id, parameters=parameters), Done
        )

    async def steer_queue(self, verb: str, reason: str = "") -> Done:
        """Send pause-queue, resume-queue or drain-queue (administrators).

        Args:
            verb: One of the three.
            reason: Why nothing shall start; shown to everybody.
        """
        request = Halt(reason=reason) if reason else Plain()
        return await self._ask(verb, request, Done, admin=True)

    async def change_limits(self, request: Limits) -> Done:
        """Change limits of the queue for what comes (administrators)."""
        return await self._ask("limits", request, Done, admin=True)

    async def users(self, after: str | None = None) -> UsersOf:
        """Return a page of users with what they have and had (administrators)."""
        return await self._ask("users", Users(after=after), UsersOf, admin=True)

    async def due(self, days: int) -> DueOf:
        """Return what a retention of so many days would delete now (administrators)."""
        return await self._ask("due", Due(days=days), DueOf, admin=True)

    async def storage(self) -> Storage:
        """Return how full the hub's disk is (administrators)."""
        return await self._ask("storage", Plain(), Storage, admin=True)

    async def keep_for(self, days: int | None) -> Done:
        """Have finished experiments deleted after so many days, or never (administrators)."""
        return await self._ask("retention", Retention(days=days), Done, admin=True)

    async def delete(self, experiment_id: str, *, admin: bool = False) -> Done:
        """Delete a finished experiment and all it recorded; `restore` takes it back for a while."""
        return await self.command("delete", experiment_id, admin=admin)

    async def restore(self, experiment_id: str, *, admin: bool = False) -> Done:
        """Take a deletion back."""
        return await self.command("restore", experiment_id, admin=admin)

    async def annotate(self, request: Annotate, *, admin: bool = False) -> Done:
        """Change an experiment's name and note."""
        return await self._ask("annotate", request, Done, admin=admin)

    async def audit(self, request: ReadAudit | None = None, *, admin: bool = False) -> Audited:
        """Return who did what, newest first; administrators are told all of it."""
        return await self._ask("audit", request or ReadAudit(), Audited, admin=admin)

    async def drain_node(self, node: str) -> Done:
        """Finish what a reactor runs, start nothing more there (administrators)."""
        return await self._ask("drain-node", OnNode(node=node), Done, admin=True)

    async def resume_node(self, node: str) -> Done:
        """Give a drained or dead reactor back to the queue (administrators)."""
        return await self._ask("resume-node", OnNode(node=node), Done, admin=True)

    async def declare_dead(self, node: str, *, power_is_off: bool) -> Done:
        """Give up a reactor: what it holds has failed and is not run again (administrators).

        Args:
            node: The reactor.
            power_is_off: Somebody has seen to it that its power is off.
        """
        request = DeclareDead(node=node, power_is_off=power_is_off)
        return await self._ask("declare-dead", request, Done, admin=True)

    async def stop_reactor(self, node: str, reason: str = "") -> Estop | None:
        """Engage a reactor's emergency stop, as `EmergencyStop.engage` says (administrators)."""
        return await EmergencyStop(self._connection, self.principal).engage(node, reason)

    async def take_back_stop(self, node: str) -> None:
        """Take an order to stop back, as `EmergencyStop.take_back` says (administrators)."""
        await EmergencyStop(self._connection, self.principal).take_back(node)

    async def release_reactor(self, node: str) -> None:
        """Release it, as `EmergencyStop.release` says (administrators)."""
        await EmergencyStop(self._connection, self.principal).release(node)

    async def export(
        self, experiment_id: str, kind: ExportKind, file: str | None = None
    ) -> Exported:
        """Have the hub make a file ready to be fetched."""
        request = Export(experiment_id=experiment_id, kind=kind, file=file)
        return await self._ask("export", request, Exported, timeout=EXPORT_TIMEOUT_S)

    async def fetch(self, exported: Exported) -> AsyncIterator[bytes]:
        """Yield the file's pieces in order, asking for four at a time."""
        offsets = range(0, exported.size, MAX_FETCH_BYTES)
        for start in range(0, len(offsets), FETCHES_AT_ONCE):
            async with asyncio.TaskGroup() as group:
                pieces = [
                    group.create_task(self._piece(exported.ref, offset))
                    for offset in offsets[start : start + FETCHES_AT_ONCE]
                ]
            for piece in pieces:
                yield piece.result()

    async def download(self, exported: Exported, target: Path) -> Path:
        """Fetch a file, check its hash and put it in place.

        Returns:
            The file's path; an interrupted download leaves only `*.part`.

        Raises:
            ContractError: What arrived is not what the hub sent; nothing was put in place.
        """
        path = await asyncio.to_thread(_place, target, exported.filename)
        part = path.with_name(path.name + ".part")
        digest = hashlib.sha256()
        with await asyncio.to_thread(part.open, "wb") as file:
            async for piece in self.fetch(exported):
                digest.update(piece)
                await asyncio.to_thread(file.write, piece)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        if digest.hexdigest() != exported.sha256:
            part.unlink()
            raise ContractError(
                ErrorCode.INTERNAL, "what arrived is not what the hub sent", "fetch it again"
            )
        part.replace(path)
        return path

    async def observe(self) -> None:
        """Keep `hub`, `queue` and `nodes` current; returns when their retained state is here."""
        topics = self._connection.topics
        for topic in (
            topics.build(Topic.HUB_STATUS),
            topics.build(Topic.QUEUE),
            topics.build(Topic.NODE_STATUS, node=ANY),
            topics.build(Topic.NODE_CHANNELS, node=ANY),
            topics.build(Topic.NODE_REPORT, node=ANY),
            topics.build(Topic.NODE_TELEMETRY, node=ANY),
        ):
            self._connection.subscribe(topic, self._observed)
        # The broker sends retained messages before what comes later on the same connection, so an
        # answered request is a fence behind them.
        await self.list(List(limit=1))

    async def read_nodes(self, patience: float = 2.0) -> None:
        """Wait until every node that is online has sent readings, or for `patience` seconds."""

        def complete() -> bool:
            return all(
                node.readings
                for node in self.nodes.values()
                if node.status is not None and node.status.state == "online"
            )

        with suppress(TimeoutError):
            async with asyncio.timeout(patience), self.changed:
                await self.changed.wait_for(complete)

    async def follow(self, experiment_id: str) -> AsyncIterator[Experiment | LogLine]:
        """Yield the experiment's states and log lines until it is finished.

        Every line comes once and in order: live lines are only a hint to ask the hub, whose log
        has no gaps, when a number is missing.
        """
        inbox: asyncio.Queue[Experiment | Console] = asyncio.Queue()
        topics = self._connection.topics

        async def news(message: Message) -> None:
            if message.payload:
                console = message.topic.endswith("/console")
                payload = message.payload
                inbox.put_nowait(
                    decode(Console, payload) if console else decode(Experiment, payload)
                )

        stop_state = self._connection.subscribe(
            topics.build(Topic.EXPERIMENT, experiment=experiment_id), news
        )
        stop_console = self._connection.subscribe(
            topics.build(Topic.NODE_CONSOLE, node=ANY), news, qos=0
        )
        seen, last = -1, 0
        try:
            state_now = (await self.get(experiment_id)).experiment
            while True:
                if state_now.revision > seen:
                    seen = state_now.revision
                    yield state_now
                if state_now.status.finished:
                    async for line in self._lines(experiment_id, last):
                        yield line
                    return
                latest = await inbox.get()
                if isinstance(latest, Experiment):
                    state_now = latest
                elif latest.experiment_id == experiment_id:
                    async for line in self._continued(latest, last):
                        yield line
                        last = line.n
        finally:
            stop_state()
            stop_console()

    async def _continued(self, news: Console, last: int) -> AsyncIterator[LogLine]:
        """Yield the live lines after `last`, first those that are missing in between."""
        if news.lines and news.lines[0].n > last + 1:
            async for line in self._lines(news.experiment_id, last):
                yield line
                last = line.n
        for line in news.lines:
            if line.n > last:
                yield line

    async def _lines(self, experiment_id: str, after: int) -> AsyncIterator[LogLine]:
        while True:
            page = await self.logs(experiment_id, after)
            for line in page.lines:
                yield line
            if not page.lines or page.complete or page.last <= after:
                return
            after = page.last

    async def _piece(self, ref: str, offset: int) -> bytes:
        fetched = await self._ask("fetch", Fetch(ref=ref, offset=offset), Fetched)
        return base64.b64decode(fetched.data)

    async def _observed(self, message: Message) -> None:
        address = self._connection.topics.parse(message.topic)
        if address is None or not message.payload:
            return
        node = (
            self.nodes.setdefault(address["node"], Node(address["node"]))
            if ("node" in address.levels)
            else None
        )
        match address.topic, node:
            case Topic.HUB_STATUS, _:
                self.hub = decode(HubStatus, message.payload)
            case Topic.QUEUE, _:
                self.queue = decode(Queue, message.payload)
            case Topic.NODE_STATUS, Node():
                node.status = decode(ServiceStatus, message.payload)
            case Topic.NODE_CHANNELS, Node():
                node.channels = decode(Channels, message.payload)
            case Topic.NODE_REPORT, Node():
                node.report = decode(NodeReport, message.payload)
            case Topic.NODE_TELEMETRY, Node():
                node.readings = {
                    **node.readings, **decode(Telemetry, message.payload).values
                }  # fmt: skip
            case _:
                return
        async with self.changed:
            self.changed.notify_all()

    async def _ask(
        self,
        verb: str,
        request: Request,
        kind: type[R],
        *,
        admin: bool = False,
        timeout: float = ASK_TIMEOUT_S,  # noqa: ASYNC109 - travels with the request as its expiry
    ) -> R:
        result = await self._asker.ask(verb, request, admin=admin, timeout=timeout)
        if not isinstance(result, kind):
            raise ContractError(
                ErrorCode.INTERNAL,
                f"the hub answered {verb} with {type(result).__name__}",
                "hub and client may be of different versions; update the older one",
            )
        return result


def _place(target: Path, filename: str) -> Path:
    return target / filename if target.is_dir() else target
