"""What a node publishes, for tests without one."""

from datetime import timedelta

from ulid import ULID

from broker.connection import Connection, Message
from broker.messages import (
    Alarm,
    ByHand,
    ChannelInfo,
    ChannelLimits,
    Channels,
    Command,
    Console,
    Done,
    Error,
    ErrorReport,
    Estop,
    EstopRelease,
    LogLine,
    ManualEnd,
    ManualHold,
    NodeReport,
    Quantity,
    Reply,
    ServiceStatus,
    Telemetry,
    decode,
    utc_now,
)
from broker.topics import ANY, Topic


class FakeNode:
    """Announces itself, reports, measures and writes when told to; obeys stops and hands.

    Attributes:
        orders: What was commanded by hand, with the channel; empty for the end.
        refusal: Answered to what is commanded, in place of doing it.
        mute: Answer nothing.
    """

    def __init__(self, connection: Connection, name: str = "reactor-1") -> None:
        self.connection, self.name = connection, name
        self.estop: Estop | None = None
        self.manual: ManualHold | None = None
        self.orders: list[tuple[str, Command | ManualEnd]] = []
        self.refusal: Error | None = None
        self.mute = False
        self.released_because = ""
        self._revision = 0
        topics = connection.topics
        stop = topics.build(Topic.NODE_ESTOP, node=name, principal=ANY)
        release = topics.build(Topic.NODE_ESTOP_RELEASE, node=name, principal=ANY)
        connection.subscribe(stop, self._stop)
        connection.subscribe(release, self._release)
        command = topics.build(Topic.NODE_COMMAND, node=name, principal=ANY, channel=ANY)
        connection.subscribe(command, self._command)
        end = topics.build(Topic.NODE_MANUAL_END, node=name, principal=ANY)
        connection.subscribe(end, self._manual_end)

    def topic(self, kind: Topic) -> str:
        return self.connection.topics.build(kind, node=self.name)

    async def announce(self, label: str = "Reactor 1", channel: str = "Optical density") -> None:
        od = ChannelInfo(
            name="od",
            kind="sensor",
            quantity=Quantity.OPTICAL_DENSITY,
            unit="1",
            label=channel,
            driver="simulated",
            period=1,
        )
        stirring = od.model_copy(
            update={
                "name": "stirring",
                "kind": "setpoint",
                "label": "Stirring",
                "limits": ChannelLimits(minimum=0, maximum=1200),
            }
        )
        channels = Channels(
            node=self.name,
            label=label,
            channels=(od, stirring),
            images={"standard": {}},
        )
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
            manual=self.manual,
            alarms=(Alarm(id="a", severity="warning", message="hot", since=utc_now()),),
        )
        await self.connection.publish(self.topic(Topic.NODE_REPORT), report.encode(), retain=True)

    async def measure(self, experiment_id: str | None = None, **values: float | None) -> None:
        reading = Telemetry(t=utc_now(), experiment_id=experiment_id, values=values)
        await self.connection.publish(self.topic(Topic.NODE_TELEMETRY), reading.encode(), qos=0)

    async def write(self, experiment_id: str, first: int, count: int, text: str = "line") -> None:
        lines = tuple(
            LogLine(n=n, t=utc_now(), source="stdout", text=f"{text} {n}")
            for n in range(first, first + count)
        )
        console = Console(experiment_id=experiment_id, lines=lines)
        await self.connection.publish(self.topic(Topic.NODE_CONSOLE), console.encode(), qos=0)

    async def fail(self, error: Error, principal: str = "portal") -> None:
        """Say that the last command failed, after it was accepted."""
        channel, order = self.orders[-1]
        topics = self.connection.topics
        topic = topics.build(
            Topic.NODE_COMMAND, node=self.name, principal=principal, channel=channel
        )
        user = order.actor.user if order.actor else None
        report = ErrorReport(id=order.id, user=user, topic=topic, error=error)
        errors = topics.build(Topic.ERRORS, principal=principal)
        await self.connection.publish(errors, report.encode())

    async def _stop(self, message: Message) -> None:
        if not message.payload:
            return
        said = message.payload.decode()
        self.estop = Estop(latch=str(ULID()), by="portal", since=utc_now(), reason=said)
        await self.report(self._revision + 1)

    async def _release(self, message: Message) -> None:
        order = decode(EstopRelease, message.payload)
        if self.estop and order.latch == self.estop.latch:
            self.estop, self.released_because = None, order.reason
            await self.report(self._revision + 1)

    async def _command(self, message: Message) -> None:
        address = self.connection.topics.parse(message.topic)
        assert address is not None
        order = decode(Command, message.payload)
        self.orders.append((address["channel"], order))
        if self.refusal is None:
            by = order.actor.name if order.actor else address["principal"]
            now = utc_now()
            self.manual = ManualHold(by=by, since=now, until=now + timedelta(minutes=2))
            await self.report(self._revision + 1)
        await self._answer(address["principal"], order, "set")

    async def _manual_end(self, message: Message) -> None:
        address = self.connection.topics.parse(message.topic)
        assert address is not None
        order = decode(ManualEnd, message.payload)
        self.orders.append(("", order))
        self.manual = None
        await self.report(self._revision + 1)
        await self._answer(address["principal"], order, "everything is safe")

    async def _answer(self, principal: str, order: ByHand, text: str) -> None:
        if self.mute:
            return
        assert order.client is not None
        done = Done(outcome="done", message=text) if self.refusal is None else None
        reply = Reply(id=order.id, result=done, error=self.refusal)
        topic = self.connection.topics.build(Topic.REPLY, principal=principal, client=order.client)
        await self.connection.publish(topic, reply.encode())
