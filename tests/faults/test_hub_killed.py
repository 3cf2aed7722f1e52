"""The hub, killed before each durable step in turn: nothing lost, nothing twice."""

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.children import Child
from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.identity import write_private
from broker.messages import (
    ContractError,
    Done,
    ErrorCode,
    Limits,
    List,
    Listed,
    Status,
    Submit,
    Submitted,
)
from broker.requests import Asker
from tests.support.brokers import Connector
from tests.support.contract_node import ContractNode
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
LIVES = 48
"""More than the steps of one start, one submission, one whole run."""
SCRIPT = "# /// script\n# [tool.bioreactor]\n# needs = ['od']\n# ///\nprint('hello')\n"


def configure(path: Path, broker: EmbeddedBroker) -> Path:
    settings = broker.settings_for("hub")
    assert settings.password is not None
    config = path / "hub.toml"
    lines = [
        "[broker]",
        f'url = "{settings.url}"',
        'username = "hub"',
        f'password = "{settings.password.get_secret_value()}"',
        "[hub]",
        f'data_dir = "{path / "hub"}"',
    ]
    write_private(config, "\n".join(lines))
    return config


@asynccontextmanager
async def life(config: Path, last: int) -> AsyncIterator[Child]:
    """Run the hub as a process; it kills itself before its step number `last`."""
    said: list[str] = []
    child = Child.start(
        [sys.executable, "-m", "tests.faults.hub_killed_main", str(config), str(last)],
        cwd=ROOT,
        on_line=said.append,
    )
    try:
        yield child
    finally:
        await child.stop()


async def submit(asker: Asker, identity: str) -> str:
    """Submit until it is answered, always with the same id."""
    while True:
        try:
            answer = await asker.ask("submit", Submit(script=SCRIPT, id=identity), timeout=60)
        except ContractError as error:
            if error.error.code not in {ErrorCode.UNAVAILABLE, ErrorCode.TIMEOUT}:
                raise
            await asyncio.sleep(0.1)
            continue
        assert isinstance(answer, Submitted)
        return answer.experiment_id


async def ask_all(connection: Connection) -> list[Listed]:
    asker = Asker(connection, "alice")
    pages: list[Listed] = []
    before = None
    while True:
        page = await asker.ask("list", List(limit=200, before=before))
        assert isinstance(page, Listed)
        pages.append(page)
        before = page.next
        if before is None:
            return pages


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_killed_before_every_durable_step(
    broker: EmbeddedBroker, connect: Connector, tmp_path: Path
) -> None:
    config = configure(tmp_path, broker)
    alice, admin = await connect("alice"), await connect("admin")
    asker = Asker(alice, "alice")
    promised: dict[str, str] = {}

    async def keep_submitting() -> None:
        while True:
            identity = f"job-{len(promised)}"
            promised[identity] = await submit(asker, identity)

    async with ContractNode.running(broker.settings_for("reactor-1"), tmp_path / "nodes") as node:
        node.automatic = True
        async with life(config, 0):
            raised = await Asker(admin, "admin").ask(
                "limits", Limits(per_user=1000), admin=True, timeout=30
            )
            assert isinstance(raised, Done)
        busy = asyncio.create_task(keep_submitting())
        try:
            for last in range(1, LIVES + 1):
                async with life(config, last) as child:
                    async with asyncio.timeout(30):
                        assert await child.wait() == -9, list(child.last_lines)
        finally:
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)
        assert len(promised) >= 5

        async with life(config, 0):
            # One more, whose answer nobody saw: the id makes its repeat harmless.
            identity = f"job-{len(promised)}"
            promised[identity] = await submit(asker, identity)

            async def all_over() -> bool:
                pages = await ask_all(alice)
                found = [e for page in pages for e in page.experiments]
                return all(e.status.finished for e in found)

            await eventually(all_over, within=60, every=0.3)
            found = [e for page in await ask_all(alice) for e in page.experiments]

    # Every promise was kept, once; and nobody ran what was not promised.
    assert sorted(e.experiment_id for e in found) == sorted(promised.values())
    assert {e.status for e in found} == {Status.COMPLETED}
    assert dict(node.started) == {(one, 1): 1 for one in promised.values()}
    assert set(node.ledger.values()) == {("finished", "completed")}
    queue = json.loads((tmp_path / "hub" / "queue.json").read_bytes())
    assert queue["experiments"] == {}
    with sqlite3.connect(tmp_path / "hub" / "archive" / "archive.sqlite") as archive:
        lines = archive.execute("SELECT text, count(*) FROM logs GROUP BY text").fetchall()
        samples = archive.execute("SELECT count(*) FROM samples").fetchone()[0]
    archive.close()
    assert sorted(lines) == sorted((f"line {n}", 1) for n in range(1, len(promised) + 1))
    assert samples == len(promised)
