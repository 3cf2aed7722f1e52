"""A node whose disk others have filled goes on, says so, and works again when there is room."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from broker.messages import utc_now
from hardware.budget import Budget
from hardware.clock import ManualClock
from hardware.dosebook import DoseBook
from hardware.safety import initial
from node_service.doses import Doses
from node_service.gateway_models import DoseAnswer
from node_service.preparing import RETRY_SECONDS
from tests.support.node import BASE_IMAGE, SMALL, Hub, Node, remove_containers, write_config
from tests.support.waiting import eventually
from tests.unit.hardware.equipment import bench

pytestmark = pytest.mark.engine

MEBIBYTE = 1024**2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    image, disk = tmp_path / "disk.ext4", tmp_path / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(300 * MEBIBYTE)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
    mount = ["mount", "-o", "loop", str(image), str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def node(
    broker: EmbeddedBroker, tmp_path: Path, small_disk: Path, bare_recipe: Path, image_cache: Path
) -> Node:
    node = Node(tmp_path / "node.toml", small_disk / "node")
    write_config(
        node.config,
        broker.settings_for("reactor-1"),
        {"bare": bare_recipe},
        id="reactor-1",
        data_dir=str(node.data),
        base_image=BASE_IMAGE,
        cache_dir=str(image_cache),
        sample_interval=0.2,
        runner="docker",
    )
    return node


def fill(disk: Path) -> Path:
    others = disk / "others"
    with suppress(OSError), others.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return others


async def test_it_says_so_and_recovers(node: Node, hub: Hub, small_disk: Path) -> None:
    node.start()
    try:
        await node.until_ready(hub)
        done = await hub.run("print(1)")
        assert done.experiment_id is not None
        await hub.until_phase(done.experiment_id, "finished")
        others = fill(small_disk)
        await eventually(
            lambda: not hub.report.accepts and any(a.id == "storage" for a in hub.report.alarms),
        )
        others.unlink()
        await eventually(lambda: hub.report.accepts and not hub.report.alarms)
        again = await hub.run("print(2)")
        assert again.experiment_id is not None
        await hub.until_phase(again.experiment_id, "finished")
        assert hub.last(again.experiment_id).outcome == "completed"
        assert node.returncode is None
    finally:
        await node.stop()
        await remove_containers(node.data)


async def test_a_stop_that_found_no_room_is_engaged_after_a_kill(
    node: Node, hub: Hub, small_disk: Path
) -> None:
    node.start()
    try:
        await node.until_ready(hub)
        others = fill(small_disk)
        await eventually(lambda: not hub.report.accepts)
        os.kill(node.pid, signal.SIGUSR1)
        await eventually(lambda: hub.report.estop is not None)
        await node.kill()
        others.unlink()
        node.start()
        seen = len(hub.reports)
        await eventually(lambda: len(hub.reports) > seen and hub.report.safe)
        assert hub.report.estop is not None
        assert not hub.report.accepts
    finally:
        await node.stop()
        await remove_containers(node.data)


async def test_a_cancelled_run_is_safe_where_there_is_no_room(
    node: Node, hub: Hub, small_disk: Path
) -> None:
    node.start()
    try:
        await node.until_ready(hub)
        heating = await hub.run("""
            from bioreactor import experiment, reactor
            reactor.set("temperature-setpoint", 37)
            print("heating")
            while True:
                experiment.sleep(0.2)
        """)
        experiment = str(heating.experiment_id)
        await hub.until_said(experiment, "heating")
        others = fill(small_disk)
        await eventually(lambda: any(alarm.id == "storage" for alarm in hub.report.alarms))
        assert not hub.report.safe
        await hub.again(heating, desired="stop", script=None)
        await eventually(lambda: hub.report.safe)
        others.unlink()
        await hub.until_phase(experiment, "finished")
        assert hub.last(experiment).outcome == "cancelled"
    finally:
        await node.stop()
        await remove_containers(node.data)


async def test_what_was_dosed_is_kept_where_there_is_no_room(small_disk: Path) -> None:
    """So that a node that is killed pumps nothing twice, and gives no volume back."""
    equipment = bench()
    book = DoseBook(small_disk / "book.json", equipment, ManualClock())
    doses = await Doses.load(small_disk / "doses.json")
    moved = Budget()
    for n in range(20):
        if n == 1:
            fill(small_disk)
        await doses.begin(f"{n}", "media", 1.0, utc_now())
        moved = moved.moved(60.0 * n, 1.0)
        await book.keep(initial(equipment, 60.0 * n, {"media": moved}))
        kept = (await Doses.load(small_disk / "doses.json")).earlier(f"{n}")
        assert kept is not None
        assert not kept.ended
        await doses.end(f"{n}", answer=DoseAnswer(requested_ml=1, delivered_ml=1, seconds=1))
        again = DoseBook(small_disk / "book.json", equipment, ManualClock()).load()
        assert again.moved["media"].total == n + 1.0
    with pytest.raises(OSError, match="No space"):
        (small_disk / "more").write_bytes(bytes(8192))


async def test_an_experiment_waits_for_room_for_its_results(
    node: Node, hub: Hub, small_disk: Path
) -> None:
    node.start()
    try:
        await node.until_ready(hub)
        others = small_disk / "others"
        with others.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 150 * MEBIBYTE)
        large = SMALL.model_copy(update={"results": 200 * MEBIBYTE})
        cancelled = await hub.run("print(1)", limits=large)
        assert cancelled.experiment_id is not None
        await hub.until_said(cancelled.experiment_id, "there is no room for results")
        await hub.again(cancelled, desired="stop", script=None)
        await hub.until_phase(cancelled.experiment_id, "finished")
        assert hub.last(cancelled.experiment_id).outcome == "cancelled"
        waiting = await hub.run("print(2)", limits=large)
        assert waiting.experiment_id is not None
        await hub.until_said(waiting.experiment_id, "there is no room for results")
        await asyncio.sleep(3 * RETRY_SECONDS)
        assert "released" not in hub.phases(waiting.experiment_id)
        others.unlink()
        await hub.until_phase(waiting.experiment_id, "finished")
        assert hub.last(waiting.experiment_id).outcome == "completed"
    finally:
        await node.stop()
        await remove_containers(node.data)
