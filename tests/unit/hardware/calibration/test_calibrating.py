"""Guided calibration of emulated devices, answered by a scripted person."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hardware.calibration.curve import CalibrationError
from hardware.calibration.record import CalibrationBook
from hardware.clock import RealClock
from hardware.configuration.build import CALIBRATIONS, Configured, Readings, configure
from hardware.drivers.interface import DriverError
from hardware.emulators.board import EmulatedBoard
from hardware.emulators.emulator import Constant, Emulator
from hardware.emulators.ezo_probes import EzoPh
from hardware.emulators.ezo_pump import EzoPump
from hardware.emulators.tic import EmulatedTic, TicSettings
from hardware.reactor import ReactorEvent
from hardware.reactors import configured_reactor
from hardware.tools.calibrating import Bench, calibrate, report

AT = datetime(2026, 2, 17, 14, 26, 1, tzinfo=UTC)
FILE = """\
[devices.board]
driver = "board"
port = "{ports}/board"
blank_mv = 600.0
mv_per_od = 400.0
[devices.probe]
driver = "ezo-ph"
port = "{ports}/ph"
speed = 100.0
[devices.feed]
driver = "tic"
port = "{ports}/feed"
ml_per_microstep = 0.0005
[channels]
od = {{ device = "board", what = "density", period = 0.02 }}
stirring = {{ device = "board", what = "stirring" }}
ph = {{ device = "probe", period = 0.02 }}
[channels.media]
device = "feed"
direction = "in"
flow = 5.0
max_dose_ml = 5.0
max_hourly_ml = 60.0
max_total_ml = 100.0
[vessel]
filled = 15.0
low = 5.0
high = 18.0
"""


class Somebody:
    """Gives the next answer, after doing what it takes."""

    def __init__(self, *answers: str) -> None:
        self.left = list(answers)
        self.told: list[str] = []

    async def ask(self, question: str) -> str:
        self.told.append(question)
        return self.left.pop(0)

    def tell(self, text: str) -> None:
        self.told.append(text)


class Devices:
    def __init__(self, ports: Path) -> None:
        self.signal, self.ph = Constant(612.0), Constant(6.8)
        tic = EmulatedTic(
            TicSettings(
                max_speed=20_000_000,
                max_acceleration=1_000_000,
                crc_for_commands=True,
                crc_for_responses=True,
            )
        )
        self.emulators = (
            Emulator(EmulatedBoard(signal=self.signal), link=ports / "board"),
            Emulator(EzoPh(self.ph), link=ports / "ph", speed=100.0),
            Emulator(tic, link=ports / "feed"),
        )
        self.file = ports / "reactor.toml"
        self.file.write_text(FILE.format(ports=ports))
        self.directory = ports / "devices"

    def reactor(self) -> Configured:
        return configure(
            self.file,
            clock=RealClock(),
            directory=self.directory,
            readings=Readings(),
            calibrated=False,
        )

    def bench(self, channel: str) -> Bench:
        return Bench(self.reactor(), channel, lambda: AT)


@pytest.fixture
async def devices(tmp_path: Path) -> AsyncIterator[Devices]:
    found = Devices(tmp_path)
    async with AsyncExitStack() as stack:
        for emulator in found.emulators:
            await stack.enter_async_context(emulator)
        yield found


async def test_density_is_calibrated_with_a_blank_and_standards(devices: Devices) -> None:
    class Standards(Somebody):
        async def ask(self, question: str) -> str:
            answer = await super().ask(question)
            if answer:
                devices.signal.value = 612.0 + 500.0 * float(answer)
            return answer

    person = Standards("0", "0.5", "1", "2", "")
    made = await calibrate(devices.bench("od"), person)
    assert (made.way, len(made.points)) == ("curve", 4)
    assert any("± " in text for text in person.told)
    assert made.curve is not None
    assert made.curve((512.0 + 600.0 - 600.0) / 400.0) == pytest.approx(1.0, abs=0.05)
    assert len(report(made)) == 2 + 4
    CalibrationBook(devices.directory / CALIBRATIONS).keep(made)
    reactor, _ = configured_reactor(RealClock(), devices.file, directory=devices.directory)
    assert reactor.channels["od"].calibration == made.id
    assert reactor.channels["od"].calibrated_at == AT
    assert (told := reactor.channels["od"].calibration_info) is not None
    assert (told.way, told.points, told.unit) == ("curve", 4, made.unit)
    assert told.error == max(abs(error) for error in made.residuals)
    devices.signal.value = 612.0 + 750.0
    events: list[ReactorEvent] = []
    reactor.on_event(events.append)
    async with reactor:
        assert (await reactor.read())["od"] == pytest.approx(1.5, abs=0.05)
        await reactor.begin_run()
    assert [e.data for e in events if e.event == "calibrations"] == [{"od": made.id}]


async def test_ph_is_calibrated_in_the_circuit(devices: Devices) -> None:
    class Buffers(Somebody):
        async def ask(self, question: str) -> str:
            answer = await super().ask(question)
            devices.ph.value = {"": 6.8, "4.01": 4.2}[answer]
            return answer

    person = Buffers("", "4.01", "")
    made = await calibrate(devices.bench("ph"), person)
    assert made.way == "device"
    assert [point.true for point in made.points] == [7.0, 4.01]
    assert "acid buffer" in "".join(person.told)


async def test_a_standard_that_was_not_changed_is_told_before_it_is_taken(
    devices: Devices,
) -> None:
    class Forgetful(Somebody):
        async def ask(self, question: str) -> str:
            if question.startswith("That is what 7 pH read. Put 4 pH in"):
                devices.ph.value = 4.2
            return await super().ask(question)

    person = Forgetful("7", "4", "", "")
    made = await calibrate(devices.bench("ph"), person)
    assert [point.read for point in made.points] == pytest.approx([6.8, 4.2], abs=0.5)
    assert not person.left


async def test_a_standard_that_reads_as_another_is_taken_where_the_person_insists(
    devices: Devices,
) -> None:
    person = Somebody("7", "4", "keep", "")
    made = await calibrate(devices.bench("ph"), person)
    assert [point.true for point in made.points] == [7.0, 4.0]


async def test_what_is_no_number_is_asked_again(devices: Devices) -> None:
    person = Somebody("2", "3.7 g", "", "1.84", "4", "nan", "3,68", "")
    made = await calibrate(devices.bench("media"), person)
    assert [point.true for point in made.points] == [1.84, 3.68]
    assert "'3.7 g' is no number." in person.told


async def test_a_pump_is_calibrated_on_a_scale(devices: Devices) -> None:
    made = await calibrate(devices.bench("media"), Somebody("9", "2", "1.84", "4", "3.68", ""))
    assert made.factor == pytest.approx(0.92, abs=0.01)
    CalibrationBook(devices.directory / CALIBRATIONS).keep(made)
    reactor, _ = configured_reactor(RealClock(), devices.file, directory=devices.directory)
    async with reactor:
        dose = await reactor.dose("media", 1.84)
    assert dose.delivered_ml == pytest.approx(1.84, abs=0.02)


async def test_a_dose_that_no_whole_number_of_microsteps_makes_is_weighed(
    devices: Devices,
) -> None:
    text = devices.file.read_text()
    devices.file.write_text(text.replace("ml_per_microstep = 0.0005", "ml_per_microstep = 0.0007"))
    made = await calibrate(devices.bench("media"), Somebody("1", "1.0", "2.0001", "2.0", ""))
    assert [point.read for point in made.points] == pytest.approx([1.0, 2.0], abs=0.0007)


async def test_a_pump_with_a_least_dose_is_weighed_with_any_dose_from_it_on(
    devices: Devices,
) -> None:
    """What a piece leaves may be less than the pump moves, so the last two share it."""
    text = devices.file.read_text()
    for old, new in (
        ("ml_per_microstep = 0.0005", "speed = 100.0"),
        ('driver = "tic"', 'driver = "ezo-pmp"'),
        ("/feed", "/pmp"),
        ("flow = 5.0\n", ""),
    ):
        text = text.replace(old, new)
    devices.file.write_text(text)
    async with Emulator(EzoPump(), link=devices.file.parent / "pmp", speed=100.0):
        person = Somebody("3.7", "3.7", "0.2", "")
        made = await calibrate(devices.bench("media"), person)
    assert "A dose is at least 0.49 mL and at most 5 mL." in person.told
    assert made.points[0].read == pytest.approx(3.7, abs=0.05)


@pytest.mark.parametrize(
    ("channel", "answers", "complaint"),
    [
        ("nothing", (), "there is no channel 'nothing'; there are od, stirring"),
        ("stirring", (), "stirring is an output"),
        ("od", ("0", "0.0", ""), "mixed-up|further apart"),
        ("od", ("",), "at least one point"),
        ("media", ("",), "weigh at least one dose"),
        ("media", ("1", "0", ""), "weighs nothing"),
        ("media", ("1", "30", ""), "30.* times what it believes"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_kept(
    devices: Devices, channel: str, answers: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(CalibrationError, match=complaint):
        await calibrate(devices.bench(channel), Somebody(*answers))
    assert not (devices.directory / CALIBRATIONS).exists()


async def test_a_probe_without_a_value_is_said(devices: Devices) -> None:
    devices.file.write_text(devices.file.read_text().replace(f"{devices.file.parent}/ph", "/gone"))
    with pytest.raises(DriverError, match="is not there"):
        await calibrate(devices.bench("ph"), Somebody("7"))
