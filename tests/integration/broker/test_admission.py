"""Principals come, change and go while the broker runs, on both brokers alike."""

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.access.reloading import reload
from broker.access.telling import Told, tell
from broker.connection import AccessRefusedError, Connection
from broker.embedded import EmbeddedBroker, Kind
from broker.messages import ContractError, ErrorCode
from broker.settings import BrokerSettings, load_settings
from tests.support.brokers import ROLES
from tests.support.inbox import Inbox

TOPIC = "bioreactor/hub/request/ada/list"


async def admitted(broker: EmbeddedBroker, name: str = "ada") -> BrokerSettings:
    """Admit a script and return what its folder says."""
    await asyncio.to_thread(broker.access.add, name, "script")
    settings = broker.access.settings_of(name)
    told = await tell(broker.access.read().broker, settings, admitted=True)
    assert told is Told.OBEYS
    return settings


@pytest.fixture
async def hub(broker: EmbeddedBroker) -> AsyncIterator[Connection]:
    async with Connection(broker.settings_for("hub"), client_id="hub") as connection:
        await connection.wait_connected(10)
        yield connection


async def test_one_who_is_admitted_is_heard(broker: EmbeddedBroker, hub: Connection) -> None:
    inbox = Inbox()
    hub.subscribe("bioreactor/hub/request/+/+", inbox)
    await admitted(broker)

    folder = broker.access.client_folder("ada")
    settings = load_settings(BrokerSettings, "broker", folder / "broker.toml")
    async with Connection(settings, client_id="ada", stop_if_refused=True) as ada:
        await ada.wait_connected(10)
        await ada.publish("bioreactor/hub/request/bob/list", b"as another")
        await ada.publish(TOPIC, b"hello")
        await inbox.wait_for(1)

    assert inbox.payloads == [b"hello"]
    assert hub.connected, "others are not disturbed by a reload"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(broker.access.path.stat().st_mode) == 0o700


async def test_a_password_stands_in_the_clients_folder_alone(broker: EmbeddedBroker) -> None:
    secret = (await admitted(broker)).secret()
    assert secret is not None
    folder = broker.access.client_folder("ada")
    everywhere = [path for path in broker.access.path.parent.rglob("*") if path.is_file()]

    holding = {p for p in everywhere if secret.get_secret_value().encode() in p.read_bytes()}

    assert holding == {folder / name for name in ("password", *clients_of_mosquitto())}


def clients_of_mosquitto() -> tuple[str, ...]:
    return ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr")


async def test_one_who_is_removed_is_cut_off(broker: EmbeddedBroker, hub: Connection) -> None:
    settings = await admitted(broker)
    lost = asyncio.Event()
    async with Connection(settings, client_id="ada") as ada:
        await ada.wait_connected(10)
        ada.on_disconnect(lost.set)
        await asyncio.to_thread(broker.access.remove, "ada")
        reload(broker.access.read().broker)
        async with asyncio.timeout(10):
            await lost.wait()

    with pytest.raises(AccessRefusedError, match="ada"):
        await connect_once(settings)
    assert hub.connected


async def connect_once(settings: BrokerSettings) -> None:
    async with Connection(settings, client_id="once", stop_if_refused=True) as connection:
        await connection.wait_connected(10)


async def test_a_service_comes_back_with_its_new_password_by_itself(
    broker: EmbeddedBroker,
) -> None:
    settings = await admitted(broker)
    old = settings.secret()
    lost = asyncio.Event()
    async with Connection(settings, client_id="ada") as ada:
        await ada.wait_connected(10)
        ada.on_disconnect(lost.set)
        await asyncio.to_thread(broker.access.rotate, "ada")
        await tell(broker.access.read().broker, settings, admitted=True)
        async with asyncio.timeout(10):
            await lost.wait()
            await ada.wait_connected()
    assert settings.secret() != old
    update = {"password": old, "password_file": None}
    with pytest.raises(AccessRefusedError, match="wrong password"):
        await connect_once(settings.model_copy(update=update))


async def test_the_broker_comes_back_with_who_was_admitted(
    broker_kind: Kind, tmp_path: Path
) -> None:
    async with EmbeddedBroker(tmp_path, roles=ROLES, kind=broker_kind) as broker:
        await admitted(broker)
        await admitted(broker, "eve")
        await asyncio.to_thread(broker.access.remove, "eve")
    target = broker.access.read().broker
    assert reload(target) is False, "none runs, so none is told"

    async with EmbeddedBroker(tmp_path, roles=ROLES[:1], kind=broker_kind) as broker:
        await connect_once(broker.access.settings_of("ada"))
        assert set(broker.access.read().principals) == {ROLES[0].name, "ada"}


@pytest.mark.parametrize("broker_kind", ["mosquitto"])
async def test_a_broker_that_does_not_obey_is_found_out(broker: EmbeddedBroker) -> None:
    target = broker.access.read().broker
    await asyncio.to_thread(broker.access.add, "ada", "script")
    ada = broker.access.settings_of("ada")

    deaf = target.model_copy(update={"pid_file": None, "reload": ("false",)})
    with pytest.raises(ContractError, match="`false` ended with status 1"):
        await tell(deaf, ada, admitted=True)

    stranger = broker.access.path / "pid"
    stranger.write_text("1\n")
    for pid_file in (stranger, broker.access.path / "lock"):
        wrong = target.model_copy(update={"pid_file": pid_file})
        with pytest.raises(ContractError, match="was not told") as refused:
            await tell(wrong, ada, admitted=True)
        assert refused.value.error.code is ErrorCode.UNAVAILABLE
