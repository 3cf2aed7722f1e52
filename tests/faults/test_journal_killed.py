"""Both ends of the journal, and the broker, are killed at any instant: nothing lost or doubled."""

import asyncio
import os
import random
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from hub_service.archive import Archive
from tests.faults.journal_node_main import EXPERIMENT
from tests.support.waiting import eventually

NODES = ("reactor-1", "reactor-2")
ROUNDS = 14
ENOUGH = 100
"""Promises of each node, so that there is something to lose."""


class Processes:
    """Programs that are killed and started again."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, principal: str, *command: str) -> asyncio.subprocess.Process:
        settings = self._broker.settings_for(principal)
        assert settings.password is not None
        environment = {
            **os.environ,
            "BIOREACTOR_BROKER_URL": settings.url,
            "BIOREACTOR_BROKER_USERNAME": settings.username or "",
            "BIOREACTOR_BROKER_PASSWORD": settings.password.get_secret_value(),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *command, env=environment
        )
        self._running[principal] = process
        return process

    async def kill(self, principal: str) -> None:
        process = self._running.pop(principal)
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def kill_all(self) -> None:
        for principal in list(self._running):
            await self.kill(principal)


@pytest.fixture
async def processes(broker: EmbeddedBroker) -> AsyncIterator[Processes]:
    processes = Processes(broker)
    yield processes
    await processes.kill_all()


def promised(directory: Path) -> list[list[str]]:
    return [line.split() for line in (directory / "promises").read_text().splitlines()]


def promised_enough(directory: Path) -> Callable[[], bool]:
    return lambda: len(promised(directory)) > ENOUGH


def lines_of(archive: Archive, node: str) -> list[tuple[str, int]]:
    with sqlite3.connect(archive.directory / "archive.sqlite") as connection:
        rows = connection.execute(
            "SELECT text, logs.n FROM logs JOIN runs ON runs.id = run JOIN nodes ON"
            " nodes.id = node WHERE name = ?",
            (node,),
        ).fetchall()
        assert connection.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM gaps").fetchone() == (0,)
    connection.close()
    return rows


def nothing_doubled(found: Sequence[object]) -> bool:
    return max(Counter(found).values(), default=0) <= 1


@pytest.mark.parametrize(("broker_kind", "seed"), [("mosquitto", 1), ("nats", 2)])
@pytest.mark.timeout(240)
async def test_nothing_is_lost_and_nothing_comes_twice(
    broker: EmbeddedBroker, processes: Processes, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311  test data
    hub = ("tests.faults.journal_hub_main", str(tmp_path / "hub"))
    (tmp_path / "hub").mkdir()

    def node(name: str, mode: str) -> tuple[str, ...]:
        return ("tests.faults.journal_node_main", str(tmp_path / name), name, mode)

    await processes.start("hub", *hub)
    for name in NODES:
        (tmp_path / name).mkdir()
        await processes.start(name, *node(name, "run"))
    for name in NODES:
        await eventually((tmp_path / name / "promises").exists)
    for _ in range(ROUNDS):
        await asyncio.sleep(dice.uniform(0.05, 1.2))  # the instant is what is tried here
        victim = dice.choice([*NODES, *NODES, "hub", "hub", "broker"])
        if victim == "broker":
            os.kill(broker.pid, 9)
        elif victim == "hub":
            await processes.kill("hub")
            await processes.start("hub", *hub)
        else:
            await processes.kill(victim)
            await processes.start(victim, *node(victim, "run"))
    for name in NODES:  # one that was killed again and again may have come to little
        await eventually(promised_enough(tmp_path / name), within=60)
        await processes.kill(name)
        ended = await processes.start(name, *node(name, "drain"))
        async with asyncio.timeout(90):
            assert await ended.wait() == 0
    await processes.kill("hub")

    archive = Archive.open(tmp_path / "hub" / "archive")
    try:
        images = [p.record.image for p in await archive.phase_records(0, 10**6)]
        assert nothing_doubled(images)
        applied = (tmp_path / "hub" / "applied").read_text().split()
        assert applied == images
        files = {file.name: file for file in await archive.results(EXPERIMENT)}
        for name in NODES:
            lines = lines_of(archive, name)
            assert nothing_doubled(lines)
            promises = promised(tmp_path / name)
            assert {(p[1], int(p[2])) for p in promises if p[0] == "line"} <= set(lines)
            assert {p[1] for p in promises if p[0] == "phase"} <= set(images)
            for promise in promises:
                if promise[0] == "file":
                    assert files[promise[1]].sha256 == promise[2]
                    assert files[promise[1]].problem == ""
    finally:
        archive.close()
