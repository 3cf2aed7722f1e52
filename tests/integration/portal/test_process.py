"""The portal as a process of its own: starts, serves, stays small, says goodbye."""

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from broker.access.certificates import Authority
from broker.connection import Message
from broker.embedded import EmbeddedBroker
from broker.identity import write_private
from broker.listening import free_port
from broker.messages import ServiceStatus, decode
from broker.topics import Topic
from tests.support.brokers import Connector
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import SESSION, eventually


@asynccontextmanager
async def process(
    broker: EmbeddedBroker, data: Path, port: int, more: str = "", principal: str = "portal"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m portal` with a configuration file."""
    there = broker.settings_for(principal)
    assert there.password is not None
    config = data / "portal.toml"
    config.write_text(
        f'[broker]\nurl = "{there.url}"\nusername = "{principal}"\n'
        f'password = "{there.password.get_secret_value()}"\n'
        f'[portal]\nid = "{principal}"\nport = {port}\ndata_dir = "{data}/portal"\n'
        f"reads_per_second = 10000\n{more}"
    )
    config.chmod(0o600)
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "portal", "--config", str(config), cwd=Path.cwd()
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


@pytest.mark.parametrize("broker_kind", ["mosquitto", "nats"])
async def test_life_of_a_portal(
    broker: EmbeddedBroker,
    connect: Connector,
    hub: FakeHub,
    node: FakeNode,
    tmp_path: Path,
) -> None:
    said: list[str] = []
    admin = await connect("admin")

    async def hear(message: Message) -> None:
        state = decode(ServiceStatus, message.payload).state
        if said[-1:] != [state]:  # it is said once more now and again
            said.append(state)

    admin.subscribe(admin.topics.build(Topic.PORTAL_STATUS, portal="portal"), hear)
    await node.report(1)
    port = free_port()
    async with (
        process(broker, tmp_path, port) as running,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=SESSION, timeout=30
        ) as client,
    ):
        await eventually(lambda: _status(client), lambda status: status == 200, 60)
        for _ in range(10):
            await client.post("/api/experiments/start", json={"script_content": "1"})
        for path in ("/", "/queue", "/nodes/reactor-1", "/my-experiments") * 20:
            page = await client.get(path, headers={"Accept": "text/html"})
            assert page.status_code == 200
        await client.get("/docs", headers={"Accept": "text/html"})
        resident = _resident(running.pid)
        assert resident <= 80 * 1024 * 1024
        assert said == ["online"]
        running.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await running.wait() == 0
        await eventually(_seen(said), lambda states: states == ["online", "offline"])


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_it_serves_https_with_a_certificate_of_its_own(
    broker: EmbeddedBroker, hub: FakeHub, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    issued = Authority.create(tmp_path / "ca", "test", now).server(["localhost"], now, 1)
    write_private(tmp_path / "portal.crt", issued.certificate)
    write_private(tmp_path / "portal.key", issued.key)
    port = free_port()
    more = 'certificate = "portal.crt"\nkey = "portal.key"\n'
    trust = ssl.create_default_context(cafile=tmp_path / "ca" / "ca.crt")
    async with (
        process(broker, tmp_path, port, more),
        httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trust, timeout=30) as client,
    ):
        await eventually(lambda: _status(client), lambda status: status == 200, 60)
        page = await client.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert "; Secure" in page.headers["set-cookie"]


@pytest.mark.parametrize(
    ("broker_kind", "principal", "why"),
    [
        ("mosquitto", "alice", "does not let alice speak"),
        ("nats", "alice", "refuses the subscription"),
        ("nats", "portal", "wrong password"),
    ],
)
async def test_wrong_credentials_are_told_in_one_sentence(
    broker: EmbeddedBroker, tmp_path: Path, principal: str, why: str
) -> None:
    there = broker.settings_for("alice")
    assert there.password is not None
    config = tmp_path / "portal.toml"
    config.write_text(
        f'[broker]\nurl = "{there.url}"\nusername = "{principal}"\n'
        'password_file = "password"\n'
        f'[portal]\nport = 0\ndata_dir = "{tmp_path}/portal"\n'
    )
    (tmp_path / "password").write_text(there.password.get_secret_value())
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "portal", "--config", str(config)),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            _, said = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    *_, told = said.decode().splitlines()
    assert running.returncode == 78
    assert why in told
    assert "Traceback" not in said.decode()
    assert there.password.get_secret_value() not in said.decode()


async def test_wrong_settings_are_told_in_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "portal.toml"
    config.write_text('[portal]\nadmim = "login"\n')
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "portal",
        "--config",
        str(config),
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await running.communicate()
    assert running.returncode == 78  # EX_CONFIG: no new start would help
    assert "did you mean admin?" in told.decode()
    assert "Traceback" not in told.decode()


async def _status(client: httpx.AsyncClient) -> int:
    try:
        return (await client.get("/health/ready")).status_code
    except httpx.TransportError:
        return 0


def _seen(said: list[str]) -> Callable[[], Awaitable[list[str]]]:
    async def look() -> list[str]:
        return said

    return look


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
