"""A hub whose disk others fill: it refuses what is new, goes on, starts, and recovers."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from broker.children import Child
from broker.embedded import EmbeddedBroker
from broker.health import ask
from broker.messages import Done, HubStatus, Logs, OnExperiment, Submit, decode
from broker.topics import Topic
from hub_service.room import SIZE
from tests.integration.hub.conftest import Person, Site
from tests.integration.hub.test_program import configuration, start
from tests.support.brokers import Connector
from tests.support.inbox import Inbox
from tests.support.waiting import eventually

MEBIBYTE = 1024**2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


class Others:
    """Who fills the disk."""

    def __init__(self, disk: Path) -> None:
        self._file = disk / "others"

    def fill(self) -> None:
        with suppress(OSError), self._file.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def leave(self) -> None:
        self._file.unlink()


@asynccontextmanager
async def hub(path: Path, text: str, statuses: Inbox) -> AsyncIterator[Child]:
    """Run the hub's program; ready when it says that it is online."""
    before = len(statuses.payloads)
    child = start(path, text)
    try:
        await statuses.wait_until(lambda: _online(statuses, before))
        yield child
    finally:
        await child.stop()


def _online(statuses: Inbox, before: int) -> bool:
    said = [decode(HubStatus, payload).state for payload in statuses.payloads[before:]]
    return said[-1:] == ["online"]


async def _submit(alice: Person) -> str:
    return (await alice.submit("x = 1\n")).experiment_id


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_it_refuses_what_is_new_starts_all_the_same_and_recovers(
    broker: EmbeddedBroker, connect: Connector, site: Site, tmp_path: Path, small_disk: Path
) -> None:
    portal, statuses = await connect("portal"), Inbox()
    portal.subscribe(portal.topics.build(Topic.HUB_STATUS), statuses)
    alice, others = await site.person("alice"), Others(small_disk)
    text = configuration(broker, small_disk)
    async with hub(tmp_path, text, statuses) as child:
        await site.start_node()
        one, two = await _submit(alice), await _submit(alice)
        await asyncio.to_thread(others.fill)
        assert await alice.refused("submit", Submit(script="x = 1\n", id="a")) == "STORAGE_FULL"
        assert (await alice.get(two)).status == "queued"
        child.send_signal(signal.SIGKILL)
        await child.wait()
    with suppress(FileNotFoundError):
        (small_disk / "hub" / "queue.json.spare").unlink()  # a start would write over its room
    await asyncio.to_thread(others.fill)
    async with hub(tmp_path, text, statuses):
        # The room that it held back let it start; most of what it does not need is held again.
        assert (small_disk / "hub" / "reserve").stat().st_size < SIZE
        assert await alice.refused("submit", Submit(script="x = 1\n", id="b")) == "STORAGE_FULL"
        assert (await alice.get(one)).status in {"running", "queued"}
        done = await alice.ask("cancel", OnExperiment(experiment_id=two), Done)
        assert done.outcome == "done"
        others.leave()
        assert await _submit(alice)


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_a_refusal_is_one_though_no_room_is_left_to_note_it(
    broker: EmbeddedBroker, connect: Connector, site: Site, tmp_path: Path, small_disk: Path
) -> None:
    portal, statuses = await connect("portal"), Inbox()
    portal.subscribe(portal.topics.build(Topic.HUB_STATUS), statuses)
    alice, bob, others = await site.person("alice"), await site.person("bob"), Others(small_disk)
    text = configuration(broker, small_disk) + "open = false\n"
    async with hub(tmp_path, text, statuses):
        one = await _submit(alice)
        for _ in range(40):
            await asyncio.to_thread(others.fill)
            assert await bob.refused("logs", Logs(experiment_id=one)) == "FORBIDDEN"


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_without_any_room_it_waits_and_does_not_give_up(
    broker: EmbeddedBroker, connect: Connector, site: Site, tmp_path: Path, small_disk: Path
) -> None:
    portal, statuses = await connect("portal"), Inbox()
    portal.subscribe(portal.topics.build(Topic.HUB_STATUS), statuses)
    alice, others = await site.person("alice"), Others(small_disk)
    text = configuration(broker, small_disk)
    async with hub(tmp_path, text, statuses):
        await site.start_node()
        one = await _submit(alice)
    (small_disk / "hub" / "reserve").unlink()
    await asyncio.to_thread(others.fill)
    child = start(tmp_path, text)
    try:
        await eventually(lambda: "waits for room" in "".join(child.last_lines))
        health = await asyncio.to_thread(ask, small_disk / "hub")
        assert (health.alive, health.ready) == (True, False)
        assert "wait for room" in health.sentence
        others.leave()
        await statuses.wait_until(lambda: _online(statuses, 2))
        assert (await alice.get(one)).experiment_id == one
    finally:
        await child.stop()
