"""What people change on the disk is taken up while the reactor is free."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.messages import ContractError
from hardware.calibration.curve import Curve, Point
from hardware.calibration.record import Calibration, CalibrationBook
from hardware.clock import RealClock
from hardware.configuration.build import CALIBRATIONS
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.ezo_probes import EzoRtd
from hardware.emulators.ezo_pump import EzoPump
from hardware.reactor import Reactor, ReactorEvent
from hardware.reactors import configured_reactor
from hardware.workbench import Workbench
from tests.support.waiting import eventually

FILE = """
[devices.probe]
driver = "ezo-rtd"
port = "{ports}/probe"

[devices.pump]
driver = "ezo-pmp"
port = "{ports}/pump"

[channels.temperature]
device = "probe"

[channels.media]
device = "pump"
direction = "in"
flow = 1.0
max_dose_ml = 5.0
max_hourly_ml = 60.0
max_total_ml = 100.0

[vessel]
filled = 15.0
low = 5.0
high = 16.0
"""


@pytest.fixture
async def reactor(tmp_path: Path) -> AsyncIterator[Reactor]:
    file = tmp_path / "reactor.toml"
    file.write_text(FILE.format(ports=tmp_path))
    async with (
        Emulator(EzoRtd(Constant(25.0)), link=tmp_path / "probe"),
        Emulator(EzoPump(), link=tmp_path / "pump"),
    ):
        made, _ = configured_reactor(RealClock(), file, directory=tmp_path / "devices")
        async with made:
            yield made


def calibration(channel: str, minute: int, offset: float) -> Calibration:
    return Calibration(
        channel,
        datetime(2026, 2, 17, 14, minute, tzinfo=UTC),
        "curve",
        "°C",
        (Point(20.0, 20.0 + offset), Point(30.0, 30.0 + offset)),
        curve=Curve((offset, 1.0), 0.0, 50.0),
    )


async def reads(reactor: Reactor, value: float) -> None:
    async def so() -> bool:
        return (await reactor.read())["temperature"] == pytest.approx(value)

    await eventually(so)


async def test_a_calibration_holds_from_when_the_reactor_is_free(
    reactor: Reactor, tmp_path: Path
) -> None:
    book = CalibrationBook(tmp_path / "devices" / CALIBRATIONS)
    events: list[ReactorEvent] = []
    reactor.on_event(events.append)
    await reads(reactor, 25.0)
    first = calibration("temperature", 0, 1.5)
    book.keep(first)
    await reads(reactor, 25.0)  # nobody has said that the reactor is free
    await reactor.refresh()
    await reads(reactor, 26.5)
    assert reactor.channels["temperature"].calibration == first.id
    assert [e.data for e in events if e.event == "calibrations"] == [{"temperature": first.id}]
    await reactor.refresh()
    assert len([e for e in events if e.event == "calibrations"]) == 1

    book.keep(calibration("temperature", 1, 3.0))
    (book_file,) = (tmp_path / "devices" / CALIBRATIONS).glob("*1401*")
    book_file.write_text("{")
    await reactor.refresh()  # a damaged one changes nothing
    await reads(reactor, 26.5)
    book_file.unlink()
    book.revert("temperature")
    await reactor.begin_run()  # a run begins with what is in force
    await reads(reactor, 25.0)
    assert reactor.channels["temperature"].calibration is None


async def test_a_new_vial_is_counted_from(reactor: Reactor, tmp_path: Path) -> None:
    await reactor.dose("media", 1.0)
    with pytest.raises(ContractError, match="the vessel holds 16"):
        await reactor.dose("media", 1.0)
    workbench = Workbench(tmp_path / "devices")
    workbench.change_vial(14.5)
    with pytest.raises(ContractError, match="the vessel holds 16"):
        await reactor.dose("media", 1.0)
    await reactor.refresh()
    assert workbench.new_vial() is None
    assert (await reactor.dose("media", 1.0)).delivered_ml == 1.0
    assert '"volume": 15.5' in (tmp_path / "devices" / "doses.json").read_text()


async def test_a_damaged_note_keeps_no_calibration_back_and_is_told_once(
    reactor: Reactor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note = tmp_path / "devices" / "new-vial.json"
    note.parent.mkdir(exist_ok=True)
    note.write_text('{"ml": "much"}')
    CalibrationBook(tmp_path / "devices" / CALIBRATIONS).keep(calibration("temperature", 0, 1.5))
    await reactor.refresh()
    await reads(reactor, 26.5)
    await reactor.refresh()
    assert caplog.text.count("is not used") == 1
    Workbench(tmp_path / "devices").change_vial(14.5)
    await reactor.refresh()
    assert not note.exists()
