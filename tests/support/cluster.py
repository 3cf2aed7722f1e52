"""Three NATS servers as one broker, on free ports of loopback; each can be killed and started.

As the guide has it, all that they and their clients say to one another is encrypted.
"""

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import SecretStr

from broker.access import Principal, hashed
from broker.access.certificates import Authority
from broker.access.clients import certified, write_secrets
from broker.brokers import (
    CA_CERTIFICATE,
    CERTIFICATE,
    KEY,
    Cluster,
    Ports,
    nats_access,
    nats_files,
)
from broker.children import Child
from broker.connection import Connection
from broker.embedded import find_nats
from broker.identity import write_private
from broker.listening import free_port
from broker.messages import utc_now
from broker.settings import BrokerSettings
from broker.topics import Topics
from tests.support.brokers import ROLES

SERVERS: Final = ("n1", "n2", "n3")


_ONE_SITE: Final = (("bioreactor", ROLES),)


class RunningCluster:
    """Use `RunningCluster.open`.

    Attributes:
        kind: As an `EmbeddedBroker` has it.
        said: Lines that the servers printed.
        route_ports: Where each listens for the others.
    """

    kind: Final = "nats"

    def __init__(self, path: Path, sites: Sequence[tuple[str, Sequence[Principal]]]) -> None:
        self.said: list[str] = []
        self._path = path
        self._root = sites[0][0]
        self._probe = sites[0][1][0].name
        self._ports = {name: free_port() for name in SERVERS}
        routes = {name: free_port() for name in SERVERS}
        self.route_ports = routes
        self._passwords = {p.name: secrets.token_hex(16) for _, roles in sites for p in roles}
        self._children: dict[str, Child] = {}
        self._authority = Authority.create(path / "authority", self._root, utc_now())
        for name in self._passwords:
            write_secrets(
                path / "clients" / name,
                password=None,
                issued=self._authority.client(name, utc_now(), 1),
                ca=self._authority.certificate,
            )
        issued = self._authority.server(["127.0.0.1"], utc_now(), 1, among_servers=True)
        hashes = hashed(self._passwords)
        among = secrets.token_hex(16)
        for name in SERVERS:
            cluster = Cluster(
                server=name,
                host="127.0.0.1",
                port=routes[name],
                others=[f"127.0.0.1:{port}" for other, port in routes.items() if other != name],
                password=among,
            )
            home = path / name
            home.mkdir(parents=True)
            ports = Ports(self._ports[name], encrypted=True)
            files = dict(nats_files((), {}, Topics(self._root), ports, cluster))
            files |= {CA_CERTIFICATE: self._authority.certificate}
            files |= {CERTIFICATE: issued.certificate, KEY: issued.key}
            files["authorization.conf"] = nats_access(
                [(roles, Topics(root)) for root, roles in sites], hashes
            )
            for file, text in files.items():
                write_private(home / file, text)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, *, sites: Sequence[tuple[str, Sequence[Principal]]] = _ONE_SITE
    ) -> AsyncIterator[Self]:
        """Start all three; they serve when this returns, and end with the block.

        Args:
            sites: Roots, and who is there; the first one's hub is whom a server is tried with.
        """
        cluster = cls(path, sites)
        try:
            for name in SERVERS:
                cluster.start(name)
            await cluster.until_all_serve()
            yield cluster
        finally:
            for name in list(cluster._children):
                await cluster.kill(name)

    def settings_for(
        self,
        principal: str,
        transport: Literal["tcp", "websockets"] = "tcp",
        *,
        only: str | None = None,
        root: str | None = None,
    ) -> BrokerSettings:
        """Return how the principal connects to whichever server, or to one alone."""
        assert transport == "tcp"
        names = SERVERS if only is None else (only,)
        url = ",".join(f"mqtts://127.0.0.1:{self._ports[name]}" for name in names)
        return BrokerSettings(
            url=url,
            username=principal,
            password=SecretStr(self._passwords[principal]),
            root=root or self._root,
            **certified(self._path / "clients" / principal, url),
        )

    @property
    def running(self) -> list[str]:
        """The servers that were started and not killed."""
        return sorted(self._children)

    def start(self, name: str) -> None:
        program = find_nats()
        assert program is not None
        self._children[name] = Child.start(
            [program, "-c", "nats.conf"],
            cwd=self._path / name,
            on_line=lambda line: self.said.append(f"{name}: {line}"),
        )

    async def kill(self, name: str) -> None:
        """Kill a server as a power cut would."""
        child = self._children.pop(name)
        child.send_signal(signal.SIGKILL)
        await child.wait()

    async def until_all_serve(self) -> None:
        """Wait until each server takes part: it serves a client of its own."""
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    Connection(self.settings_for(self._probe, only=n), client_id=f"probe-{n}")
                )
                for n in self._children
            ]
            await asyncio.gather(*(client.wait_connected(60) for client in clients))
