"""Request and reply over the broker: our asker and server against a bare paho echo.

Both sides of both run in one process on the same broker, in turns, with QoS 1 and TCP_NODELAY. The
reference does nothing but echo: no JSON, no checks, no ids.
"""

import asyncio
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from broker.access import Principal
from broker.connection import Connection
from broker.embedded import EmbeddedBroker, Kind
from broker.messages import Done, OnExperiment, Result
from broker.requests import Asked, Asker, Rate, RequestServer
from broker.settings import BrokerSettings

ROLES = (Principal("hub", "hub"), Principal("alice", "script"))
ROUNDS = 5
REQUESTS = 200
REQUEST = OnExperiment(experiment_id="01ARZ3NDEKTSV4RRFFQ69G5FAV")
REPLY_TOPIC = "bioreactor/reply/alice/echo"
REQUEST_TOPIC = "bioreactor/hub/request/alice/cancel"

Row = tuple[str, float, str, float, str]


def rows() -> list[Row]:
    """Return the medians of a round trip, on each broker."""
    return [asyncio.run(_measure(kind)) for kind in ("mosquitto", "nats")]


async def _measure(kind: Kind) -> Row:
    with tempfile.TemporaryDirectory() as directory:
        async with EmbeddedBroker(Path(directory), roles=ROLES, kind=kind) as broker:
            ours: list[float] = []
            theirs: list[float] = []
            for _ in range(ROUNDS):
                ours += await _our_round(broker)
                theirs += await asyncio.to_thread(_bare_round, broker)
    return (
        f"request and reply, {kind}, p50",
        statistics.median(ours) * 1000,
        "ms",
        statistics.median(theirs) * 1000,
        "bare paho echo",
    )


async def _our_round(broker: EmbeddedBroker) -> list[float]:
    async def handle(_asked: Asked) -> Result:
        return Done(outcome="done", message="done")

    hub = Connection(broker.settings_for("hub"), client_id="hub")
    server = RequestServer(hub, portals=frozenset(), handle=handle, rate=Rate(1e6, 10**6))
    alice = Connection(broker.settings_for("alice"), client_id="alice")
    asker = Asker(alice, "alice")
    async with hub, alice:
        task = asyncio.create_task(server.run())
        try:
            await asyncio.gather(hub.wait_connected(10), alice.wait_connected(10))
            took = []
            for _ in range(REQUESTS):
                began = time.perf_counter()
                await asker.ask("cancel", REQUEST)
                took.append(time.perf_counter() - began)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    return took


def _bare_round(broker: EmbeddedBroker) -> list[float]:
    payload = REQUEST.encode()
    answered = threading.Event()
    echo = _client("echo", broker.settings_for("hub"), broker.port)
    asker = _client("asker", broker.settings_for("alice"), broker.port)

    def reply(client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        client.publish(REPLY_TOPIC, message.payload, 1)

    echo.on_message = reply
    asker.on_message = lambda *_: answered.set()
    took = []
    try:
        _subscribe(echo, REQUEST_TOPIC)
        _subscribe(asker, REPLY_TOPIC)
        for _ in range(REQUESTS):
            answered.clear()
            began = time.perf_counter()
            asker.publish(REQUEST_TOPIC, payload, 1)
            assert answered.wait(10)
            took.append(time.perf_counter() - began)
    finally:
        for client in (echo, asker):
            client.disconnect()
            client.loop_stop()
    return took


def _client(name: str, settings: BrokerSettings, port: int) -> mqtt.Client:
    assert settings.password is not None
    client = mqtt.Client(CallbackAPIVersion.VERSION2, name)
    client.username_pw_set(settings.username, settings.password.get_secret_value())
    client.on_socket_open = _no_delay
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def _no_delay(_client: mqtt.Client, _userdata: object, sock: object) -> None:
    assert isinstance(sock, socket.socket)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _subscribe(client: mqtt.Client, topic: str) -> None:
    granted = threading.Event()
    client.on_subscribe = lambda *_: granted.set()
    client.subscribe(topic, 1)
    assert granted.wait(10)


if __name__ == "__main__":
    for name, figure, unit, reference, reference_name in rows():
        print(f"{name}: {figure:.3f} {unit}, {reference_name} {reference:.3f} {unit}")
