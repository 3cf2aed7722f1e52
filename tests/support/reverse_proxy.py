"""The reverse proxies of the documentation, each run as it stands there, on ports of loopback.

What is changed in a block is what must differ on a machine of a test: the name, addresses, ports
and where the certificate lies.
"""

import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from websockets.asyncio.client import connect as connect_websocket

from broker.access.directory import AccessDirectory
from broker.access.register import Target
from broker.brokers import CA_CERTIFICATE, CERTIFICATE, KEY
from broker.children import Child
from broker.listening import free_port
from tests.documentation.pages import DOCS, blocks
from tests.support.waiting import eventually

NAME: Final = "bioreactor.lab"
"""By which people call the portal; only the test's clients know where that is."""
KINDS: Final = {"caddy": "Caddyfile", "nginx": "nginx.conf", "haproxy": "haproxy.cfg"}
_CERTIFICATE: Final = f"/etc/ssl/{NAME}.crt"
_KEY: Final = f"/etc/ssl/private/{NAME}.key"
_BOTH: Final = f"/etc/haproxy/{NAME}.pem"
_AROUND_CADDY: Final = """\
{{
    admin off
    auto_https disable_redirects
}}
{block}"""
_AROUND_NGINX: Final = """\
daemon off;
pid nginx.pid;
error_log stderr;
user root;
worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxied;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{block}
}}
"""


@dataclass
class ReverseProxy:
    """A running proxy; use `proxy_before`.

    Attributes:
        kind: One of `KINDS`.
        port: Where it listens, with TLS.
        said: Its output.
    """

    kind: str
    port: int
    said: list[str]
    _trust: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"

    def client(self, address: str = "127.0.0.2", **options: object) -> httpx.AsyncClient:
        """Return a client that knows where the name is.

        Args:
            address: Where it comes from; the proxy itself comes to the portal from 127.0.0.1.
        """
        return httpx.AsyncClient(
            base_url=self.url,
            timeout=20,
            transport=_ToLoopback(self._trust, address),
            **options,  # type: ignore[arg-type]
        )

    def websocket(
        self, cookies: Mapping[str, str], origin: str | None = None
    ) -> "connect_websocket":
        """Return what connects to `/ws` with a browser's cookies, from a page of the portal's."""
        return connect_websocket(
            self.url.replace("https", "wss") + "/ws",
            host="127.0.0.1",
            port=self.port,
            ssl=self._trust,
            origin=origin or self.url,  # type: ignore[arg-type]
            additional_headers={"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())},
        )


class _ToLoopback(httpx.AsyncHTTPTransport):
    """Goes to 127.0.0.1 whatever the name, with the name in TLS and in `Host`."""

    def __init__(self, trust: ssl.SSLContext, address: str) -> None:
        super().__init__(verify=trust, local_address=address)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        there = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": NAME},
        )
        return await super().handle_async_request(there)


@asynccontextmanager
async def proxy_before(
    kind: str, page: str, portals: Mapping[str, int], folder: Path
) -> AsyncIterator[ReverseProxy]:
    """Run the proxy that a page describes, with a certificate of a site's own authority.

    Args:
        kind: One of `KINDS`.
        page: Of the guides.
        portals: The ports of the portals, by their addresses in the page.
        folder: For its files.
    """
    port = free_port()
    command, authority = _write(kind, page, portals, folder, port)
    said: list[str] = []
    child = Child.start(
        command,
        cwd=folder,
        env={
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
        },
        on_line=said.append,
    )
    try:
        await eventually(lambda: child.returncode is not None or _answers(port), within=30)
        assert child.returncode is None, "\n".join(said)
        yield ReverseProxy(kind, port, said, ssl.create_default_context(cafile=authority))
    finally:
        await child.stop()


def _write(
    kind: str, page: str, portals: Mapping[str, int], folder: Path, port: int
) -> tuple[list[str], Path]:
    """Write the proxy's files; return how it is started, and the authority's certificate."""
    folder.mkdir()
    authority = _certificate(folder)
    name = KINDS[kind]
    (block,) = (b.code for b in blocks(DOCS / "guides" / page) if b.title == name)
    changes = {there: f"127.0.0.1:{here}" for there, here in portals.items()}
    certificate = {_CERTIFICATE: f"{folder}/{CERTIFICATE}", _KEY: f"{folder}/{KEY}"}
    match kind:
        case "caddy":
            command = ["caddy", "run", "--adapter", "caddyfile", "--config", name]
            changes |= certificate | {f"{NAME} {{": f"{NAME}:{port} {{\n    bind 127.0.0.1"}
            around = _AROUND_CADDY
        case "nginx":
            command = ["nginx", "-p", f"{folder}/", "-e", "stderr", "-c", name]
            changes |= certificate | {"listen 443 ssl": f"listen 127.0.0.1:{port} ssl"}
            around = _AROUND_NGINX
        case _:
            command = ["haproxy", "-db", "-f", name]
            changes |= {_BOTH: f"{folder}/both.pem", "bind :443": f"bind 127.0.0.1:{port}"}
            around = "{block}"
    (folder / name).write_text(around.format(block=_changed(block, changes)))
    return command, authority


def _certificate(folder: Path) -> Path:
    """Make what `bioreactor access certificates` makes; return the authority's certificate."""
    access = AccessDirectory(folder / "access")
    target = Target(
        kind="nats", url="mqtts://127.0.0.1:1", root="bioreactor", files=folder, pid_file=folder
    )
    access.describe(target)
    access.certify([NAME])
    (folder / "both.pem").write_text(
        (folder / CERTIFICATE).read_text() + (folder / KEY).read_text()
    )
    return folder / CA_CERTIFICATE


def _changed(block: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in block, f"{old!r} is not in\n{block}"
        block = block.replace(old, new)
    return block


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
