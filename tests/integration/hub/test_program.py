"""The hub as a program: what it says when it cannot start, and how it ends."""

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from broker.children import Child
from broker.connection import Connection
from broker.embedded import EmbeddedBroker, find_mosquitto
from broker.identity import write_private
from broker.listening import free_port
from broker.messages import HubMetrics, HubStatus, decode
from broker.settings import BrokerSettings
from broker.topics import Topic
from tests.support.brokers import Connector
from tests.support.inbox import Inbox
from tests.support.waiting import eventually

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
        async with asyncio.timeout(60):
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


async def test_a_principal_of_another_role_is_told_so(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """NATS refuses the subscription; Mosquitto grants it, and the hub does not hear itself."""
    told = await refusal(tmp_path, configuration(broker, tmp_path, "alice"))
    why = {"nats": "the broker refuses", "mosquitto": "does not let alice speak"}
    assert why[broker.kind] in told
    assert "bioreactor access list" in told or "user name" in told


async def test_a_wrong_password_is_told_in_one_sentence(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    text = configuration(broker, tmp_path)
    told = await refusal(tmp_path, text.replace('password = "', 'password = "0'))
    assert "the broker refuses hub: wrong password" in told
    assert "rotate" in told


async def test_a_broker_without_access_lists_is_not_served(tmp_path: Path) -> None:
    port = free_port()
    await asyncio.to_thread(
        (tmp_path / "open.conf").write_text,
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n",
    )
    child = Child.start(
        [find_mosquitto() or "mosquitto", "-c", str(tmp_path / "open.conf")],
        on_line=lambda _: None,
    )
    broker = f'[broker]\nurl = "mqtt://127.0.0.1:{port}"\n'
    hub = f'[hub]\ndata_dir = "{tmp_path / "hub"}"\n'
    try:
        told = await refusal(tmp_path, broker + hub)
        assert "has no access lists, so anybody may speak as anybody" in told
        assert "bioreactor access" in told

        trusting = start(tmp_path, broker + "without_access_lists = true\n" + hub)
        statuses = Inbox()
        settings = BrokerSettings(url=f"mqtt://127.0.0.1:{port}")
        async with Connection(settings, client_id="eyes") as eyes:
            eyes.subscribe("bioreactor/hub/status", statuses)
            async with asyncio.timeout(30):
                while _said(statuses) != "online":  # noqa: ASYNC110  another's last word is kept
                    await asyncio.sleep(0.05)
        assert await trusting.stop() == 0
    finally:
        await child.stop()


async def test_it_ends_cleanly_when_told_to(
    broker: EmbeddedBroker, connect: Connector, tmp_path: Path
) -> None:
    portal, statuses = await connect("portal"), Inbox()
    portal.subscribe(portal.topics.build(Topic.HUB_STATUS), statuses)
    child = start(tmp_path, configuration(broker, tmp_path))
    try:
        await statuses.wait_until(lambda: _said(statuses) == "online", within=60)
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await child.wait() == 0
        await statuses.wait_until(lambda: _said(statuses) == "offline")
    finally:
        await child.stop()


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_service_manager_health_and_figures(
    broker: EmbeddedBroker, connect: Connector, tmp_path: Path
) -> None:
    figures, portal = Inbox(), await connect("portal")
    portal.subscribe(portal.topics.build(Topic.HUB_METRICS), figures)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    said: list[str] = []

    def hear() -> None:
        said.extend(manager.recv(4096).decode().split("\n"))

    async def until(line: str) -> None:
        await eventually(lambda: line in said, within=60)

    async def health(*arguments: str) -> tuple[int, str]:
        asking = Child.start(
            [sys.executable, "-m", "hub_service", "health", *arguments, "--config", config],
            cwd=ROOT,
            on_line=lambda _: None,
        )
        code = await asking.wait()
        await asking.stop()
        return code, asking.last_lines[-1]

    config = str(tmp_path / "hub.toml")
    text = configuration(broker, tmp_path) + 'log_format = "json"\n'
    lines: list[str] = []
    write_private(tmp_path / "hub.toml", text)
    with closing(manager):
        # Whatever comes is taken at once: ten that wait are all that the socket keeps.
        asyncio.get_running_loop().add_reader(manager, hear)
        child = Child.start(
            [sys.executable, "-m", "hub_service", "--config", config],
            cwd=ROOT,
            env={**os.environ, **environment},
            on_line=lines.append,
        )
        try:
            await until("READY=1")
            await until("WATCHDOG=1")
            code, sentence = await health()
            assert code == 0
            assert sentence == "serving: 0 on a reactor, 0 waiting, 0 of 0 reactors online"
            await figures.wait_for(1, within=40)  # they are told each ten seconds
            text = decode(HubMetrics, figures.payloads[-1]).text
            assert "bioreactor_hub_experiments" in text
            os.kill(broker.pid, signal.SIGSTOP)  # a broker that hangs keeps no hub from ending
            try:
                child.send_signal(signal.SIGTERM)
                await until("STOPPING=1")
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            async with asyncio.timeout(60):
                assert await child.wait() == 0
        finally:
            await child.stop()
            asyncio.get_running_loop().remove_reader(manager)
    code, sentence = await health("--alive")
    assert code == 1
    assert "does not run" in sentence
    assert all(json.loads(line)["logger"] for line in lines)


def _said(statuses: Inbox) -> str | None:
    return decode(HubStatus, statuses.payloads[-1]).state if statuses.payloads else None
