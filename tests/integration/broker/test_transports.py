"""TLS and unix sockets, against brokers configured by hand: the embedded one does without."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.children import Child
from broker.connection import Connection, NotReachedError
from broker.embedded import Kind, find_mosquitto, find_nats
from broker.listening import free_port, listeners
from broker.messages import MAX_PAYLOAD_BYTES
from broker.settings import BrokerSettings
from tests.support.inbox import Inbox


@dataclass
class Secured:
    """Where the listeners of a broker are and whom to trust."""

    urls: dict[str, str]
    directory: Path

    def settings(self, kind: str, *, trusted: bool = True) -> BrokerSettings:
        ca = self.directory / "cert.pem" if trusted and kind != "unix" else None
        return BrokerSettings(url=self.urls[kind], ca_file=ca)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    key, cert = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    return directory


@pytest.fixture
async def secured(broker_kind: Kind, certificate: Path, tmp_path: Path) -> AsyncIterator[Secured]:
    tls, wss = free_port(), free_port()
    urls = {"mqtts": f"mqtts://localhost:{tls}", "wss": f"wss://localhost:{wss}/mqtt"}
    key, cert = str(certificate / "key.pem"), str(certificate / "cert.pem")
    if broker_kind == "mosquitto":
        urls["unix"] = f"unix://{tmp_path}/mqtt.sock"
        secure = f"socket_domain ipv4\ncertfile {cert}\nkeyfile {key}\n"
        text = (
            "user root\nallow_anonymous true\nset_tcp_nodelay true\n"
            f"listener 0 {tmp_path}/mqtt.sock\n"
            f"listener {tls} 127.0.0.1\n{secure}"
            f"listener {wss} 127.0.0.1\nprotocol websockets\n{secure}"
        )
        command = [find_mosquitto() or "mosquitto", "-c"]
    else:
        secure_by = {"cert_file": cert, "key_file": key}
        text = json.dumps(
            {
                "server_name": "tls",
                "host": "127.0.0.1",
                "port": -1,
                "jetstream": {"store_dir": str(tmp_path / "store")},
                "mqtt": {"host": "127.0.0.1", "port": tls, "tls": secure_by},
                "websocket": {"host": "127.0.0.1", "port": wss, "tls": secure_by},
            }
        )
        command = [find_nats() or "nats-server", "-c"]
    conf = tmp_path / "broker.conf"
    conf.write_text(text)
    child = Child.start([*command, str(conf)], on_line=lambda _: None)
    try:
        async with asyncio.timeout(10):
            while {port for _, port in listeners(tls, wss)} != {tls, wss}:
                assert child.returncode is None, list(child.last_lines)
                await asyncio.sleep(0.02)
        yield Secured(urls, certificate)
    finally:
        await child.stop()


async def test_messages_of_any_size_pass(secured: Secured) -> None:
    sent = [os.urandom(size) for size in (0, 1, 16_383, 16_384, 16_385, MAX_PAYLOAD_BYTES, 5)]
    for transport in secured.urls:
        inbox = Inbox()
        async with Connection(secured.settings(transport), client_id="one") as connection:
            connection.subscribe("some/topic", inbox)
            await connection.wait_connected(10)
            await asyncio.gather(*(connection.publish("some/topic", payload) for payload in sent))
            await inbox.wait_for(len(sent))
        assert inbox.payloads == sent, transport


@pytest.mark.parametrize("transport", ["mqtts", "wss"])
async def test_a_certificate_that_nobody_vouches_for_is_refused(
    secured: Secured, transport: str
) -> None:
    settings = secured.settings(transport, trusted=False)
    async with Connection(settings, client_id="one") as connection:
        with pytest.raises(NotReachedError, match="from no authority"):
            await connection.wait_connected(1)


@pytest.mark.parametrize("broker_kind", ["mosquitto"], indirect=True)
async def test_what_speaks_no_websocket_is_told(secured: Secured) -> None:
    for wrong in ("mqtts", "unix"):
        url = secured.urls["mqtts"].replace("mqtts", "ws" if wrong == "unix" else "wss")
        settings = BrokerSettings(url=url, ca_file=secured.directory / "cert.pem")
        async with Connection(settings, client_id="one") as connection:
            with pytest.raises(NotReachedError, match=r"the broker|reset|no answer"):
                await connection.wait_connected(1)
