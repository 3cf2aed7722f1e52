"""A run on a node whose reactor is a serial device."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.messages import ErrorCode, EventRecord
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.ezo_probes import EzoRtd
from hardware.emulators.ezo_pump import EzoPump
from hardware.emulators.faults import Fault
from tests.support.node import Hub, Node
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

REACTOR = """
[devices.probe]
driver = "ezo-rtd"
port = "{port}"

[channels.temperature]
device = "probe"

[channels.temperature.plausible]
high = 40.0
policy = "stop"
"""

WATCHING = """
    from bioreactor import experiment, reactor
    print("it is", reactor.read("temperature"))
    while True:
        experiment.sleep(0.2)
"""


PUMPING = """
[devices.pump]
driver = "ezo-pmp"
port = "{port}"

[channels.waste]
device = "pump"
direction = "out"
flow = 1.0
max_dose_ml = 10.0
max_hourly_ml = 120.0
max_total_ml = 2000.0
"""

IDLING = """
    from bioreactor import experiment
    print("waiting")
    while True:
        experiment.sleep(0.2)
"""


@pytest.fixture
def port(tmp_path: Path) -> Path:
    return tmp_path / "usb-probe"


@pytest.fixture
def reactor_file() -> str:
    """What the reactor consists of; parametrize it."""
    return REACTOR


@pytest.fixture
def node_settings(tmp_path: Path, port: Path, reactor_file: str) -> dict[str, str | float | bool]:
    file = tmp_path / "reactor.toml"
    file.write_text(reactor_file.format(port=port))
    return {"reactor": "configured", "configuration": str(file)}


@pytest.fixture
async def temperature(port: Path) -> AsyncIterator[Constant]:
    """What the probe measures, °C."""
    source = Constant(25.0)
    async with Emulator(EzoRtd(source), link=port):
        yield source


async def test_a_sensor_that_lies_ends_the_run_where_that_is_its_policy(
    temperature: Constant, node: Node, hub: Hub
) -> None:
    node.start()
    await node.until_ready(hub)
    experiment = str((await hub.run(WATCHING)).experiment_id)
    await hub.until_said(experiment, "it is 25.0")
    temperature.value = 55.0
    finished = await hub.until_phase(experiment, "finished")
    assert finished.error is not None
    assert (finished.outcome, finished.error.code) == ("failed", ErrorCode.HARDWARE)
    assert "temperature: 55 °C cannot be" in finished.error.message
    (alarm,) = (
        record
        for record in hub.records(experiment)
        if isinstance(record, EventRecord) and record.event == "alarm"
    )
    assert (alarm.channel, alarm.data["doubt"]) == ("temperature", "out-of-range")
    await eventually(lambda: any(a.id == "doubt-temperature" for a in hub.report.alarms))

    # The next run would meet the same sensor: it waits until that is put right.
    reading = """
        from bioreactor import reactor
        print("it is", reactor.read("temperature"))
    """
    well = str((await hub.run(reading)).experiment_id)
    await eventually(lambda: hub.report.seen_revision == hub.revision)
    assert hub.report.refusal is not None
    assert hub.report.refusal.code is ErrorCode.HARDWARE
    assert hub.phases(well) == []
    temperature.value = 26.0
    assert (await hub.until_phase(well, "finished")).outcome == "completed"
    assert hub.log(well, "stdout") == ["it is 26.0"]


@pytest.mark.parametrize("reactor_file", [PUMPING])
async def test_a_pulled_cable_ends_the_run_and_keeps_the_next_waiting(
    port: Path, node: Node, hub: Hub
) -> None:
    async with Emulator(EzoPump(), link=port) as pump:
        node.start()
        await node.until_ready(hub)
        experiment = str((await hub.run(IDLING)).experiment_id)
        await hub.until_said(experiment, "waiting")
        pump.inject(Fault.UNPLUG)
        finished = await hub.until_phase(experiment, "finished")
        assert finished.error is not None
        assert (finished.outcome, finished.error.code) == ("failed", ErrorCode.HARDWARE)
        assert finished.error.details == {"device": "pump"}
        faults = [
            record
            for record in hub.records(experiment)
            if isinstance(record, EventRecord) and record.event == "fault"
        ]
        assert [(f.data["device"], f.data["policy"]) for f in faults] == [("pump", "stop")]

        again = str((await hub.run("print('after')")).experiment_id)
        await eventually(lambda: hub.report.seen_revision == hub.revision)
        assert hub.report.refusal is not None
        assert "pump: " in hub.report.refusal.message
        assert hub.phases(again) == []
        pump.clear()
        assert (await hub.until_phase(again, "finished")).outcome == "completed"
        assert await node.stop() == 0  # while the pump is there: it is known to be safe


async def test_a_probe_that_is_not_there_keeps_no_node_from_its_work(
    port: Path, node: Node, hub: Hub
) -> None:
    node.start()
    await node.until_ready(hub)
    experiment = str((await hub.run(WATCHING)).experiment_id)
    await hub.until_said(experiment, "it is nan")
    await eventually(lambda: any(a.id == "device-probe" for a in hub.report.alarms))
    await eventually(lambda: hub.samples(experiment))
    assert hub.samples(experiment)[-1].values["temperature"] is None
    async with Emulator(EzoRtd(Constant(25.0)), link=port):
        await eventually(lambda: hub.samples(experiment)[-1].values["temperature"] == 25.0)
        await eventually(lambda: hub.report.alarms == ())
