"""Requests that nobody waits for: none is lost and none is done twice, whatever becomes of the hub.

Each hub is a process that is killed with SIGKILL; the broker is a real one of either kind.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from broker.children import Child
from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.messages import (
    Done,
    ErrorReport,
    Limits,
    List,
    Listed,
    Plain,
    Posture,
    Queue,
    Submit,
    decode,
    utc_now,
)
from broker.requests import Asker
from broker.topics import Topic
from tests.faults.laboratory import ROOT, configure
from tests.support.brokers import Connector
from tests.support.inbox import Inbox
from tests.support.waiting import eventually

QUEUED, LATE = 60, 20
"""How many are published before the hub is killed, and while it is away."""


@asynccontextmanager
async def hub_process(config: Path) -> AsyncIterator[Child]:
    child = Child.start(
        [sys.executable, "-m", "hub_service", "--config", str(config)],
        cwd=ROOT,
        on_line=lambda _line: None,
    )
    try:
        yield child
    finally:
        await child.stop()


async def fire(person: Connection, principal: str, number: int, *, expired: bool = False) -> None:
    """Submit and forget; returns when the broker has it."""
    request = Submit(
        id=f"{principal}-{number}",
        name=f"{principal} {number}",
        script="print(1)\n",
        expires_at=utc_now() - timedelta(seconds=1) if expired else None,
    )
    topic = person.topics.build(Topic.HUB_REQUEST, principal=principal, verb="submit")
    await person.publish(topic, request.encode())


def in_queue(path: Path) -> int:
    return len(json.loads((path / "hub" / "queue.json").read_bytes())["experiments"])


async def everything(asker: Asker) -> list[str]:
    """The names of all experiments in the order of their submission."""
    names: list[str] = []
    before = None
    while True:
        page = await asker.ask("list", List(limit=200, before=before), timeout=60)
        assert isinstance(page, Listed)
        names += [experiment.name for experiment in page.experiments]
        before = page.next
        if before is None:
            return names[::-1]


async def test_each_is_carried_out_once_over_a_kill_and_an_absence(
    broker: EmbeddedBroker, connect: Connector, tmp_path: Path
) -> None:
    config = configure(tmp_path, broker)
    alice, bob, admin = await connect("alice"), await connect("bob"), await connect("admin")
    errors, queue = Inbox(), Inbox()
    alice.subscribe(alice.topics.build(Topic.ERRORS, principal="alice"), errors)
    alice.subscribe(alice.topics.build(Topic.QUEUE), queue)
    boss = Asker(admin, "admin")

    async with hub_process(config) as hub:
        raised = await boss.ask("limits", Limits(per_user=1000), admin=True, timeout=60)
        assert isinstance(raised, Done)
        publishing = asyncio.gather(
            *(fire(alice, "alice", n) for n in range(QUEUED)),
            *(fire(bob, "bob", n) for n in range(QUEUED)),
        )
        await queue.wait_until(lambda: decode(Queue, queue.payloads[-1]).total_queued > 0)
        os.kill(hub.pid, signal.SIGKILL)
        await hub.wait()
        await publishing
        left = 2 * QUEUED - in_queue(tmp_path)
        assert left > QUEUED, "the hub was killed too late for this test to show anything"

    for number in range(QUEUED, QUEUED + LATE):
        await fire(alice, "alice", number)
        await fire(bob, "bob", number)
    poison = alice.topics.build(Topic.HUB_REQUEST, principal="alice", verb="submit")
    for payload in (b"\xff", b"{", b'{"id": "x", "script": 1}'):
        await alice.publish(poison, payload)
    await fire(alice, "alice", 9999, expired=True)
    for verb in ("drain-queue", "pause-queue"):
        topic = admin.topics.build(Topic.HUB_ADMIN, principal="admin", verb=verb)
        await admin.publish(topic, b"")
    await fire(alice, "alice", QUEUED + LATE)  # behind the poison

    async with hub_process(config) as hub:
        count = 2 * (QUEUED + LATE) + 1
        await queue.wait_until(
            lambda: decode(Queue, queue.payloads[-1]).total_queued == count, within=60
        )
        names = await everything(Asker(alice, "alice"))
        assert len(names) == count
        for who, wanted in (("alice", QUEUED + LATE + 1), ("bob", QUEUED + LATE)):
            order = [int(name.split()[1]) for name in names if name.startswith(who)]
            assert sorted(order) == list(range(wanted))
            if broker.kind == "mosquitto":  # NATS brings what was under way behind what waited
                assert order == list(range(wanted))
            assert [n for n in order if n >= QUEUED] == list(range(QUEUED, wanted))
        assert decode(Queue, queue.payloads[-1]).posture is Posture.PAUSED
        await errors.wait_for(4)
        codes = [decode(ErrorReport, payload).error.code for payload in errors.payloads]
        assert codes == ["MALFORMED"] * 3 + ["EXPIRED"]

        # What was acknowledged does not come again.
        again = await boss.ask("resume-queue", Plain(), admin=True, timeout=60)
        assert isinstance(again, Done)
        await eventually(lambda: decode(Queue, queue.payloads[-1]).posture is Posture.RUNNING)
    async with hub_process(config):
        assert await everything(Asker(alice, "alice")) == names
        assert decode(Queue, queue.payloads[-1]).posture is Posture.RUNNING
        assert len(errors.messages) == 4
