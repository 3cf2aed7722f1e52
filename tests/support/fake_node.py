"""What a node publishes, for tests without one."""

from ulid import ULID

from broker.connection import Connection, Message
from broker.messages import (
    Alarm,
    ChannelInfo,
    Channels,
    Console,
    Estop,
    EstopRelease,
    LogLine,
    NodeReport,
    Quantity,
    ServiceStatus,
    Telemetry,
    decode,
    utc_now,
)
from broker.topics import ANY, Topic


class FakeNode:
    """Announces itself, reports, measures and writes when told to; obeys emergency stops."""

    def __init__(self, connection: Connection, name: str = "reactor-1") -> None:
        self.connection, self.name = connection, name
        self.estop: Estop | None = None
        self._revision = 0
        topics = connection.topics
        stop = topics.build(Topic.NODE_ESTOP, node=name, principal=ANY)
        release = topics.build(Topic.NODE_ESTOP_RELEASE, node=name, principal=ANY)
        connection.subscribe(stop, self._stop)
        connection.subscribe(release, self._release)

    def topic(self, kind: Topic) -> str:
        return self.connection.topics.build(kind, node=self.name)

    async def announce(self) -> None:
        channel = ChannelInfo(
            name="od",
            kind="sensor",
            quantity=Quantity.OPTICAL_DENSITY,
            unit="1",
            label="Optical density",
            driver="simulated",
            period=1,
        )
        channels = Channels(node=self.name, label="Reactor 1", channels=(channel,))
        await self.connection.publish(
            self.topic(Topic.NODE_CHANNELS), channels.encode(), retain=True
        )
        status = ServiceStatus(state="online", version="t", boot_id=str(ULID()), since=utc_now())
        await self.connection.publish(self.topic(Topic.NODE_STATUS), status.encode(), retain=True)

    async def report(self, revision: int, *, note: str = "", isolation: str = "docker") -> None:
        self._revision = revision
        report = NodeReport(
            node=self.name,
            boot_id=str(ULID()),
            at=utc_now(),
            seen_revision=revision,
            accepts=True,
            isolation=isolation,
            isolation_note=note,
            safe=True,
            estop=self.estop,
            alarms=(Alarm(id="a", severity="warning", message="hot", since=utc_now()),),
        )
        await self.connection.publish(self.topic(Topic.NODE_REPORT), report.encode(), retain=True)

    async def measure(self, **values: float | None) -> None:
        reading = Telemetry(t=utc_now(), values=values)
        await self.connection.publish(self.topic(Topic.NODE_TELEMETRY), reading.encode(), qos=0)

    async def write(self, experiment_id: str, first: int, count: int, text: str = "line") -> None:
        lines = tuple(
            LogLine(n=n, t=utc_now(), source="stdout", text=f"{text} {n}")
            for n in range(first, first + count)
        )
        console = Console(experiment_id=experiment_id, lines=lines)
        await self.connection.publish(self.topic(Topic.NODE_CONSOLE), console.encode(), qos=0)

    async def _stop(self, message: Message) -> None:
        if not message.payload:
            return
        said = message.payload.decode()
        self.estop = Estop(latch=str(ULID()), by="portal", since=utc_now(), reason=said)
        await self.report(self._revision + 1)

    async def _release(self, message: Message) -> None:
        if self.estop and decode(EstopRelease, message.payload).latch == self.estop.latch:
            self.estop = None
            await self.report(self._revision + 1)
