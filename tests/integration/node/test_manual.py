"""Manual control over a real broker: who is heard, what is answered, when it ends."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.connection import Connection, Message
from broker.embedded import Kind
from broker.messages import (
    Actor,
    Command,
    Done,
    ErrorCode,
    ErrorReport,
    EventRecord,
    ManualEnd,
    Record,
    Reply,
    decode,
    utc_now,
)
from broker.topics import Topic
from hardware.clock import RealClock
from hardware.reactor import Reactor
from hardware.reactors import simulated_reactor
from node_service.alarms import Alarms
from node_service.commands import MAX_AT_ONCE, ManualControl
from node_service.manual import Hands
from node_service.taken import Taken
from node_service.voice import Voice
from tests.support.brokers import Connector
from tests.support.waiting import eventually

ADMIN = Actor(user="web:0123456789abcdef", name="swift-otter", admin=True)


@pytest.fixture(params=["mosquitto", "nats"])
def broker_kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@dataclass
class Desk:
    """Someone who commands, and hears what is answered."""

    connection: Connection
    principal: str
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    errors: list[ErrorReport] = field(default_factory=list)

    def listen(self) -> None:
        topics, me = self.connection.topics, self.principal
        self.connection.subscribe(topics.build(Topic.ERRORS, principal=me), self._error)
        reply = topics.build(Topic.REPLY, principal=me, client="desk")
        self.connection.subscribe(reply, self._reply)

    async def send(self, topic: Topic, id_: str, **what: Any) -> None:
        model = ManualEnd if topic is Topic.NODE_MANUAL_END else Command
        level = {"channel": what.pop("channel")} if model is Command else {}
        fields = {"client": "desk", "expires_at": utc_now() + timedelta(seconds=9)} | what
        order = model(id=id_, **fields)
        address = self.connection.topics.build(
            topic, node="reactor-1", principal=self.principal, **level
        )
        await self.connection.publish(address, order.encode())

    async def ask(self, topic: Topic, id_: str, **what: Any) -> Reply:
        """Send an order; return what is answered."""
        before = len(self.replies.get(id_, ()))
        await self.send(topic, id_, **what)
        await eventually(lambda: len(self.replies.get(id_, ())) > before)
        return self.replies[id_][-1]

    async def refused(self, id_: str, **what: Any) -> ErrorCode:
        reply = await self.ask(Topic.NODE_COMMAND, id_, **what)
        assert reply.error is not None
        return reply.error.code

    async def _reply(self, message: Message) -> None:
        reply = decode(Reply, message.payload)
        self.replies.setdefault(str(reply.id), []).append(reply)

    async def _error(self, message: Message) -> None:
        self.errors.append(decode(ErrorReport, message.payload))


@dataclass
class Bench:
    """A node's manual control alone, with its reactor."""

    reactor: Reactor
    hands: Hands
    records: list[Record]
    taken: Taken
    holder: str | None = None
    disk: asyncio.Event = field(default_factory=asyncio.Event)

    async def settled(self) -> None:
        await self.disk.wait()

    def events(self, name: str) -> list[EventRecord]:
        return [r for r in self.records if isinstance(r, EventRecord) and r.event == name]


@pytest.fixture
def hold_seconds() -> float:
    """How long manual control lasts; parametrize it."""
    return 600.0


@pytest.fixture
async def bench(connect: Connector, hold_seconds: float, tmp_path: Path) -> AsyncIterator[Bench]:
    clock = RealClock()
    records: list[Record] = []
    async with AsyncExitStack() as stack:
        reactor = simulated_reactor(clock, seed=1, state_file=None)
        await stack.enter_async_context(reactor)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        alarms = Alarms(clock, records.append)
        hands = Hands(
            reactor=reactor,
            clock=clock,
            alarms=alarms,
            record=records.append,
            seconds=hold_seconds,
            changed=lambda: None,
        )
        bench = Bench(reactor, hands, records, Taken(tmp_path / "taken.json", clock.now))
        bench.disk.set()
        stack.callback(reactor.on_event(hands.hear))

        def listen(connection: Connection) -> None:
            control = ManualControl(
                reactor=reactor,
                clock=clock,
                voice=Voice(connection, "reactor-1"),
                hands=hands,
                portals=frozenset({"portal"}),
                record=records.append,
                settled=bench.settled,
                taken=bench.taken,
                busy=lambda: bench.holder,
                tasks=tasks,
            )
            stack.callback(control.close)
            build = connection.topics.build
            command = build(Topic.NODE_COMMAND, node="reactor-1", principal="+", channel="+")
            connection.subscribe(command, control.hear)
            end = build(Topic.NODE_MANUAL_END, node="reactor-1", principal="+")
            connection.subscribe(end, control.hear_end)

        await connect("reactor-1", prepare=listen)
        running = tasks.create_task(hands.run())
        stack.callback(running.cancel)
        yield bench


@contextmanager
def hanging(disk: Path) -> Iterator[Callable[[], None]]:
    """Have the writing of a file wait until what this yields is called, or the end."""
    os.mkfifo(disk)  # to open it waits until somebody reads
    readers: list[int] = []

    def answer() -> None:
        readers.append(os.open(disk, os.O_RDONLY | os.O_NONBLOCK))

    try:
        yield answer
    finally:
        if not readers:
            answer()
        disk.unlink(missing_ok=True)
        os.close(readers[0])


async def desk(connect: Connector, principal: str) -> Desk:
    made: list[Desk] = []

    def prepare(connection: Connection) -> None:
        made.append(Desk(connection, principal))
        made[0].listen()

    await connect(principal, prepare=prepare)
    return made[0]


async def test_a_portal_learns_what_became_of_its_command(bench: Bench, connect: Connector) -> None:
    portal = await desk(connect, "portal")
    what = {"channel": "stirring", "value": 300.0, "actor": ADMIN}
    reply = await portal.ask(Topic.NODE_COMMAND, "one", **what)
    assert isinstance(reply.result, Done)
    assert (reply.result.outcome, reply.error) == ("done", None)
    assert bench.reactor.setpoints() == {"stirring": 300}
    again = await portal.ask(Topic.NODE_COMMAND, "one", **what)  # an answer that was lost
    assert again == reply
    (event,) = bench.events("command")
    assert (event.channel, event.value) == ("stirring", 300)
    assert event.data["by"] == "portal"
    assert (event.data["actor"], event.data["user"]) == (ADMIN.name, ADMIN.user)
    held = bench.hands.current
    assert held is not None
    assert held.by == ADMIN.name
    assert bench.hands.refusal is not None

    dose = {"channel": "media", "dose_ml": 0.05, "actor": ADMIN}
    reply = await portal.ask(Topic.NODE_COMMAND, "dose", **dose)
    assert isinstance(reply.result, Done)

    end = await portal.ask(Topic.NODE_MANUAL_END, "end", actor=ADMIN)
    assert isinstance(end.result, Done)
    assert end.result.outcome == "done"
    assert bench.reactor.safe
    assert bench.hands.current is None
    assert [e.data["why"] for e in bench.events("manual-ended")] == [f"ended by {ADMIN.name}"]
    assert portal.errors == []


async def test_what_is_said_to_be_done_is_on_record_unless_it_was_switched_off(
    bench: Bench, connect: Connector
) -> None:
    admin = await desk(connect, "admin")
    bench.disk.clear()
    for what in ({"channel": "stirring", "value": 300}, {"channel": "media", "dose_ml": 0.05}):
        reply = await admin.ask(Topic.NODE_COMMAND, str(what["channel"]), **what)
        assert isinstance(reply.result, Done)
        assert reply.result.outcome == "accepted"
    assert bench.reactor.setpoints() == {"stirring": 300}
    reply = await admin.ask(Topic.NODE_COMMAND, "off", channel="stirring", value=0)
    assert isinstance(reply.result, Done)
    assert (reply.result.outcome, bench.reactor.setpoints()) == ("done", {})
    bench.disk.set()
    reply = await admin.ask(Topic.NODE_COMMAND, "on", channel="stirring", value=300)
    assert isinstance(reply.result, Done)
    assert reply.result.outcome == "done"


async def test_a_command_is_not_carried_out_again_by_a_node_that_has_restarted(
    bench: Bench, connect: Connector, tmp_path: Path
) -> None:
    def of_another_process() -> Taken:
        return Taken(tmp_path / "taken.json", utc_now)

    await of_another_process().add("portal", "one", utc_now() + timedelta(seconds=9))
    await bench.taken.load()
    portal = await desk(connect, "portal")
    what = {"channel": "media", "dose_ml": 0.05, "actor": ADMIN}
    assert await portal.refused("one", **what) is ErrorCode.OUTPUTS_RESET
    assert bench.events("command") == []
    reply = await portal.ask(Topic.NODE_COMMAND, "two", **what)
    assert isinstance(reply.result, Done)
    next_one = of_another_process()
    await next_one.load()
    assert next_one.earlier("portal", "two")
    assert not next_one.earlier("portal", "three")


async def test_a_command_that_expired_while_the_disk_took_its_time_is_refused(
    bench: Bench, connect: Connector, tmp_path: Path
) -> None:
    portal = await desk(connect, "portal")
    what = {"channel": "stirring", "value": 300.0, "actor": ADMIN}
    expires_at = utc_now() + timedelta(seconds=2)
    with hanging(tmp_path / "taken.json.part") as answer:
        asking = asyncio.ensure_future(portal.refused("one", expires_at=expires_at, **what))
        await eventually(lambda: utc_now() > expires_at)
        answer()
        assert await asking is ErrorCode.EXPIRED
    assert bench.events("command") == []
    assert bench.hands.current is None


async def test_what_switches_off_waits_for_no_disk_and_is_not_undone_when_it_answers(
    bench: Bench, connect: Connector, tmp_path: Path
) -> None:
    admin = await desk(connect, "admin")
    await admin.ask(Topic.NODE_COMMAND, "on", channel="stirring", value=300)
    with hanging(tmp_path / "taken.json.part") as answer:
        for number in range(MAX_AT_ONCE - 2):
            speed = 400 + number
            await admin.send(Topic.NODE_COMMAND, f"s{number}", channel="stirring", value=speed)
        await admin.send(Topic.NODE_COMMAND, "light", channel="light", value=30, duration=60)
        await admin.send(Topic.NODE_COMMAND, "m", channel="media", dose_ml=0.05)
        assert await admin.refused("more", channel="media", dose_ml=0.05) is ErrorCode.RATE_LIMIT
        off = await admin.ask(Topic.NODE_COMMAND, "off", channel="stirring", value=0)
        assert (off.error, bench.reactor.setpoints().get("stirring", 0)) == (None, 0)
        assert not {"s0", "light", "m"} & set(admin.replies)
        answer()
        await eventually(lambda: {"s0", "light", "m"} <= set(admin.replies))
        assert await admin.ask(Topic.NODE_COMMAND, "off", channel="stirring", value=0) == off
    for number in range(MAX_AT_ONCE - 2):
        (reply,) = admin.replies[f"s{number}"]
        assert reply.error is not None
        assert reply.error.code is ErrorCode.CHANGED_MEANWHILE
    assert [admin.replies[id_][0].error for id_ in ("light", "m")] == [None, None]
    assert bench.reactor.setpoints().get("stirring", 0) == 0
    channels = [event.channel for event in bench.events("command")]
    assert channels == ["stirring", "stirring", "light", "media"]


async def test_the_end_of_manual_control_waits_for_no_disk(
    bench: Bench, connect: Connector, tmp_path: Path
) -> None:
    admin = await desk(connect, "admin")
    await admin.ask(Topic.NODE_COMMAND, "on", channel="stirring", value=300)
    with hanging(tmp_path / "taken.json.part") as answer:
        await admin.send(Topic.NODE_COMMAND, "late", channel="light", value=30, duration=60)
        # The end comes by another subscription: which is heard first is the broker's business.
        assert await admin.refused("heard", channel="stirring") is ErrorCode.MALFORMED
        end = await admin.ask(Topic.NODE_MANUAL_END, "end")
        assert (end.error, bench.reactor.safe) == (None, True)
        answer()
        await eventually(lambda: "late" in admin.replies)
    (late,) = admin.replies["late"]
    assert late.error is not None
    assert late.error.code is ErrorCode.CHANGED_MEANWHILE
    assert bench.reactor.safe
    assert bench.hands.current is None


async def test_a_command_that_is_refused_at_once_is_not_kept(
    bench: Bench, connect: Connector, tmp_path: Path
) -> None:
    portal = await desk(connect, "portal")
    bench.holder = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    code = await portal.refused("one", channel="stirring", value=300, actor=ADMIN)
    assert code is ErrorCode.REACTOR_BUSY
    assert not (tmp_path / "taken.json").exists()


async def test_what_is_refused_is_told_and_holds_nothing(bench: Bench, connect: Connector) -> None:
    portal, admin = await desk(connect, "portal"), await desk(connect, "admin")
    nobody = ADMIN.model_copy(update={"admin": False})
    code = await portal.refused("a", channel="stirring", value=300, actor=nobody)
    assert code is ErrorCode.FORBIDDEN
    assert await admin.refused("b", channel="stirring", value=1e6) is ErrorCode.OUT_OF_RANGE
    assert await admin.refused("c", channel="lid", value=1) is ErrorCode.UNKNOWN_CHANNEL
    assert await admin.refused("d", channel="stirring") is ErrorCode.MALFORMED
    assert bench.hands.current is None
    (first, second) = bench.events("command-refused")
    assert (first.data["code"], second.data["code"]) == ("OUT_OF_RANGE", "UNKNOWN_CHANNEL")

    bench.holder = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert await admin.refused("e", channel="stirring", value=300) is ErrorCode.REACTOR_BUSY
    end = await admin.ask(Topic.NODE_MANUAL_END, "f")
    assert end.error is not None
    assert end.error.code is ErrorCode.REACTOR_BUSY
    bench.holder = None
    await bench.reactor.emergency_stop("tested")
    assert await admin.refused("g", channel="stirring", value=300) is ErrorCode.ESTOP
    assert bench.hands.current is None
    assert bench.reactor.safe
    assert (portal.errors, admin.errors) == ([], [])


async def test_an_administrators_own_word_is_no_actor(bench: Bench, connect: Connector) -> None:
    admin = await desk(connect, "admin")
    await admin.ask(Topic.NODE_COMMAND, "one", channel="stirring", value=300, actor=ADMIN)
    (event,) = bench.events("command")
    assert event.data == {"by": "admin", "id": "one"}
    await admin.send(Topic.NODE_COMMAND, "two", channel="stirring", value=1e6, client=None)
    await eventually(lambda: len(admin.errors) == 1)  # who names no client is told on errors/
    assert (admin.errors[0].id, admin.errors[0].error.code) == ("two", ErrorCode.OUT_OF_RANGE)
    assert bench.hands.current is not None  # what the refused one did not begin it does not end


async def test_a_long_dose_is_answered_at_once_and_ended_with_manual_control(
    bench: Bench, connect: Connector
) -> None:
    admin = await desk(connect, "admin")
    reply = await admin.ask(Topic.NODE_COMMAND, "one", channel="media", dose_ml=2)
    assert isinstance(reply.result, Done)
    assert reply.result.outcome == "accepted"
    end = await admin.ask(Topic.NODE_MANUAL_END, "two")
    assert end.error is None
    await eventually(lambda: bench.reactor.safe)


async def test_what_fails_after_it_was_accepted_is_told_for_who_sent_it(
    bench: Bench, connect: Connector
) -> None:
    portal = await desk(connect, "portal")
    dose = {"channel": "media", "dose_ml": 2.0, "actor": ADMIN}
    reply = await portal.ask(Topic.NODE_COMMAND, "one", **dose)
    assert isinstance(reply.result, Done)
    assert reply.result.outcome == "accepted"
    await bench.reactor.emergency_stop("tested")
    await eventually(lambda: len(portal.errors) == 1)
    (told,) = portal.errors
    assert (told.id, told.user, told.error.code) == ("one", ADMIN.user, ErrorCode.ESTOP)
    assert told.topic.endswith("/command/portal/media")
    assert told.error.hint


@pytest.mark.parametrize("hold_seconds", [0.6])
async def test_what_nobody_renews_is_made_safe(bench: Bench, connect: Connector) -> None:
    admin = await desk(connect, "admin")
    begun = asyncio.get_running_loop().time()
    await admin.ask(Topic.NODE_COMMAND, "one", channel="stirring", value=300)
    assert bench.hands.current is not None
    first = bench.hands.current
    await admin.ask(Topic.NODE_COMMAND, "two", channel="temperature", value=35)
    assert bench.hands.current.until > first.until
    assert bench.hands.current.since == first.since
    await eventually(lambda: bench.hands.current is None)
    assert asyncio.get_running_loop().time() - begun >= 0.6
    assert bench.reactor.safe
    assert bench.reactor.setpoints() == {}
    assert [e.data["why"] for e in bench.events("manual-ended")] == ["no command for 0.6 s"]


async def test_an_emergency_stop_ends_manual_control(bench: Bench, connect: Connector) -> None:
    admin = await desk(connect, "admin")
    await admin.ask(Topic.NODE_COMMAND, "one", channel="stirring", value=300)
    await bench.reactor.emergency_stop("tested")
    assert bench.hands.current is None
