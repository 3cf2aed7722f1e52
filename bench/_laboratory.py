"""A busy laboratory for the portal to show: ten reactors, five hundred waiting, a thousand done."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from ulid import ULID

from broker.access import Principal
from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.messages import (
    Activity,
    Alarm,
    ChannelInfo,
    ChannelLimits,
    Channels,
    Experiment,
    NodeReport,
    Phase,
    Quantity,
    ServiceStatus,
    Status,
    StreamBacklog,
    Telemetry,
    utc_now,
)
from broker.topics import Topic
from tests.support.fake_hub import FakeHub

REACTORS: Final = 10
CHANNELS: Final = 50
WAITING: Final = 500
FINISHED: Final = 1000
NAMES: Final = tuple(f"reactor-{n}" for n in range(1, REACTORS + 1))
ROLES: Final = (
    Principal("hub", "hub"),
    Principal("portal", "portal"),
    Principal("alice", "script"),
    *(Principal(name, "node") for name in NAMES),
)
USER: Final = "web:somebodyofthebench"
_KINDS: Final = ("sensor",) * 6 + ("setpoint", "setpoint", "actuator", "pump")
_QUANTITIES: Final = tuple(Quantity)


async def connections(stack: AsyncExitStack, broker: EmbeddedBroker) -> dict[str, Connection]:
    """Connect everybody but the portal."""
    links = {
        role.name: Connection(broker.settings_for(role.name), client_id=f"bench-{role.name}")
        for role in ROLES
        if role.name != "portal"
    }
    for link in links.values():
        await stack.enter_async_context(link)
        await link.wait_connected(10)
    return links


async def fill(hub: FakeHub, links: dict[str, Connection]) -> Sequence[Experiment]:
    """Publish all there is; return the experiments that run, one a reactor."""
    for _ in range(FINISHED):
        _add(hub, Status.COMPLETED, node=NAMES[len(hub.experiments) % REACTORS])
    running = [_add(hub, Status.RUNNING, node=name) for name in NAMES]
    for position in range(1, WAITING + 1):
        _add(hub, Status.QUEUED, position=position)
    for one in running:
        await hub.change(one.experiment_id, phase=Phase.EXECUTING)
    for name, one in zip(NAMES, running, strict=True):
        await announce(links[name], name, one)
    return running


async def announce(node: Connection, name: str, runs: Experiment) -> None:
    """Say what a reactor has, and what it runs."""
    topics = node.topics
    channels = tuple(_channel(n) for n in range(CHANNELS))
    said = Channels(node=name, label=f"Reactor {name[8:]}", channels=channels)
    boot = str(ULID())
    status = ServiceStatus(state="online", version="b", boot_id=boot, since=utc_now())
    report = NodeReport(
        node=name,
        boot_id=boot,
        at=utc_now(),
        seen_revision=1,
        accepts=True,
        isolation="docker",
        activity=Activity(
            experiment_id=runs.experiment_id,
            attempt=1,
            phase=Phase.EXECUTING,
            since=utc_now(),
            elapsed=4000.0,
        ),
        safe=False,
        alarms=(Alarm(id="a", severity="warning", message="hot", channel="c3", since=utc_now()),),
        backlog={"records": StreamBacklog(entries=3, bytes=900)},
    )
    for kind, payload in (
        (Topic.NODE_CHANNELS, said),
        (Topic.NODE_STATUS, status),
        (Topic.NODE_REPORT, report),
    ):
        await node.publish(topics.build(kind, node=name), payload.encode(), retain=True)
    topic = topics.build(Topic.NODE_TELEMETRY, node=name)
    await node.publish(topic, reading(1.0), qos=0)


def reading(first: float) -> bytes:
    """Return values of all channels; the first one is given."""
    values = {f"c{n}": n * 1.234567 for n in range(CHANNELS)}
    return Telemetry(t=utc_now(), values={**values, "c0": first}).encode()


def _channel(n: int) -> ChannelInfo:
    kind = _KINDS[n % len(_KINDS)]
    return ChannelInfo.model_validate(
        {
            "name": f"c{n}",
            "kind": kind,
            "quantity": _QUANTITIES[n % len(_QUANTITIES)],
            "unit": "mL" if kind == "pump" else "a.u.",
            "label": f"Channel number {n}",
            "driver": "bench",
            "period": 0.1,
            "limits": ChannelLimits(minimum=0, maximum=100),
            "safe_value": None if kind == "sensor" else 0.0,
        }
    )


def _add(
    hub: FakeHub, status: Status, *, node: str | None = None, position: int | None = None
) -> Experiment:
    number = len(hub.experiments)
    began = utc_now() - timedelta(days=30) + timedelta(minutes=number)
    mine = number % 20 == 0
    made = Experiment(
        experiment_id=str(ULID.from_datetime(began)),
        name=f"Turbidostat number {number}, 37 °C",
        user=USER if mine else f"web:somebody{number % 200:08}",
        owner="calm-otter" if mine else f"brisk-lynx-{number % 200}",
        status=status,
        revision=1,
        queue_position=position,
        node=node,
        attempt=1 if node else 0,
        created_at=began,
        started_at=began if node else None,
        completed_at=began + timedelta(hours=3) if status is Status.COMPLETED else None,
        script_sha256="0" * 64,
    )
    hub.experiments[made.experiment_id] = made
    hub.scripts[made.experiment_id] = "print(1)\n" * 40
    return made
