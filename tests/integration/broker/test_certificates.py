"""Certificates at real brokers: which are believed, and what is said of those that are not."""

import asyncio
import socket
import ssl
import stat
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from websockets.client import ClientProtocol
from websockets.http11 import Request

from broker.access.certificates import Authority, Issued
from broker.access.reloading import reload
from broker.access.telling import Told, tell
from broker.brokers import CERTIFICATE, KEY
from broker.connection import AccessRefusedError, Connection
from broker.embedded import EmbeddedBroker, Kind
from broker.identity import write_private
from broker.messages import utc_now
from broker.refusals import explain
from broker.settings import BrokerSettings
from broker.streams import open_stream
from tests.support.brokers import ROLES
from tests.support.inbox import Inbox

Transport = Literal["tcp", "websockets"]
TRANSPORTS: tuple[Transport, ...] = ("tcp", "websockets")
DAY = timedelta(days=1)


@pytest.fixture
async def encrypted(broker_kind: Kind, tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker", roles=ROLES, kind=broker_kind, encrypted=True)
    async with broker:
        yield broker


def authority(broker: EmbeddedBroker) -> Authority:
    return Authority.open(broker.access.path / "authority")


async def refusal(settings: BrokerSettings) -> str:
    """Connect; return why that was refused and what to do, nothing if it was not."""
    try:
        async with Connection(settings, client_id="one", stop_if_refused=True) as connection:
            await connection.wait_connected(10)
    except AccessRefusedError as refused:
        return f"{refused}; {refused.error.hint}"
    return ""


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_messages_pass_between_those_who_have_certificates(
    encrypted: EmbeddedBroker, transport: Transport
) -> None:
    settings = encrypted.settings_for("alice", transport)
    assert settings.url.startswith("wss:" if transport == "websockets" else "mqtts:")
    inbox = Inbox()
    hub = Connection(encrypted.settings_for("hub", transport), client_id="hub")
    async with hub, Connection(settings, client_id="alice") as alice:
        hub.subscribe("bioreactor/hub/request/+/+", inbox)
        await hub.wait_connected(10)
        await alice.wait_connected(10)
        await alice.publish("bioreactor/hub/request/bob/list", b"as another")
        await alice.publish("bioreactor/hub/request/alice/list", b"x" * 100_000)
        await inbox.wait_for(1)
    assert inbox.payloads == [b"x" * 100_000]

    keys = list(encrypted.access.path.parent.rglob("*.key"))
    assert len(keys) == len(ROLES) + 2  # and those of authority and broker
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


@dataclass(frozen=True)
class Bad:
    """A client's certificate that must not do, and what its owner is told on each broker."""

    make: Callable[[Authority, Path], Issued | None]
    told: dict[Kind, str]


def foreign(_: Authority, path: Path) -> Issued:
    return Authority.create(path / "foreign", "elsewhere", utc_now()).client("alice", utc_now(), 1)


BAD = {
    "expired": Bad(
        lambda ca, _: ca.client("alice", utc_now() - 3 * DAY, 1),
        {"mosquitto": "certificate has expired", "nats": "certificate has expired"},
    ),
    "not yet valid": Bad(
        lambda ca, _: ca.client("alice", utc_now() + DAY, 1),
        {"mosquitto": "our certificate", "nats": "our certificate"},
    ),
    "foreign": Bad(foreign, {"mosquitto": "not from its authority", "nats": "our certificate"}),
    "none": Bad(
        lambda *_: None,
        {"mosquitto": "it wants a certificate", "nats": "it wants a certificate"},
    ),
    "of a server": Bad(
        lambda ca, _: ca.server(["alice"], utc_now(), 1),
        {"mosquitto": "our certificate", "nats": "our certificate"},
    ),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_certificate_is_refused_in_one_sentence(
    encrypted: EmbeddedBroker, tmp_path: Path, kind: str
) -> None:
    issued = BAD[kind].make(authority(encrypted), tmp_path)
    for transport in TRANSPORTS:
        settings = encrypted.settings_for("alice", transport)
        if issued is None:
            settings = settings.model_copy(update={"cert_file": None, "key_file": None})
        else:
            assert settings.cert_file is not None
            assert settings.key_file is not None
            write_private(settings.cert_file, issued.certificate)
            write_private(settings.key_file, issued.key)
        told = await refusal(settings)
        assert BAD[kind].told[encrypted.kind] in told
        assert "bioreactor access" in told, "it says what to do"


async def test_a_refusal_that_came_before_the_upgrade_was_sent_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TLS 1.3 our side of the handshake is done before the broker looks at us."""
    ours = Authority.create(tmp_path / "ours", "here", utc_now())
    theirs, stranger = ours.server(["127.0.0.1"], utc_now(), 1), foreign(ours, tmp_path)
    for name, issued in (("server", theirs), ("client", stranger)):
        write_private(tmp_path / f"{name}.crt", issued.certificate)
        write_private(tmp_path / f"{name}.key", issued.key)
    context = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ours" / "ca.crt"
    )
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    hung_up = threading.Event()

    def refuse(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client, pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(client, server_side=True)
        hung_up.set()

    class LatePerson(ClientProtocol):
        def connect(self) -> Request:
            assert hung_up.wait(10)
            return super().connect()

    monkeypatch.setattr("broker.streams.ClientProtocol", LatePerson)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = BrokerSettings(
            url=f"wss://127.0.0.1:{listener.getsockname()[1]}/mqtt",
            ca_file=tmp_path / "ours" / "ca.crt",
            cert_file=tmp_path / "client.crt",
            key_file=tmp_path / "client.key",
        )
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listener))
        with pytest.raises(ssl.SSLError) as raised:
            await open_stream(settings)
        await refusing
    assert "our certificate is not from its authority" in str(explain(raised.value, settings))


async def test_a_password_is_wanted_too_and_says_who_it_is(encrypted: EmbeddedBroker) -> None:
    alice, bob = encrypted.settings_for("alice"), encrypted.settings_for("bob")
    assert "wrong password" in await refusal(alice.model_copy(update={"password": bob.password}))
    assert "wrong password" in await refusal(alice.model_copy(update={"password": None}))


SERVERS: dict[str, tuple[Callable[[datetime], datetime], list[str], str, str]] = {
    "expired": (lambda now: now - 3 * DAY, ["127.0.0.1"], "has expired", "--renew"),
    "not yet valid": (lambda now: now + DAY, ["127.0.0.1"], "not valid yet", "clock"),
    "another name": (lambda now: now, ["broker.lab"], "not for the name 127.0.0.1", "--name 127"),
}


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_bad_certificate_of_the_broker_is_refused_in_one_sentence(
    encrypted: EmbeddedBroker, kind: str
) -> None:
    when, names, why, remedy = SERVERS[kind]
    issued = authority(encrypted).server(names, when(utc_now()), 1)
    target = encrypted.access.read().broker
    owner = target.files.stat()
    for name, text in ((CERTIFICATE, issued.certificate), (KEY, issued.key)):
        write_private(target.files / name, text, owner=(owner.st_uid, owner.st_gid))
    reload(target)
    told = ""
    async with asyncio.timeout(10):
        while why not in told:  # it reads its files a moment after it was told
            told = await refusal(encrypted.settings_for("alice"))
    assert remedy in told


async def test_files_that_are_no_certificates_are_named(
    encrypted: EmbeddedBroker, tmp_path: Path
) -> None:
    settings = encrypted.settings_for("alice")
    other = encrypted.settings_for("bob")
    missing = tmp_path / "missing.crt"
    told = await refusal(settings.model_copy(update={"ca_file": missing}))
    assert f"{missing} cannot be used: No such file" in told
    told = await refusal(settings.model_copy(update={"key_file": other.key_file}))
    assert str(settings.cert_file) in told
    assert str(other.key_file) in told
    told = await refusal(settings.model_copy(update={"ca_file": None}))
    assert "from no authority that the system trusts" in told
    assert "ca.crt" in told


async def test_certificates_are_renewed_while_everything_goes_on(
    encrypted: EmbeddedBroker,
) -> None:
    settings = encrypted.settings_for("alice")
    assert settings.cert_file is not None
    before = settings.cert_file.read_text()
    target = encrypted.access.read().broker
    lost: list[None] = []
    async with Connection(settings, client_id="alice") as alice:
        await alice.wait_connected(10)
        alice.on_disconnect(lambda: lost.append(None))
        old = (target.files / CERTIFICATE).read_bytes()
        await asyncio.to_thread(encrypted.access.certify, renew=True)
        await tell(target, settings, admitted=True)
        assert settings.cert_file.read_text() != before
        assert (target.files / CERTIFICATE).read_bytes() != old
        await alice.publish("bioreactor/hub/request/alice/list", b"still here")
        assert not lost
        async with Connection(settings, client_id="two", stop_if_refused=True) as again:
            await again.wait_connected(10)


async def test_who_was_removed_has_no_certificate_either(encrypted: EmbeddedBroker) -> None:
    access = encrypted.access
    await asyncio.to_thread(access.add, "ada", "script")
    ada = access.settings_of("ada")
    assert ada.cert_file is not None
    await tell(access.read().broker, ada, admitted=True)
    await asyncio.to_thread(access.remove, "ada")
    await tell(access.read().broker, ada, admitted=False)
    told = await refusal(ada)
    if encrypted.kind == "mosquitto":
        assert "our certificate was revoked" in told
    else:  # reads no list of revoked ones; the password has ended all the same
        assert "no such principal" in told
    # However slowly one asks: Mosquitto reads its passwords first and then what is revoked.
    assert await tell(access.read().broker, ada, admitted=False) is Told.OBEYS
