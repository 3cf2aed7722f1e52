"""The hub as a program: what it says when it cannot start, and how it ends."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from broker.children import Child
from broker.embedded import EmbeddedBroker
from broker.identity import write_private
from broker.messages import HubStatus, decode
from broker.topics import Topic
from tests.support.brokers import Connector
from tests.support.inbox import Inbox

ROOT = Path(__file__).resolve().parents[3]
REFUSED = 78


def configuration(broker: EmbeddedBroker, path: Path, principal: str = "hub") -> str:
    settings = broker.settings_for(principal)
    assert settings.password is not None
    return (
        f'[broker]\nurl = "{settings.url}"\nusername = "{principal}"\n'
        f'password = "{settings.password.get_secret_value()}"\n'
        f'[hub]\ndata_dir = "{path / "hub"}"\n'
    )


def start(path: Path, text: str) -> Child:
    write_private(path / "hub.toml", text)
    command = [sys.executable, "-m", "hub_service", "--config", str(path / "hub.toml")]
    return Child.start(command, cwd=ROOT, on_line=lambda _: None)


async def refusal(path: Path, text: str) -> str:
    """Run the hub until it refuses; return what it said last."""
    child = start(path, text)
    try:
        async with asyncio.timeout(20):
            assert await child.wait() == REFUSED
        return child.last_lines[-1]
    finally:
        await child.stop()


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_it_says_in_one_sentence_why_it_does_not_start(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    good = configuration(broker, tmp_path)
    told = await refusal(tmp_path, good.replace("data_dir", "data_dri"))
    assert "did you mean data_dir?" in told

    data = tmp_path / "hub"
    await asyncio.to_thread(data.mkdir)
    await asyncio.to_thread((data / "queue.json").write_bytes, b'{"about": ')
    told = await refusal(tmp_path, good)
    assert str(data / "queue.json") in told
    assert "torn" in told


@pytest.mark.parametrize("broker_kind", ["nats"])
async def test_a_principal_that_may_not_read_what_hubs_read(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """Mosquitto grants such a subscription and delivers nothing, so only NATS can say it."""
    told = await refusal(tmp_path, configuration(broker, tmp_path, "alice"))
    assert "refuses" in told


async def test_it_ends_cleanly_when_told_to(
    broker: EmbeddedBroker, connect: Connector, tmp_path: Path
) -> None:
    portal, statuses = await connect("portal"), Inbox()
    portal.subscribe(portal.topics.build(Topic.HUB_STATUS), statuses)
    child = start(tmp_path, configuration(broker, tmp_path))
    try:
        await statuses.wait_until(lambda: _said(statuses) == "online", within=20)
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await child.wait() == 0
        await statuses.wait_until(lambda: _said(statuses) == "offline")
    finally:
        await child.stop()


def _said(statuses: Inbox) -> str | None:
    return decode(HubStatus, statuses.payloads[-1]).state if statuses.payloads else None
