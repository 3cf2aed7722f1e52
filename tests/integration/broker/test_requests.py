import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ulid import ULID

from broker import requests
from broker.connection import Connection, Delivery, Handler, Message, Presence, Taker
from broker.doorbook import MAX_TRIES, Doorbook
from broker.embedded import EmbeddedBroker
from broker.messages import (
    Actor,
    ContractError,
    Done,
    ErrorCode,
    ErrorReport,
    Halt,
    HubStatus,
    OnExperiment,
    Plain,
    Reply,
    Result,
    Submit,
    decode,
    utc_now,
)
from broker.messages import List as ListRequest
from broker.requests import Asked, Asker, Rate, RequestServer
from broker.topics import Topic, Topics
from tests.support.brokers import Connector
from tests.support.inbox import Inbox

DONE = Done(outcome="done", message="done")
EXPERIMENT = str(ULID())


class Hub:
    """Answers requests and remembers them; `act` is what it does."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._came = asyncio.Condition()
        self.act: Callable[[Asked], Awaitable[Result]] = self._say_done

    async def handle(self, asked: Asked) -> Result:
        async with self._came:
            self.asked.append(asked)
            self._came.notify_all()
        return await self.act(asked)

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(10), self._came:
            await self._came.wait_for(lambda: len(self.asked) >= count)

    @staticmethod
    async def _say_done(_asked: Asked) -> Result:
        return DONE


async def never(asked: Asked) -> Result:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


@asynccontextmanager
async def serving(
    broker: EmbeddedBroker, hub: Hub, *, rate: Rate | None = None
) -> AsyncIterator[Connection]:
    connection = Connection(broker.settings_for("hub"), client_id="the-hub")
    status = HubStatus(
        state="online",
        version="1",
        boot_id=str(ULID()),
        since=datetime.now(UTC),
        store_id=str(ULID()),
        generation=1,
    )
    presence = Presence(connection, connection.topics.build(Topic.HUB_STATUS), status)
    server = RequestServer(connection, portals=frozenset({"portal"}), handle=hub.handle, rate=rate)
    said = Inbox()
    connection.subscribe(connection.topics.build(Topic.HUB_STATUS), said)
    async with connection, presence:
        task = asyncio.create_task(server.run())
        try:
            # an asker that reads live that the hub came sends again what it has asked already
            await said.wait_until(lambda: any(status.boot_id.encode() in p for p in said.payloads))
            yield connection
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def hub(broker: EmbeddedBroker) -> AsyncIterator[Hub]:
    made = Hub()
    async with serving(broker, made):
        yield made


async def test_ask_and_answer(hub: Hub, connect: Connector) -> None:
    asker = Asker(await connect("alice"), "alice")

    answer = await asker.ask("cancel", OnExperiment(experiment_id=EXPERIMENT))

    assert answer == DONE
    [asked] = hub.asked
    assert (asked.principal, asked.user, asked.verb, asked.admin) == (
        "alice",
        "mqtt:alice",
        "cancel",
        False,
    )
    assert isinstance(asked.request, OnExperiment)
    assert asked.request.experiment_id == EXPERIMENT


async def test_a_server_that_finishes_answers_what_it_has_and_takes_nothing_new(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    hub, go = Hub(), asyncio.Event()

    async def when_told(_: Asked) -> Result:
        await go.wait()
        return DONE

    hub.act = when_told
    connection = Connection(broker.settings_for("hub"), client_id="the-hub")
    server = RequestServer(connection, portals=frozenset(), handle=hub.handle)
    alice, replies = await connect("alice"), Inbox()
    alice.subscribe(alice.topics.build(Topic.REPLY, principal="alice", client="c"), replies)
    async with connection:
        await connection.wait_connected(10)
        serving = asyncio.create_task(server.run())
        try:
            topic = alice.topics.build(Topic.HUB_REQUEST, principal="alice", verb="cancel")
            request = OnExperiment(experiment_id=EXPERIMENT, client="c", id="1")
            await alice.publish(topic, request.encode())
            await hub.wait_for(1)
            finishing = asyncio.create_task(server.finish(10))
            await asyncio.sleep(0)
            await alice.publish(topic, request.model_copy(update={"id": "2"}).encode())
            go.set()
            await finishing
            await replies.wait_for(1)
            assert [asked.request.id for asked in hub.asked] == ["1"]
            go.clear()
            await server.finish(0.01)  # nothing waits: at once
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def test_the_hub_s_error_reaches_the_asker(hub: Hub, connect: Connector) -> None:
    async def refuse(asked: Asked) -> Result:
        raise ContractError(ErrorCode.NOT_FOUND, "there is none", "list them", id="x")

    hub.act = refuse
    asker = Asker(await connect("alice"), "alice")

    with pytest.raises(ContractError) as caught:
        await asker.ask("cancel", OnExperiment(experiment_id=EXPERIMENT))

    error = caught.value.error
    assert (error.code, error.message, error.hint, error.details) == (
        ErrorCode.NOT_FOUND,
        "there is none",
        "list them",
        {"id": "x"},
    )


async def test_a_failure_of_the_hub_is_told_without_its_secrets(
    hub: Hub, connect: Connector, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(asked: Asked) -> Result:
        raise ZeroDivisionError("secret detail")

    hub.act = fail
    asker = Asker(await connect("alice"), "alice")

    with pytest.raises(ContractError) as caught:
        await asker.ask("list", ListRequest())

    assert caught.value.error.code is ErrorCode.INTERNAL
    assert "secret detail" not in caught.value.error.model_dump_json()
    assert "secret detail" in caplog.text


async def test_a_failure_at_the_door_is_told_too(
    hub: Hub, connect: Connector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError("secret detail")

    asker = Asker(await connect("alice"), "alice")
    with monkeypatch.context() as broken:
        broken.setattr(requests, "fingerprint", fail)
        with pytest.raises(ContractError) as caught:
            await asker.ask("list", ListRequest())
    assert caught.value.error.code is ErrorCode.INTERNAL
    assert "secret detail" not in caught.value.error.model_dump_json()
    assert "secret detail" in caplog.text
    await asker.ask("list", ListRequest())


async def test_two_tries_of_one_request_are_one_request(hub: Hub, connect: Connector) -> None:
    asker = Asker(await connect("alice"), "alice")
    request = Submit(id="same", script="pass")

    await asyncio.gather(asker.ask("submit", request), asker.ask("submit", request))

    first, second = hub.asked
    assert first.request.id == second.request.id == "same"
    assert first.fingerprint == second.fingerprint
    other = Asker(await connect("alice"), "alice")
    await other.ask("submit", Submit(id="same", script="pass  "))
    assert hub.asked[2].fingerprint != first.fingerprint


async def test_plain_publishers_are_served_as_well(
    hub: Hub, broker: EmbeddedBroker, connect: Connector
) -> None:
    admin = await connect("admin")
    errors = Inbox()
    admin.subscribe(admin.topics.build(Topic.ERRORS, principal="admin"), errors)
    topic = admin.topics.build(Topic.HUB_ADMIN, principal="admin", verb="pause-queue")

    await publish_raw(broker, topic, b"")  # mosquitto_pub -n

    await hub.wait_for(1)
    assert hub.asked[0].admin
    assert hub.asked[0].request == Halt()
    assert errors.messages == []


BAD: list[tuple[str, bytes, ErrorCode]] = [
    ("list", b"{", ErrorCode.MALFORMED),
    ("list", b"\xff\xfe", ErrorCode.MALFORMED),
    ("list", b'{"colour": 1}', ErrorCode.MALFORMED),
    ("list", b'{"limit": NaN}', ErrorCode.MALFORMED),
    ("list", b"[" * 100_000, ErrorCode.MALFORMED),
    ("list", b'{"id": "has a space"}', ErrorCode.MALFORMED),
    ("list", b'{"' + b"x" * 500_000 + b'": 1}', ErrorCode.MALFORMED),
    ("explode", b"", ErrorCode.UNKNOWN_VERB),
    ("pause-queue", b"", ErrorCode.UNKNOWN_VERB),
    ("submit", b'{"script": "pass"}', ErrorCode.ID_REQUIRED),
    ("list", b'{"expires_at": "2026-01-01T00:00:00Z"}', ErrorCode.EXPIRED),
    ("list", b" " * (800 * 1024), ErrorCode.TOO_LARGE),
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
async def test_what_is_wrong_is_told_and_goes_no_further(
    hub: Hub, broker: EmbeddedBroker, connect: Connector, bad: tuple[str, bytes, ErrorCode]
) -> None:
    verb, payload, code = bad
    errors = Inbox()
    alice = await connect("alice", prepare=lambda c: listen(c, "bioreactor/errors/alice", errors))
    topic = alice.topics.build(Topic.HUB_REQUEST, principal="alice", verb=verb)

    await publish_raw(broker, topic, payload)

    [message] = await errors.wait_for(1)
    report = decode(ErrorReport, message.payload)
    assert (report.error.code, report.topic) == (code, topic)
    assert report.error.message
    assert report.error.hint
    assert hub.asked == []


async def test_a_malformed_request_is_answered_to_its_client_if_it_names_one(
    hub: Hub, connect: Connector
) -> None:
    alice = await connect("alice")
    replies = Inbox()
    alice.subscribe(alice.topics.build(Topic.REPLY, principal="alice", client="tool"), replies)
    topic = alice.topics.build(Topic.HUB_REQUEST, principal="alice", verb="cancel")

    await alice.publish(topic, b'{"id": "r1", "client": "tool", "experiment_id": 7}')

    [message] = await replies.wait_for(1)
    reply = decode(Reply, message.payload)
    assert reply.id == "r1"
    assert reply.error is not None
    assert reply.error.code is ErrorCode.MALFORMED
    assert "experiment_id" in reply.error.message


async def test_a_retained_command_is_refused_and_removed_and_never_executed(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    admin, errors = await connect("admin"), Inbox()
    admin.subscribe(admin.topics.build(Topic.ERRORS, principal="admin"), errors)
    topic = admin.topics.build(Topic.HUB_ADMIN, principal="admin", verb="drain-queue")
    await admin.publish(topic, b"{}", retain=True)  # before the hub is there
    hub = Hub()

    async with serving(broker, hub):
        [message] = await errors.wait_for(1)
        assert decode(ErrorReport, message.payload).error.code is ErrorCode.RETAINED_COMMAND
        # the empty message that removed it comes back to the hub, as a request without fields would
        asker = Asker(admin, "admin")
        await asker.ask("pause-queue", Plain(), admin=True)

    assert {asked.verb for asked in hub.asked} == {"pause-queue"}
    kept = Inbox()
    await connect("hub", prepare=lambda c: listen(c, "bioreactor/hub/admin/+/+", kept))
    await admin.publish(topic.replace("drain", "resume"), b"last")
    await kept.wait_for(1)
    assert kept.payloads == [b"last"]


async def test_only_portals_are_believed_when_they_say_who_acts(
    hub: Hub, connect: Connector
) -> None:
    actor = Actor(user="web:0123456789", name="Ada")

    for principal in ("alice", "portal"):
        asker = Asker(await connect(principal), principal)
        await asker.ask("list", ListRequest(actor=actor))

    assert [asked.user for asked in hub.asked] == ["mqtt:alice", "web:0123456789"]
    portal = Asker(await connect("portal"), "portal")
    with pytest.raises(ContractError) as caught:
        await portal.ask("pause-queue", Plain(actor=actor), admin=True)
    assert caught.value.error.code is ErrorCode.FORBIDDEN
    await portal.ask(
        "pause-queue", Plain(actor=actor.model_copy(update={"admin": True})), admin=True
    )


async def test_a_slow_user_holds_nobody_else_up_and_a_slow_read_no_command(
    hub: Hub, connect: Connector
) -> None:
    release = asyncio.Event()

    async def handle(asked: Asked) -> Result:
        if asked.verb == "export" or asked.user == "web:slow-user":
            await release.wait()
        return DONE

    hub.act = handle
    alice, portal = Asker(await connect("alice"), "alice"), Asker(await connect("portal"), "portal")

    def by(user: str) -> OnExperiment:
        return OnExperiment(experiment_id=EXPERIMENT, actor=Actor(user=user, name="x"))

    async with asyncio.TaskGroup() as group:
        group.create_task(portal.ask("cancel", by("web:slow-user")))
        group.create_task(portal.ask("pause", by("web:slow-user")))
        export = {"experiment_id": EXPERIMENT, "kind": "log"}
        await alice._connection.publish(
            "bioreactor/hub/request/alice/export", json.dumps(export).encode()
        )
        async with asyncio.timeout(5):
            await portal.ask("cancel", by("web:fast-user"))
            await alice.ask("cancel", OnExperiment(experiment_id=EXPERIMENT))
        assert [a.verb for a in hub.asked if a.user == "web:slow-user"] == ["cancel"]
        release.set()
    assert [a.verb for a in hub.asked if a.user == "web:slow-user"] == ["cancel", "pause"]


async def test_a_flood_is_refused_and_others_are_served(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    hub = Hub()
    alice, bob = await connect("alice"), await connect("bob")
    errors = Inbox()
    alice.subscribe(alice.topics.build(Topic.ERRORS, principal="alice"), errors)
    topic = alice.topics.build(Topic.HUB_REQUEST, principal="alice", verb="list")
    async with serving(broker, hub, rate=Rate(per_second=0.001, burst=10)):
        await asyncio.gather(*(alice.publish(topic, b"{}") for _ in range(50)))
        await Asker(bob, "bob").ask("list", ListRequest())
        await errors.wait_for(10)

    codes = {decode(ErrorReport, payload).error.code for payload in errors.payloads}
    assert codes == {ErrorCode.RATE_LIMIT}
    assert len([asked for asked in hub.asked if asked.principal == "alice"]) == 10
    assert len(errors.messages) <= 20  # beyond, a flood is not even answered


async def test_no_answer_and_no_hub_are_told_apart(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    asker = Asker(await connect("alice"), "alice")

    async def ask() -> ContractError:
        with pytest.raises(ContractError) as caught:
            await asker.ask("list", ListRequest(), timeout=0.4)
        return caught.value

    with_none = await ask()
    hub = Hub()
    hub.act = never
    async with serving(broker, hub):
        with_silent = await ask()
    left = await ask()

    codes = [error.error.code for error in (with_none, with_silent, left)]
    assert codes == [ErrorCode.UNAVAILABLE, ErrorCode.TIMEOUT, ErrorCode.UNAVAILABLE]
    assert "no hub has shown itself" in str(with_none)
    assert "the hub is offline since 20" in str(left)


async def test_a_hub_that_comes_back_answers_what_its_predecessor_took_to_the_grave(
    broker: EmbeddedBroker, connect: Connector
) -> None:
    asker = Asker(await connect("alice"), "alice")
    first, second = Hub(), Hub()
    first.act = never
    async with asyncio.TaskGroup() as group:
        async with serving(broker, first):
            asking = group.create_task(asker.ask("submit", Submit(script="pass")))
            await first.wait_for(1)
        assert not asking.done()
        async with serving(broker, second), asyncio.timeout(10):
            assert await asking == DONE

    assert first.asked[0].fingerprint == second.asked[0].fingerprint


async def test_requests_survive_a_restart_of_the_broker(
    hub: Hub, broker: EmbeddedBroker, connect: Connector
) -> None:
    asker = Asker(await connect("alice"), "alice")
    os.kill(broker.pid, signal.SIGKILL)

    answer = await asker.ask("submit", Submit(script="pass"), timeout=20)

    assert answer == DONE
    assert len({asked.request.id for asked in hub.asked}) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "client", "expires_at", "actor", "limit", "script", "experiment_id"]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
PAYLOADS = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())
LEVELS = st.sampled_from(
    ["list", "submit", "cancel", "fetch", "pause-queue", "limits"]
) | st.from_regex(r"[A-Za-z0-9 _.$-]{1,20}", fullmatch=True)


@given(messages=st.lists(st.tuples(st.booleans(), LEVELS, PAYLOADS, st.booleans()), max_size=30))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_message_breaks_the_server(
    messages: list[tuple[bool, str, bytes, bool]],
) -> None:
    asyncio.run(check_server_survives(messages))


async def check_server_survives(messages: list[tuple[bool, str, bytes, bool]]) -> None:
    """Feed messages by hand, as the connection would: brokers would refuse some of the topics."""
    fed = Fed()
    hub = Hub()
    server = RequestServer(fed, portals=frozenset({"portal"}), handle=hub.handle)  # type: ignore[arg-type]
    task = asyncio.create_task(server.run())
    await asyncio.sleep(0)
    for admin, verb, payload, retain in messages:
        kind = "admin" if admin else "request"
        for principal in ("alice", "portal", verb):
            topic = f"bioreactor/hub/{kind}/{principal}/{verb}"
            await fed.bring(admin, Message(topic, payload, retain=retain))
    await fed.bring(False, Message("bioreactor/hub/request/alice/list", b'{"client": "c"}'))
    async with asyncio.timeout(5):
        await fed.replied.wait()
        await fed.acknowledged.wait()
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_request_that_ends_every_life_of_the_hub_is_refused_at_last() -> None:
    """The broker brings it again each time; the process never came to acknowledge it."""
    deadly = Message(
        "bioreactor/hub/request/alice/list", b'{"client": "c", "id": "deadly"}', repeated=True
    )
    book = Doorbook()
    for _ in range(MAX_TRIES):
        assert await book.begin(deadly)
    fed, hub = Fed(), Hub()
    server = RequestServer(fed, portals=frozenset(), handle=hub.handle, book=book)  # type: ignore[arg-type]
    task = asyncio.create_task(server.run())
    await fed.bring(False, deadly)
    await fed.bring(False, Message(deadly.topic, b'{"client": "c", "id": "fresh"}'))
    async with asyncio.timeout(5):
        await fed.acknowledged.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    first, second = (decode(Reply, payload) for payload in fed.replies)
    assert (first.id, first.error is not None and first.error.code) == ("deadly", "INTERNAL")
    assert (second.id, second.error) == ("fresh", None)
    assert [asked.request.id for asked in hub.asked] == ["fresh"]


async def test_the_echo_of_a_removed_request_is_ignored_however_late_it_comes() -> None:
    """The link was lost first, and the broker kept it for the next connection."""
    topic = "bioreactor/hub/admin/alice/resume-queue"
    now = utc_now()
    fed, hub = Fed(), Hub()
    server = RequestServer(fed, portals=frozenset(), handle=hub.handle, clock=lambda: now)  # type: ignore[arg-type]
    task = asyncio.create_task(server.run())
    for message in (Message(topic, b"{}", retain=True), Message(topic, b"")):
        await fed.bring(True, message)
        async with asyncio.timeout(5):
            await fed.acknowledged.wait()
        now += timedelta(hours=1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert hub.asked == []


class Fed:
    """Stands where the connection stands: the network, from the server's point of view."""

    def __init__(self) -> None:
        self.topics = Topics()
        self.takers: list[Taker] = []
        self.replied, self.acknowledged = asyncio.Event(), asyncio.Event()
        self.replies: list[bytes] = []
        self.unanswered = 0

    def take(self, _topic_filter: str, taker: Taker) -> Callable[[], None]:
        self.takers.append(taker)
        return lambda: None

    async def bring(self, admin: bool, message: Message) -> None:
        self.unanswered += 1
        self.acknowledged.clear()
        await self.takers[admin](Delivery(message, self._done))

    def _done(self) -> None:
        self.unanswered -= 1
        if self.unanswered == 0:
            self.acknowledged.set()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        assert payload or retain
        if topic == "bioreactor/reply/alice/c":
            self.replies.append(payload)
            self.replied.set()


def listen(connection: Connection, topic_filter: str, handler: Handler) -> None:
    connection.subscribe(topic_filter, handler)


async def publish_raw(broker: EmbeddedBroker, topic: str, payload: bytes) -> None:
    """Publish as a foreign client does, without our own limit of size."""
    settings = broker.settings_for(topic.split("/")[3])
    assert settings.username is not None
    assert settings.password is not None
    process = await asyncio.create_subprocess_exec(
        "mosquitto_pub",
        *("-h", "127.0.0.1", "-p", str(broker.port), "-q", "1", "-t", topic),
        *("-u", settings.username, "-P", settings.password.get_secret_value()),
        "-s" if payload else "-n",
        stdin=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(10):
        await process.communicate(payload)
    assert process.returncode == 0
