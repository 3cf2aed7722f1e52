"""What systemd is told, on a real datagram socket."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.systemd import Systemd


class Manager:
    """The other end of the socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    async def read(self) -> list[str]:
        async with asyncio.timeout(5):
            datagram = await asyncio.get_running_loop().sock_recv(self._socket, 4096)
        return datagram.decode().split("\n")

    def waiting(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "n.sock")


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    manager = Manager(address)
    yield manager
    manager.close()


async def test_it_is_told_ready_alive_and_stopping(manager: Manager, address: str) -> None:
    service = Systemd.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000"})
    async with service.told():
        assert await manager.read() == ["READY=1"]
        for _ in range(3):
            assert await manager.read() == ["WATCHDOG=1"]
    rest = manager.waiting()
    assert rest[-1] == "STOPPING=1\nSTATUS=stopping"
    assert manager.waiting() == []


async def test_the_watchdog_is_not_fed_while_something_hangs(
    manager: Manager, address: str
) -> None:
    service = Systemd(address, 0.03)
    stuck: list[str | None] = [None, None, "the store\nhangs", "the store\nhangs", None]
    watching = asyncio.create_task(service.watch(lambda: stuck.pop(0) if len(stuck) > 1 else None))
    told = [(await manager.read())[0] for _ in range(4)]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert told == ["WATCHDOG=1", "WATCHDOG=1", "STATUS=the store hangs", "WATCHDOG=1"]


async def test_status_is_told_when_it_changes_and_more_time_is_asked_for(
    manager: Manager, address: str
) -> None:
    service = Systemd(address)
    service.status("one")
    service.status("one")
    service.status("two")
    service.starting(30)
    assert manager.waiting() == ["STATUS=one", "STATUS=two", "EXTEND_TIMEOUT_USEC=30000000"]
    await service.watch(lambda: None)  # returns: nobody asked for a watchdog


def test_an_abstract_socket() -> None:
    name = f"bioreactor-test-{os.getpid()}"
    manager = Manager("\0" + name)
    Systemd("@" + name).ready()
    assert manager.waiting() == ["READY=1"]
    manager.close()


def test_without_systemd_nothing_is_said(tmp_path: Path) -> None:
    quiet = Systemd.of({})
    assert not quiet.there
    quiet.ready()
    Systemd(str(tmp_path / "gone")).stopping()  # a manager that is gone stops nobody


async def test_the_watchdog_of_another_process_is_not_ours(manager: Manager, address: str) -> None:
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    await Systemd.of(environment).watch(lambda: None)
    assert manager.waiting() == []
