"""People are told what happened: over MQTT always, by web hook and mail where configured."""

import asyncio
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from broker.children import Child
from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.identity import write_private
from broker.messages import EventRecord, Notification, Status, decode, utc_now
from broker.topics import ANY, Topic
from hub_service.archive import Archive
from hub_service.notifier import EXPIRES_AFTER, Notifier
from hub_service.settings import HubSettings, NotifyTarget
from hub_service.targets import Letter
from tests.integration.hub.conftest import Site
from tests.integration.hub.test_program import ROOT, configuration
from tests.support.brokers import Connector
from tests.support.inbox import Inbox
from tests.support.receivers import Hook, Post
from tests.support.waiting import eventually
from tests.unit.hub_service.archive_entries import Node, event, experiment, phase

SECRET = "geheimnis"


def told(inbox: Inbox) -> list[Notification]:
    return [decode(Notification, payload) for payload in inbox.payloads]


async def distinct(inbox: Inbox, count: int) -> list[Notification]:
    """Wait for so many notifications; return each once, as it was told first.

    They come at least once: a hub that stops before it noted that the broker has one tells it
    again, with the same id.
    """
    await inbox.wait_until(lambda: len({n.id for n in told(inbox)}) >= count)
    first: dict[str, Notification] = {}
    for notification in told(inbox):
        first.setdefault(notification.id, notification)
    return list(first.values())


async def emptied(archive: Archive) -> None:
    """Wait until everybody was told everything."""
    async with asyncio.timeout(10):
        while await archive.outbox.waiting():  # noqa: ASYNC110  another process might empty it
            await asyncio.sleep(0.02)


async def listen(connect: Connector) -> Inbox:
    portal, inbox = await connect("alice"), Inbox()
    portal.subscribe(portal.topics.build(Topic.NOTIFICATION, kind=ANY), inbox)
    return inbox


async def test_ends_and_alarms_are_told_across_a_restart(site: Site, connect: Connector) -> None:
    inbox = await listen(connect)
    await site.start_hub()
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()
    one = (await alice.submit()).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    alarm = EventRecord(
        t=utc_now(), experiment_id=one, attempt=1, event="alarm",
        channel="temperature", data={"severity": "critical", "message": "It is too hot"},
    )  # fmt: skip
    await node.journal.append("records", [alarm])
    await distinct(inbox, 1)
    await node.end("failed", exit_code=3)
    await distinct(inbox, 2)
    await site.stop_hub()
    hub = await site.start_hub()
    two = (await alice.submit()).experiment_id
    await watcher.until(two, lambda e: e.phase == "executing")
    await node.end("completed", exit_code=0)
    first, second, third = await distinct(inbox, 3)
    assert (first.kind, first.severity, first.channel) == ("alarm", "critical", "temperature")
    assert (first.node, first.name, first.owner) == ("reactor-1", "hold", "alice")
    assert first.message.startswith("It is too hot")
    assert (second.kind, second.status, second.experiment_id) == ("failed", Status.FAILED, one)
    assert "exit code 3" in second.message
    assert (third.kind, third.experiment_id) == ("finished", two)
    await emptied(hub.archive)
    assert len(await distinct(inbox, 3)) == 3


async def test_why_one_failed_is_its_owners_where_it_is_not_open(
    site: Site, connect: Connector
) -> None:
    inbox = await listen(connect)
    await site.start_hub(settings=HubSettings(data_dir=site.path / "hub", open=False))
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()
    one = (await alice.submit()).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    await node.end("failed", exit_code=3)
    (end,) = await distinct(inbox, 1)
    assert (end.kind, end.status, end.owner) == ("failed", Status.FAILED, "alice")
    assert (end.message, end.error) == ("hold failed.", None)


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_web_hook_and_mail_that_fail_at_first(site: Site) -> None:
    hook, post = Hook(failures=1), Post(failures=1)
    with hook.open():
        async with post.open() as port:
            address = (
                f"mailto://127.0.0.1:{port}?from=hub@lab.example&to=ada@lab.example&mode=insecure"
            )
            targets = (
                NotifyTarget(name="hook", url=SecretStr(f"json://127.0.0.1:{hook.port}/{SECRET}")),
                NotifyTarget(name="mail", url=SecretStr(address), on=frozenset({"finished"})),
                NotifyTarget(name="never", url=SecretStr(address), on=frozenset({"alarm"})),
            )
            settings = HubSettings(data_dir=site.path / "hub", notify=targets)
            hub = await site.start_hub(settings=settings)
            alice, node = await site.person("alice"), await site.start_node()
            watcher = await site.watcher()
            one = (await alice.submit()).experiment_id
            await watcher.until(one, lambda e: e.phase == "executing")
            await node.end("completed", exit_code=0)
            await eventually(lambda: hook.refused == 1 and post.refused == 1)
            assert hook.taken == []
            # what waits outlives the hub, and its targets are tried again when it is due
            await site.stop_hub()
            site.clock.offset = timedelta(seconds=40)
            hub = await site.start_hub(settings=settings)
            await eventually(lambda: bool(hook.taken) and bool(post.taken))
            assert hook.taken[0]["title"] == "hold completed"
            assert "hold of alice completed on reactor-1" in post.taken[0]

            await emptied(hub.archive)
    assert len(hook.taken) == len(post.taken) == 1


class Stub:
    """Stands where the process is that tells targets."""

    def __init__(self, answers: Sequence[Mapping[str, str]] = ()) -> None:
        self.letters: list[list[Letter]] = []
        self._answers = list(answers)

    async def __call__(self, letters: Sequence[Letter]) -> Mapping[str, str]:
        self.letters.append(list(letters))
        return self._answers.pop(0) if self._answers else {}


@pytest.fixture
async def hub_connection(connect: Connector) -> Connection:
    return await connect("hub")


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_it_gives_up_after_a_day_and_puts_that_on_record(
    hub_connection: Connection, connect: Connector, tmp_path: Path
) -> None:
    archive = await asyncio.to_thread(Archive.open, tmp_path / "archive")
    late = timedelta(0)
    target = NotifyTarget(name="mail", url=SecretStr("json://127.0.0.1:1"))
    stub = Stub([{"mail": "no"}] * 100)

    async def find(_: str) -> None:
        return None

    notifier = Notifier(
        hub_connection, archive, [target], find=find, everybody=True,
        clock=lambda: utc_now() + late, send=stub, first_pause=timedelta(0), look_s=0.05,
    )  # fmt: skip
    inbox = await listen(connect)
    running = asyncio.create_task(notifier.run())
    try:
        one = experiment(status="failed")
        await archive.finish(one)
        await eventually(lambda: len(stub.letters) >= 3)
        (waiting,) = await archive.outbox.waiting()
        assert (waiting.published, waiting.told) == (True, frozenset())
        late = EXPIRES_AFTER + timedelta(seconds=1)
        await emptied(archive)
        (noted,) = await archive.audited(one.experiment_id)
        assert (noted.verb, noted.outcome) == ("notify", "expired")
        assert "mail" in str(noted.details["detail"])
        assert len(inbox.messages) == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.to_thread(archive.close)


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_a_flood_of_alarms_is_one_letter(hub_connection: Connection, tmp_path: Path) -> None:
    archive = await asyncio.to_thread(Archive.open, tmp_path / "archive")
    target = NotifyTarget(name="mail", url=SecretStr("json://127.0.0.1:1"), on=frozenset({"alarm"}))
    stub = Stub()

    async def find(_: str) -> None:
        return None

    node = Node(archive)
    alarms = [event(n, "alarm", message=f"alarm {n}", severity="warning") for n in range(15)]
    await node.record(*alarms, phase("interrupted", 20.0))
    await archive.finish(experiment())  # of which the target is not told
    notifier = Notifier(
        hub_connection, archive, [target], find=find, everybody=True, clock=utc_now, send=stub
    )
    running = asyncio.create_task(notifier.run())
    try:
        await eventually(lambda: bool(stub.letters))
        ((letter,),) = stub.letters
        assert letter.title.endswith("and 14 more")
        assert "alarm 14" in letter.body
        await emptied(archive)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.to_thread(archive.close)


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_a_crash_before_it_is_noted_tells_the_same_id_again(
    hub_connection: Connection, connect: Connector, tmp_path: Path
) -> None:
    archive = await asyncio.to_thread(Archive.open, tmp_path / "archive")
    await archive.finish(experiment())
    await archive.finish(experiment())  # said again, it is one
    await asyncio.to_thread(archive.close)
    # as the disk is if the hub is killed when the broker has it and that is not noted yet
    await asyncio.to_thread(shutil.copytree, tmp_path / "archive", tmp_path / "crashed")
    inbox = await listen(connect)

    async def find(_: str) -> None:
        return None

    for place, directory in enumerate(("archive", "crashed"), start=1):
        archive = await asyncio.to_thread(Archive.open, tmp_path / directory)
        notifier = Notifier(hub_connection, archive, (), find=find, everybody=True, clock=utc_now)
        running = asyncio.create_task(notifier.run())
        try:
            await inbox.wait_for(place)
            await emptied(archive)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await asyncio.to_thread(archive.close)
    assert len({notification.id for notification in told(inbox)}) == 1
    assert len(inbox.messages) == 2


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_an_administrator_tries_the_configuration(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    hook = Hook()
    with hook.open():
        text = configuration(broker, tmp_path) + (
            f'[[hub.notify]]\nname = "hook"\nurl = "json://127.0.0.1:{hook.port}/{SECRET}"\n'
            f'[[hub.notify]]\nname = "dead"\nurl = "json://127.0.0.1:1/{SECRET}"\n'
            '[[hub.notify]]\nname = "odd"\nurl = "nosuch://x"\n'
        )
        await asyncio.to_thread(write_private, tmp_path / "hub.toml", text)
        lines: list[str] = []
        command = [sys.executable, "-m", "hub_service", "notify-test", "--config"]
        child = Child.start(
            [*command, str(tmp_path / "hub.toml")],
            cwd=ROOT,
            on_line=lines.append,
        )
        try:
            async with asyncio.timeout(60):
                assert await child.wait() == 1
        finally:
            await child.stop()
    assert "hook: told" in lines
    assert any(line.startswith("dead: not told: ") for line in lines)
    assert "odd: not told: its URL is not one that Apprise knows" in lines
    assert SECRET not in json.dumps(lines)
    assert [each["title"] for each in hook.taken] == ["Bioreactor: a test"]
