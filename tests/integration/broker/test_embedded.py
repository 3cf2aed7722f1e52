import asyncio
import logging
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from broker.children import Child
from broker.connection import AccessRefusedError, Connection, NotReachedError
from broker.embedded import EmbeddedBroker, Kind
from broker.listening import listeners
from broker.messages import ContractError, ErrorCode
from tests.support.brokers import ROLES
from tests.support.waiting import eventually


async def connected(broker: EmbeddedBroker, principal: str = "hub") -> None:
    async with Connection(broker.settings_for(principal), client_id="probe") as connection:
        await connection.wait_connected(10)


async def test_it_listens_on_loopback_alone(broker: EmbeddedBroker) -> None:
    assert broker.websocket_port is not None
    listening = await asyncio.to_thread(listeners_of, broker.pid)

    assert {broker.port, broker.websocket_port} <= listening.keys()
    for port, addresses in listening.items():
        assert addresses == {"127.0.0.1"}, f"port {port} is open to others"


async def test_nobody_connects_without_a_password(broker: EmbeddedBroker) -> None:
    settings = broker.settings_for("hub")
    for update in ({"username": None, "password": None}, {"username": "portal"}):
        stranger = settings.model_copy(update=update)
        async with Connection(stranger, client_id="stranger") as connection:
            with pytest.raises(NotReachedError):
                await connection.wait_connected(0.7)


async def test_it_says_whom_it_refuses(
    broker: EmbeddedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "broker.embedded")
    wrong = broker.settings_for("hub").model_copy(update={"password": SecretStr("guessed" * 5)})
    with pytest.raises(AccessRefusedError):
        async with Connection(wrong, client_id="id-of-hub", stop_if_refused=True) as connection:
            await connection.wait_connected(10)
    words = {"mosquitto": "not authorised", "nats": 'authentication error - User "hub"'}
    await eventually(lambda: words[broker.kind] in caplog.text)
    if broker.kind == "nats":  # the other one drops what is forbidden without a word
        async with Connection(broker.settings_for("bob"), client_id="id-of-bob") as bob:
            await bob.wait_connected(10)
            await bob.publish("bioreactor/queue", b"forbidden")
        await eventually(lambda: 'Publish Violation - Subject "bioreactor.queue"' in caplog.text)
    for secret in ("guessed", "id-of"):
        assert secret not in caplog.text


async def test_passwords_stay_and_nobody_else_can_read_them(
    broker_kind: Kind, tmp_path: Path
) -> None:
    before = None
    for _ in range(2):
        async with EmbeddedBroker(tmp_path, roles=ROLES, kind=broker_kind) as broker:
            now = broker.settings_for("reactor-1").password
            await connected(broker, "reactor-1")
        assert before in {None, now}
        before = now
    assert before is not None
    secret = before.get_secret_value()
    assert len(secret) == 64
    check_secrecy(secret, tmp_path)


def check_secrecy(secret: str, directory: Path) -> None:
    """Files that hold the secret are closed to others; no process has it in its arguments."""
    holding = [p for p in directory.rglob("*") if p.is_file() and secret in readable_text(p)]
    assert holding
    assert {stat.S_IMODE(path.stat().st_mode) for path in holding} == {0o600}
    commands = [readable_text(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert not any(secret in command for command in commands)


async def test_a_killed_broker_comes_back_each_time(broker: EmbeddedBroker) -> None:
    first = broker.pid
    async with Connection(broker.settings_for("hub"), client_id="hub") as hub:
        await hub.wait_connected(10)
        for _ in range(2):
            lost = asyncio.Event()
            hub.on_disconnect(lost.set)
            os.kill(broker.pid, signal.SIGKILL)
            async with asyncio.timeout(20):
                await lost.wait()
                await hub.wait_connected()
    assert broker.pid != first


async def test_a_second_broker_on_the_same_directory_is_refused(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with pytest.raises(ContractError, match="another broker already runs"):
        async with EmbeddedBroker(tmp_path / "broker", roles=ROLES, kind=broker.kind):
            pass


async def test_a_taken_port_is_refused_and_said(broker: EmbeddedBroker, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=f"port {broker.port} is taken") as caught:
        async with EmbeddedBroker(
            tmp_path / "other", roles=ROLES, kind=broker.kind, port=broker.port
        ):
            pass
    assert caught.value.error.code is ErrorCode.UNAVAILABLE


async def test_a_broker_that_cannot_start_says_why(tmp_path: Path, broker_kind: Kind) -> None:
    broker = EmbeddedBroker(tmp_path, roles=ROLES, kind=broker_kind, websocket_port=None)
    home = tmp_path / broker_kind
    home.mkdir()
    (home / ("mosquitto.db" if broker_kind == "mosquitto" else "store")).write_text("damaged")

    with pytest.raises(ContractError, match="did not start") as caught:
        async with broker:
            pass

    assert caught.value.error.details["output"]


PARENT = """
import asyncio, sys
from pathlib import Path
from broker.embedded import EmbeddedBroker
from tests.support.brokers import ROLES
from tests.support.waiting import eventually

async def main():
    async with EmbeddedBroker(Path(sys.argv[2]), roles=ROLES, kind=sys.argv[1]) as broker:
        print(broker.pid, broker.port, broker.websocket_port, flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


async def test_it_dies_with_its_parent_even_if_that_is_killed(
    broker_kind: Kind, tmp_path: Path
) -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    parent = Child.start(
        [sys.executable, "-c", PARENT, broker_kind, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        on_line=lines.put_nowait,
    )
    try:
        async with asyncio.timeout(20):
            pid, port, websocket_port = map(int, (await lines.get()).split())
        watch = os.pidfd_open(pid)

        parent.send_signal(signal.SIGKILL)
        assert await parent.wait() == -signal.SIGKILL

        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(watch, ended.set)
        try:
            async with asyncio.timeout(5):
                await ended.wait()
        finally:
            asyncio.get_running_loop().remove_reader(watch)
            os.close(watch)
        assert listeners(port, websocket_port) == []
    finally:
        parent.kill()


def readable_text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:  # a process that has ended
        return ""


def listeners_of(pid: int) -> dict[int, set[str]]:
    """Return the ports that a process listens on and their addresses, as `ss` tells."""
    text = subprocess.run(["ss", "-Hltnp"], check=True, capture_output=True, text=True).stdout
    found: dict[int, set[str]] = {}
    for line in text.splitlines():
        if f"pid={pid}," in line:
            address, _, port = line.split()[3].rpartition(":")
            found.setdefault(int(port), set()).add(address)
    return found
