import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.messages import Quantity
from hardware.clock import ManualClock
from hardware.configuration.build import Configured, Readings, configure
from hardware.configuration.document import ConfigurationError
from hardware.configuration.kinds import UnknownKindError, find
from hardware.drivers.board.driver import ControllerBoard
from hardware.drivers.ezo.probes import EzoPh
from hardware.drivers.ezo.pump import EzoPump
from hardware.drivers.senseair.sensor import SenseairCo2
from hardware.drivers.tic.pump import TicPump
from hardware.plausibility import usual

BENCH = (Path(__file__).parent / "bench.toml").read_text()

Make = Callable[[str], Configured]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(text: str) -> Configured:
        path = tmp_path / "reactor.toml"
        path.write_text(text)
        return configure(path, clock=ManualClock(), directory=tmp_path, readings=Readings())

    return made


def test_a_bench_is_what_its_file_says(make: Make) -> None:
    bench = make(BENCH)
    assert bench.label == "Bench 1"
    assert [type(driver) for driver in bench.drivers] == [
        ControllerBoard,
        EzoPh,
        TicPump,
        EzoPump,
        SenseairCo2,
    ]
    channels = bench.equipment.channels
    assert {name: channel.info.kind for name, channel in channels.items()} == {
        "temperature": "sensor",
        "od": "sensor",
        "heater": "sensor",  # the thermostat's alone
        "stirring": "setpoint",
        "ph": "sensor",
        "co2": "sensor",
        "media": "pump",
        "base": "pump",
        "temperature-setpoint": "setpoint",
        "ph-setpoint": "setpoint",
    }
    assert channels["heater"].controlled
    assert channels["stirring"].info.limits.maximum == 800.0
    assert channels["stirring"].info.limits.minimum == 50.0  # the device's own
    assert channels["co2"].info.label == "CO2 above the culture"
    assert channels["media"].flow == 0.5
    assert channels["base"].flow == pytest.approx(1.75)  # the pump's own
    assert not channels["temperature-setpoint"].wired
    heating = bench.equipment.heating
    assert heating is not None
    assert (heating.setpoint, heating.trip) == ("temperature-setpoint", 45.0)
    assert [t.raising for t in bench.equipment.titrations] == ["base"]


@pytest.mark.parametrize(
    ("find", "replace", "complaint"),
    [
        ('label = "Bench 1"', "label = ", "line 2"),
        ("[devices.board]", "[devices.Board]", "devices.Board"),
        (
            'driver = "board"',
            'driver = "bord"',
            "line 5: devices.board.driver: there is no driver 'bord'; did you mean",
        ),
        ('driver = "board"\n', "", "line 4: devices.board.driver: this key is needed"),
        ("blank_mv = 600.0", "blank = 600.0", "line 7: devices.board.blank: there is no such key"),
        (
            "mv_per_od = 400.0",
            "mv_per_od = 0.0",
            "devices.board: an optical density without a slope",
        ),
        (
            "mv_per_od = 400.0\n",
            "",
            "devices.board: board: optical density needs a blank and a slope",
        ),
        (
            'port = "PORTS/ph"',
            'port = "PORTS/board"',
            "line 12: devices.ph-probe.port: PORTS/board is the port of board",
        ),
        (
            'temperature = "temperature"',
            'temperature = "temp"',
            "line 13: devices.ph-probe.temperature: there is no sensor 'temp'",
        ),
        ('variant = "s8"', 'variant = "s9"', "devices.air.variant: Input should be 's8'"),
        (
            'device = "air"',
            'device = "aer"',
            "co2.device: there is no device 'aer'; there are board, ph-probe, feed",
        ),
        ('what = "density"\n', "", "channels.od: board offers temperature, density"),
        (
            'what = "density"',
            'what = "od"',
            "channels.od.what: board (Controller board) has no 'od'",
        ),
        (
            "maximum = 800.0",
            "maximum = 3000.0",
            "stirring.maximum: 3000 rpm is beyond the device, which has 50 to 1000",
        ),
        (
            "maximum = 800.0",
            "maximum = 50.0",
            "channels.stirring: the minimum 50 is not below the maximum 50",
        ),
        (
            'what = "heater"\n',
            'what = "heater"\nsafe = 30.0\n',
            "line 44: channels.heater.safe: 30 % is not off: nothing may heat unattended; leave",
        ),
        (
            'what = "heater"\n',
            'what = "heater"\nminimum = 10.0\n',
            "line 44: channels.heater.minimum: a heater must be able to be off: leave minimum out",
        ),
        (
            "slew_per_s = 100.0",
            "safe = 20.0",
            "line 49: channels.stirring.safe: 20 rpm is not from 50 to 800: choose one that is, or",
        ),
        ("slew_per_s = 100.0", "safe = 801.0", "801 rpm is not from 50 to 800"),
        ("flow = 0.5\n", "flow = 0.5\nsafe = 1.0\n", "only an output has safe; this is a pump"),
        (
            '[channels.co2]\ndevice = "air"\nlabel = "CO2 above the culture"\n',
            "",
            'line 26: devices.air: no channel has device = "air"; add one, or delete the device',
        ),
        (
            "[channels.heater]",
            '[channels.od2]\ndevice = "board"\nwhat = "density"\n[channels.heater]',
            "line 41: channels.od2: density of board is od already; delete one of them",
        ),
        (
            "[channels.co2]",
            '[channels.ph2]\ndevice = "ph-probe"\n[channels.co2]',
            "channels.ph2: ph of ph-probe is ph already",
        ),
        ("slew_per_s = 100.0", "slew = 100.0", "there is no such key; did you mean slew_per_s?"),
        ("slew_per_s = 100.0", "flow = 1.0", "only a pump has flow; this is a setpoint"),
        ("max_hourly_ml = 60.0\n", "", "channels.media: a pump needs max_hourly_ml"),
        ("flow = 0.5\n", "", "channels.media: a pump needs flow"),
        (
            "flow = 0.5",
            "flow = 50000.0",
            "devices.feed: feed: 5e+08 microsteps a second are beyond the Tic",
        ),
        ("filled = 15.0", "filled = 19.0", "vessel: low < filled <= high must hold"),
        (
            "[vessel]\nfilled = 15.0\nlow = 5.0\nhigh = 18.0\n",
            "",
            "a pump that fills needs [vessel]",
        ),
        (
            'output = "heater"',
            'output = "stirring"',
            "channels.heater: a heater needs a controller",
        ),
        ('sensor = "temperature"\noutput', 'sensor = "ph"\noutput', "ph is in pH, not °C"),
        ('sensor = "temperature"\noutput', 'sensor = "t"\noutput', "there is no sensor 't'"),
        ("trip = 45.0", "trip = 40.0", "maximum < reset < trip must hold"),
        (
            "trip = 45.0",
            'trip = "hot"',
            "controllers.temperature-setpoint.trip: Input should be a valid number",
        ),
        ("trip = 45.0", "trip = nan", "should be a finite number"),
        ('raising = "base"\n', "", "controllers.ph-setpoint: name a pump"),
        ('raising = "base"', 'raising = "acid"', "there is no pump 'acid'; there are: media, base"),
        ("dose_ml = 0.5", "dose_ml = 2.0", "2 mL is more than base may dose: 1 mL"),
        (
            "dose_ml = 0.5",
            "dose_ml = 0.1",
            "line 92: controllers.ph-setpoint.dose_ml: 0.1 mL is less than base can move",
        ),
        ("max_hourly_ml = 10.0", "max_hourly_ml = 0.4", "more than base may dose in an hour"),
        ("max_total_ml = 50.0", "max_total_ml = 0.4", "more than base may dose in a run"),
        (
            "max_dose_ml = 1.0",
            "max_dose_ml = 0.2",
            "channels.base.max_dose_ml: 0.2 mL is less than the pump can move",
        ),
        (
            "max_dose_ml = 1.0",
            "flow = 1.8\nmax_dose_ml = 1.0",
            "channels.base.flow: 1.8 mL/s is more than the pump can, which is 1.75: choose less",
        ),
        ('kind = "titration"', 'kind = "magic"', "controllers.ph-setpoint"),
        ("[controllers.ph-setpoint]", "[controllers.ph]", "a channel is called ph too"),
    ],
)
def test_what_does_not_fit_names_its_line_and_what_to_do(
    make: Make, find: str, replace: str, complaint: str
) -> None:
    assert find in BENCH
    text = BENCH.replace(find, replace, 1)
    with pytest.raises(ConfigurationError, match=r"reactor\.toml") as refused:
        make(text)
    assert complaint in str(refused.value)


def test_a_safe_value_may_be_any_in_the_range(make: Make) -> None:
    stirring = make(BENCH.replace("slew_per_s = 100.0", "safe = 60.0")).equipment.channels[
        "stirring"
    ]
    assert stirring.safe == 60.0


def test_a_file_that_is_missing_or_no_text(tmp_path: Path) -> None:
    path = tmp_path / "reactor.toml"
    with pytest.raises(ConfigurationError, match="No such file"):
        configure(path, clock=ManualClock(), directory=tmp_path, readings=Readings())
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        configure(path, clock=ManualClock(), directory=tmp_path, readings=Readings())


@pytest.mark.parametrize(
    "body", ["raise RuntimeError('no licence')", "import sys; sys.exit(3)", "import nowhere", ""]
)
def test_a_package_that_cannot_be_loaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    (tmp_path / "stranger.py").write_text(body)
    info = tmp_path / "stranger_driver-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-driver\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bioreactor.drivers]\nstranger = stranger:KIND\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    with pytest.raises(UnknownKindError, match="the package stranger-driver"):
        find("stranger")


def test_what_cannot_be_in_any_vessel_is_doubted_unless_the_file_knows_better(make: Make) -> None:
    temperature = make(BENCH).equipment.channels["temperature"].plausible
    assert temperature is not None
    assert temperature.low == -5.0
    narrow = BENCH + "\n[channels.temperature.plausible]\nhigh = 60.0\n"
    temperature = make(narrow).equipment.channels["temperature"].plausible
    assert temperature is not None
    assert (temperature.low, temperature.high) == (-5.0, 60.0)
    assert usual(Quantity.OTHER, "mV") is None
