"""What reaches a node beside its assignment: emergency stop, manual control, a second process."""

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from ulid import ULID

from broker.connection import Connection, Message
from broker.messages import (
    Command,
    ErrorCode,
    ErrorReport,
    EstopRelease,
    EventRecord,
    ManualEnd,
    Telemetry,
    decode,
    utc_now,
)
from broker.topics import Topic
from node_service.datadir import DataDir
from tests.support.brokers import Connector
from tests.support.node import Hub, Node, remove_containers
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

BUSY = """
    from bioreactor import experiment, reactor
    reactor.set("stirring", 200)
    print("waiting")
    while True:
        experiment.sleep(0.2)
"""


class Admin:
    """An administrator beside the hub."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.errors: list[ErrorReport] = []
        self.values: dict[str, float | None] = {}
        self.series: dict[str, float | None] = {}

    def listen(self) -> None:
        topic, subscribe = self._connection.topics.build, self._connection.subscribe
        subscribe(topic(Topic.ERRORS, principal="admin"), self._error)
        subscribe(topic(Topic.NODE_TELEMETRY, node="reactor-1"), self._telemetry, qos=0)

    async def say(self, topic: Topic, payload: bytes, *, retain: bool = False, **more: str) -> None:
        await self._connection.publish(
            self._connection.topics.build(topic, node="reactor-1", principal="admin", **more),
            payload,
            retain=retain,
        )

    async def command(
        self, channel: str, value: float, id_: str, age: float = 0.0, *, retain: bool = False
    ) -> None:
        command = Command(id=id_, expires_at=utc_now() + timedelta(seconds=9 - age), value=value)
        await self.say(Topic.NODE_COMMAND, command.encode(), channel=channel, retain=retain)

    async def _error(self, message: Message) -> None:
        self.errors.append(decode(ErrorReport, message.payload))

    async def _telemetry(self, message: Message) -> None:
        telemetry = decode(Telemetry, message.payload)
        self.values |= telemetry.values
        self.series |= telemetry.series


@pytest.fixture
async def admin(connect: Connector) -> Admin:
    made: list[Admin] = []

    def prepare(connection: Connection) -> None:
        made.append(Admin(connection))
        made[0].listen()

    await connect("admin", prepare=prepare)
    return made[0]


async def test_an_emergency_stop_ends_the_run_and_is_released_by_name(
    running: Node, hub: Hub, admin: Admin
) -> None:
    assignment = await hub.run(BUSY)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "waiting")
    await admin.say(Topic.NODE_ESTOP, b"!", retain=True)
    finished = await hub.until_phase(experiment, "finished")
    assert finished.error is not None
    assert (finished.outcome, finished.error.code) == ("failed", ErrorCode.ESTOP)
    await eventually(lambda: hub.report.estop is not None and hub.report.safe)
    assert hub.report.refusal is not None
    assert hub.report.refusal.code is ErrorCode.ESTOP

    # Neither an empty payload nor a restart nor a wrong latch releases it.
    await admin.say(Topic.NODE_ESTOP, b"", retain=True)
    await admin.say(Topic.NODE_ESTOP_RELEASE, EstopRelease(latch=str(ULID())).encode())
    await eventually(lambda: admin.errors)
    assert admin.errors[0].error.code is ErrorCode.WRONG_STATE
    await admin.say(Topic.NODE_ESTOP, b"!", retain=True)
    await running.kill()
    boot = hub.report.boot_id
    running.start()
    await eventually(lambda: hub.report.boot_id != boot and hub.report.estop is not None)
    refused = await hub.run("print('after')")
    await eventually(lambda: hub.report.seen_revision == hub.revision)
    assert hub.phases(str(refused.experiment_id)) == []

    assert hub.report.estop is not None
    latch = hub.report.estop.latch
    await admin.say(Topic.NODE_ESTOP_RELEASE, EstopRelease(latch=latch).encode())
    await hub.until_phase(str(refused.experiment_id), "finished")  # it was desired all along
    await running.kill()  # the retained request is gone: a restart does not engage it again
    boot = hub.report.boot_id
    running.start()
    await eventually(lambda: hub.report.boot_id != boot)
    assert hub.report.estop is None


async def test_a_signal_on_the_node_engages_without_a_broker(
    running: Node, hub: Hub, admin: Admin
) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "node_service", "--config", str(running.config), "--estop"],
        capture_output=True,
        text=True,
        check=True,
    )
    await eventually(lambda: hub.report.estop is not None)
    assert hub.report.estop is not None
    assert hub.report.estop.latch in done.stdout
    await admin.say(Topic.NODE_ESTOP_RELEASE, EstopRelease(latch=hub.report.estop.latch).encode())
    await eventually(lambda: hub.report.estop is None)


async def test_a_signal_as_soon_as_the_node_is_there_engages(node: Node, hub: Hub) -> None:
    lock = DataDir(node.data).lock
    node.start()
    async with asyncio.timeout(60):
        while not (lock.exists() and lock.read_text() == str(node.pid)):  # noqa: ASYNC110 - a file cannot wake us
            await asyncio.sleep(0)
    os.kill(node.pid, signal.SIGUSR1)
    await eventually(lambda: node.returncode is not None or (hub.reports and hub.report.estop))
    assert node.returncode is None


async def test_manual_control_of_an_idle_reactor(running: Node, hub: Hub, admin: Admin) -> None:
    await admin.command("stirring", 300, "one")
    await eventually(lambda: admin.values.get("stirring") == 300)
    await admin.command("stirring", 500, "one")  # said twice, done once
    await admin.command("stirring", 400, "late", age=10)
    await eventually(lambda: [e.error.code for e in admin.errors] == [ErrorCode.EXPIRED])
    await admin.command("stirring", 400, "early", age=-3600)
    await eventually(lambda: len(admin.errors) == 2)
    assert "clocks" in admin.errors[1].error.hint
    await admin.command("lid", 1, "unknown")
    await eventually(lambda: len(admin.errors) == 3)
    assert admin.errors[2].error.code is ErrorCode.UNKNOWN_CHANNEL
    await admin.say(Topic.NODE_COMMAND, b"{]", channel="stirring")
    await eventually(lambda: len(admin.errors) == 4)
    assert admin.errors[3].error.code is ErrorCode.MALFORMED
    assert admin.values["stirring"] == 300
    await eventually(
        lambda: any(isinstance(r, EventRecord) and r.event == "command" for r in hub.records())
    )

    await eventually(lambda: hub.report.manual is not None)
    held = hub.report.manual
    assert held is not None
    assert held.by == "admin"
    assignment = await hub.run(BUSY)
    await eventually(lambda: hub.report.seen_revision == hub.revision)
    assert hub.report.refusal is not None
    assert hub.report.refusal.code is ErrorCode.REACTOR_BUSY
    assert hub.phases(str(assignment.experiment_id)) == []
    end = ManualEnd(id="end", expires_at=utc_now() + timedelta(seconds=9))
    await admin.say(Topic.NODE_MANUAL_END, end.encode())
    await hub.until_said(str(assignment.experiment_id), "waiting")
    assert hub.report.manual is None
    await admin.command("stirring", 400, "busy")
    await eventually(lambda: len(admin.errors) == 5)
    assert admin.errors[4].error.code is ErrorCode.REACTOR_BUSY
    await hub.again(assignment, desired="stop")
    await hub.until_phase(str(assignment.experiment_id), "finished")


async def test_a_retained_command_is_refused_and_cleared(
    node: Node, hub: Hub, admin: Admin, connect: Connector
) -> None:
    await admin.command("stirring", 300, "kept", retain=True)
    node.start()
    await eventually(lambda: len(admin.errors) == 1)
    assert admin.errors[0].error.code is ErrorCode.RETAINED_COMMAND
    await node.until_ready(hub)
    assert admin.values.get("stirring", 0.0) == 0.0
    await node.kill()
    node.start()
    await node.until_ready(hub)
    assert len(admin.errors) == 1


async def test_two_nodes_never_share_a_directory(running: Node) -> None:
    second = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "node_service", "--config", str(running.config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 78
    assert f"process {running.pid}" in second.stderr
    assert second.stderr.count("\n") == 1


async def test_a_node_whose_runner_cannot_work_ends_and_says_why(node: Node) -> None:
    with node.config.open("a") as config:
        config.write('\nbad = "/nowhere"\n')
    node.start()
    await eventually(lambda: node.returncode is not None)
    assert node.returncode == 78
    assert "the image bad cannot be offered" in node.lines[-1]


@pytest.mark.parametrize("node_settings", [{"on_exit": "stop"}])
async def test_a_node_may_end_its_run_when_it_is_stopped(running: Node, hub: Hub) -> None:
    assignment = await hub.run(BUSY)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "waiting")
    assert await running.stop() == 0
    running.start()
    step = await hub.until_phase(experiment, "interrupted")
    assert step.error is not None
    assert step.error.code is ErrorCode.INTERRUPTED
    assert hub.phases(experiment)[-3:] == ["stopping", "released", "interrupted"]


async def test_ctrl_c_leaves_a_safe_reactor(node: Node, hub: Hub) -> None:
    node.start()
    await node.until_ready(hub)
    assert node.child is not None
    node.child.send_signal(signal.SIGINT)
    assert await node.child.wait() == 0
    assert any("reactor is safe" in line for line in node.lines)


async def test_a_second_node_of_the_same_name_leaves_the_first_alone(
    running: Node, hub: Hub, tmp_path: Path
) -> None:
    assignment = await hub.run(BUSY)
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "waiting")
    boots = {report.boot_id for report in hub.reports}
    second = Node(tmp_path / "second.toml", tmp_path / "second")
    text = running.config.read_text()
    second.config.write_text(text.replace(str(running.data), str(second.data)))
    second.config.chmod(0o600)
    second.start()
    try:
        await eventually(lambda: second.returncode is not None)
    finally:
        await second.stop()
        await remove_containers(second.data)
    assert second.returncode == 78
    assert "another node is called reactor-1" in second.lines[-1]
    assert running.returncode is None
    # It said nothing in the other's name and started nothing; the first one told of it.
    assert {report.boot_id for report in hub.reports} == boots
    assert hub.phases(experiment) == ["accepted", "executing"]
    events = [r for r in hub.records() if isinstance(r, EventRecord) and r.event == "alarm"]
    assert [event.data["alarm"] for event in events] == ["twin"]
    await eventually(lambda: hub.report.alarms == () and hub.report.activity is not None)
    await hub.again(assignment, desired="stop", script=None)
    await hub.until_phase(experiment, "finished")
