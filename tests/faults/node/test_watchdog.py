"""The node dies or hangs, and what it drove goes off all the same; nobody fights over the line."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from broker.children import Child
from broker.settings import BrokerSettings
from node_service.datadir import DataDir
from node_service.watchdog.account import Account, take
from tests.support.heater import Heater
from tests.support.node import BASE_IMAGE, write_config
from tests.support.waiting import eventually


@dataclass
class Heating:
    """A node that heats, with a watchdog."""

    directory: DataDir
    child: Child
    lines: list[str] = field(default_factory=list)

    @property
    def watchdog(self) -> int:
        return int(self.directory.watchdog_lock.read_text())

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@asynccontextmanager
async def heating(directory: Path, heater: Heater, how: str) -> AsyncIterator[Heating]:
    lines: list[str] = []
    module = "tests.faults.node.heating_main"
    child = Child.start(
        [sys.executable, "-m", module, str(directory), heater.port, how], on_line=lines.append
    )
    node = Heating(DataDir(directory), child, lines)
    try:
        await eventually(lambda: node.said("heating") or child.returncode is not None)
        assert child.returncode is None, lines
        yield node
    finally:
        sys.stdout.write("\n".join(lines))
        child.kill()
        if alive(node.watchdog):  # it would go on asking for the device that is not there
            os.kill(node.watchdog, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Say whether a watchdog has this id; a dead one has no command line."""
    try:
        return b"node_service.watchdog" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


@pytest.fixture
async def heater() -> AsyncIterator[Heater]:
    with Heater() as heater:
        yield heater


async def until_off(heater: Heater) -> None:
    await eventually(lambda: heater.duty == 0)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("killed", "The node's process is gone"),
        ("hang", "The node's event loop gives no sign of life; it was killed"),
        ("stuck", "The node's control loop gives no sign of life; it was killed"),
    ],
)
async def test_the_heater_goes_off_and_the_next_node_takes_over(
    tmp_path: Path, heater: Heater, how: str, why: str
) -> None:
    async with heating(tmp_path, heater, how) as node:
        assert heater.duty == 50
        if how == "killed":
            node.child.send_signal(signal.SIGKILL)
        await until_off(heater)
        assert await node.child.wait() == -signal.SIGKILL
        # Another device of this node cannot be reached, so its watchdog is at work still.
        first = node.watchdog
        assert alive(first)
        at = len(heater.history)
        async with heating(tmp_path, heater, "orderly") as again:
            assert not alive(first)
            assert again.said(why)
            assert again.said("port-not-there") or again.said("-not-there")
            await eventually(lambda: again.child.returncode == 0)
        assert [duty for _, duty in heater.history[at:]] == [50, 0]
        assert take(DataDir(tmp_path).rescue) is None  # dismissed: it had nothing to do


async def test_a_watchdog_that_dies_or_hangs_is_replaced(tmp_path: Path, heater: Heater) -> None:
    async with heating(tmp_path, heater, "killed") as node:
        for number in (signal.SIGKILL, signal.SIGSTOP):
            before, node.lines[:] = node.watchdog, []
            os.kill(before, number)
            await eventually(lambda: node.said("watched again"))
            assert not alive(before)
        assert heater.duty == 50
        node.child.send_signal(signal.SIGKILL)
        await until_off(heater)


async def test_a_device_that_does_not_answer_is_asked_until_it_does(
    tmp_path: Path, heater: Heater
) -> None:
    async with heating(tmp_path, heater, "killed") as node:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(node.watchdog, number)  # a service manager sends such to every process
        await asyncio.sleep(0.3)
        heater.deaf = True
        node.child.send_signal(signal.SIGKILL)
        rescue = node.directory.rescue
        await eventually(lambda: rescue.exists() and "does not answer" in rescue.read_text())
        assert heater.duty == 50
        heater.deaf = False
        await until_off(heater)
        await eventually(lambda: '"safe": {"heater"' in rescue.read_text())
        account = take(rescue)
        assert isinstance(account, Account)
        assert list(account.unsafe) == ["broken"]
        # A service manager that waits for it, to start the node again, is not kept waiting.
        assert alive(node.watchdog)
        os.kill(node.watchdog, signal.SIGTERM)
        await eventually(lambda: not alive(node.watchdog))


ABSENT = """
[devices.board]
driver = "board"
port = "{directory}/not-there"

[channels.temperature]
device = "board"
what = "temperature"

[channels.heater]
device = "board"
what = "heater"

[controllers.temperature-setpoint]
kind = "thermostat"
sensor = "temperature"
output = "heater"
trip = 45.0
reset = 43.0
"""


async def test_a_node_that_cannot_start_closes_in_peace_and_leaves_its_watchdog(
    tmp_path: Path,
) -> None:
    """Nobody knows what a device does that was never told; nor is the node's slow end a hang."""
    (tmp_path / "reactor.toml").write_text(ABSENT.format(directory=tmp_path))
    config, data = tmp_path / "node.toml", DataDir(tmp_path / "node")
    write_config(
        config,
        BrokerSettings(
            url="mqtt://127.0.0.1:1", username="reactor-1", password=SecretStr("nobody hears it")
        ),
        {},
        id="reactor-1",
        data_dir=str(tmp_path / "node"),
        base_image=BASE_IMAGE,
        reactor="configured",
        configuration=str(tmp_path / "reactor.toml"),
    )
    lines: list[str] = []
    child = Child.start(
        [sys.executable, "-m", "tests.faults.node.absent_main", str(config)], on_line=lines.append
    )
    try:
        async with asyncio.timeout(30):
            assert await child.wait() == 0, lines
        assert "the runner has ended" in lines
        assert any(line.startswith("refused: ") for line in lines), lines
        await eventually(lambda: data.rescue.exists() and "not-there" in data.rescue.read_text())
        assert "The node's process is gone" in data.rescue.read_text()
    finally:
        sys.stdout.write("\n".join(lines))
        child.kill()
        watchdog = int(data.watchdog_lock.read_text())
        if alive(watchdog):
            os.kill(watchdog, signal.SIGKILL)
