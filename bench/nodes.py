"""Many nodes connected, each running an experiment and reporting each second: the hub's processor.

A real broker, a real hub process, and 200 nodes of this process that follow the contract as far as
assignments and reports go.
"""

import asyncio
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from ulid import ULID

from bench._node import resident
from broker.access import Principal
from broker.children import Child
from broker.connection import Connection, Message
from broker.embedded import EmbeddedBroker
from broker.identity import write_private
from broker.messages import (
    Activity,
    Assignment,
    ChannelInfo,
    Channels,
    ContainerStatus,
    Limits,
    NodeReport,
    Phase,
    Quantity,
    Queue,
    ServiceStatus,
    Submit,
    decode,
    utc_now,
)
from broker.requests import Asker
from broker.topics import Topic

NODES = 200
SECONDS = 20.0
BUDGET = 0.5
MEMORY_BUDGET = 80.0
Row = tuple[str, float, str, float, str]


class BenchNode:
    """A node that says that it runs whatever it is assigned."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection, self.name = connection, name
        self.boot_id = str(ULID())
        self.assignment: Assignment | None = None
        connection.subscribe(self.topic(Topic.NODE_ASSIGNMENT), self._take)

    def topic(self, kind: Topic) -> str:
        return self.connection.topics.build(kind, node=self.name)

    async def run(self, delay: float) -> None:
        """Report each second, not all nodes at once."""
        channel = ChannelInfo(
            name="od",
            kind="sensor",
            quantity=Quantity.OPTICAL_DENSITY,
            unit="1",
            label="Optical density",
            driver="bench",
            period=1.0,
        )
        channels = Channels(
            node=self.name, label=self.name, channels=(channel,), images={"standard": {}}
        )
        status = ServiceStatus(state="online", version="0", boot_id=self.boot_id, since=utc_now())
        for kind, payload in ((Topic.NODE_CHANNELS, channels), (Topic.NODE_STATUS, status)):
            await self.connection.publish(self.topic(kind), payload.encode(), retain=True)
        await asyncio.sleep(delay)
        while True:
            await self.connection.publish(
                self.topic(Topic.NODE_REPORT), self.report().encode(), retain=True
            )
            await asyncio.sleep(1.0)

    def report(self) -> NodeReport:
        now, desired = utc_now(), self.assignment
        runs = desired is not None and desired.desired == "run" and desired.experiment_id
        activity = container = None
        if desired is not None and runs:
            activity = Activity(
                experiment_id=runs,
                attempt=desired.attempt or 1,
                phase=Phase.EXECUTING,
                since=now,
                lease=True,
            )
            container = ContainerStatus(
                container_id="c0ffee",
                image="sha256:1",
                state="running",
                cpu_percent=3.5,
                memory=50_000_000,
                memory_limit=512_000_000,
                pids=4,
                uptime=now.timestamp() % 1e5,
            )
        return NodeReport(
            node=self.name,
            boot_id=self.boot_id,
            at=now,
            seen_revision=0 if desired is None else desired.revision,
            accepts=activity is None,
            isolation="docker",
            activity=activity,
            container=container,
            safe=activity is None,
        )

    async def _take(self, message: Message) -> None:
        if message.payload:
            self.assignment = decode(Assignment, message.payload)


def cpu_seconds(pid: int) -> float:
    """Return what a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(directory: Path) -> list[Row]:
    names = [f"node-{number}" for number in range(NODES)]
    roles = [Principal("hub", "hub"), Principal("ada", "administrator"), Principal("eve", "script")]
    roles += [Principal(name, "node") for name in names]
    async with AsyncExitStack() as stack:
        broker = EmbeddedBroker(directory / "broker", roles=tuple(roles))
        await stack.enter_async_context(broker)
        hub = _start_hub(directory, broker)
        stack.push_async_callback(hub.stop)
        clients = {name: await _connect(stack, broker, name) for name in ("ada", "eve")}
        nodes = [BenchNode(await _connect(stack, broker, name), name) for name in names]
        queues: list[Queue] = []

        async def read(message: Message) -> None:
            queues[:] = [decode(Queue, message.payload)]

        clients["eve"].subscribe(clients["eve"].topics.build(Topic.QUEUE), read)
        admin, asker = Asker(clients["ada"], "ada"), Asker(clients["eve"], "eve")
        await admin.ask("limits", Limits(per_user=1000), admin=True, timeout=30)
        for number in range(NODES):
            submit = Submit(id=str(ULID()), script=f"print({number})\n")
            await asker.ask("submit", submit, timeout=30)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [tasks.create_task(n.run(i / NODES)) for i, n in enumerate(nodes)]
        async with asyncio.timeout(240):  # a busy disk is slow to start so many
            while not queues or queues[-1].total_running < NODES:  # noqa: ASYNC110  the hub's word
                await asyncio.sleep(0.1)
        await asyncio.sleep(2.0)  # what the starts brought about is done
        before = cpu_seconds(hub.pid)
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(SECONDS)
        used = (cpu_seconds(hub.pid) - before) / (asyncio.get_running_loop().time() - began)
        memory = resident(hub.pid)
        for task in running:
            task.cancel()
    return [
        (f"hub, {NODES} nodes reporting each second", used, "cores", BUDGET, "budget"),
        (f"hub, {NODES} nodes running, resident", memory, "MiB", MEMORY_BUDGET, "budget"),
    ]


async def _connect(stack: AsyncExitStack, broker: EmbeddedBroker, name: str) -> Connection:
    connection = Connection(broker.settings_for(name), client_id=f"bench-{name}")
    await stack.enter_async_context(connection)
    await connection.wait_connected(30)
    return connection


def _start_hub(directory: Path, broker: EmbeddedBroker) -> Child:
    settings = broker.settings_for("hub")
    assert settings.password is not None
    write_private(
        directory / "hub.toml",
        f'[broker]\nurl = "{settings.url}"\nusername = "hub"\n'
        f'password = "{settings.password.get_secret_value()}"\n'
        f'[hub]\ndata_dir = "{directory / "hub"}"\n',
    )
    command = [sys.executable, "-m", "hub_service", "--config", str(directory / "hub.toml")]
    return Child.start(command, on_line=lambda _: None)


def rows() -> list[Row]:
    """Return what the hub needs for many nodes."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(measure(Path(directory)))
