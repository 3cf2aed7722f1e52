"""What the servers of a cluster say to one another: encrypted, and to no stranger."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from broker.access.certificates import Authority
from broker.identity import write_private
from broker.messages import utc_now
from broker.settings import BrokerSettings
from tests.support.cluster import SERVERS, RunningCluster


async def test_no_stranger_is_taken_for_a_server(tmp_path: Path) -> None:
    async with RunningCluster.open(tmp_path / "cluster") as cluster:
        port = cluster.route_ports[SERVERS[0]]
        trust = tmp_path / "cluster" / "clients" / "alice" / "ca.crt"
        assert await answer(port, None) == "nothing", "in plain text"
        with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERT"):
            await answer(port, ssl.create_default_context(cafile=trust))
        foreign = Authority.create(tmp_path / "foreign", "elsewhere", utc_now())
        issued = foreign.server(["127.0.0.1"], utc_now(), 1, among_servers=True)
        write_private(tmp_path / "foreign.crt", issued.certificate)
        write_private(tmp_path / "foreign.key", issued.key)
        with pytest.raises(ssl.SSLError, match=r"UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE"):
            await answer(port, context(trust, tmp_path / "foreign.crt", tmp_path / "foreign.key"))
        # A client of the same authority gets in, and lacks the servers' password.
        alice = cluster.settings_for("alice")
        assert "Authorization Violation" in await answer(port, context_of(alice))


def context_of(settings: BrokerSettings) -> ssl.SSLContext:
    assert settings.ca_file is not None
    assert settings.cert_file is not None
    assert settings.key_file is not None
    return context(settings.ca_file, settings.cert_file, settings.key_file)


def context(trust: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=trust)
    made.load_cert_chain(certificate, key)
    return made


async def answer(port: int, tls: ssl.SSLContext | None) -> str:
    """Say as a server who it is; return what is answered.

    Raises:
        ssl.SSLError: The certificate is not believed.
    """
    who = {"user": "server", "pass": "guessed", "name": "n4", "verbose": False}
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        try:
            if not (await reader.readline()).startswith(b"INFO"):
                return "nothing"
            writer.write(f"CONNECT {json.dumps(who)}\r\nPING\r\n".encode())
            return (await reader.read()).decode(errors="replace")
        finally:
            writer.transport.abort()
