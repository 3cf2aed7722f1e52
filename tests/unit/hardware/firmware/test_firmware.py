import os
import select

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from hardware.emulators.chip import Chip
from hardware.firmware.board import quantity, settings
from hardware.firmware.board.controller import Controller, run
from hardware.firmware.board.line import MAX_LINE, Reader, crc16, opened, sealed
from hardware.firmware.board.outputs import Peltier, make
from hardware.firmware.board.thermometer import celsius
from hardware.firmware.board.usb import UsbPort
from tests.unit.hardware.firmware.bench import Bench, Ticks, Wire

OFF = {"heater": 0.0, "stirring": 0.0, "light": 0.0, "led": 0.0}
BROKEN, SHORT = 1.0, 0.0
HOT, WARM, COOL = 0.26, 0.28, 0.305
"""Parts of the supply at the thermistor at 50.6, 47.9 and 44.6 °C."""


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def live(bench: Bench) -> Bench:
    bench.ask("hello 1 2000ms")
    return bench


def test_everything_is_off_at_power_up(bench: Bench) -> None:
    assert bench.driven() == OFF
    assert bench.fields("read")["state"] == "unarmed"


@pytest.mark.parametrize("request_", ["set heater 10%", "set light 10%", "beat"])
def test_nothing_goes_on_before_a_host_greets(bench: Bench, request_: str) -> None:
    assert bench.ask(request_) == "error unarmed"
    assert bench.driven() == OFF


def test_outputs_are_driven_as_set(live: Bench) -> None:
    live.ask("set heater 35.0%")
    live.ask("set stirring 250rpm")
    live.ask("set light 100%")
    assert live.driven() == {"heater": 0.35, "stirring": 0.25, "light": 1.0, "led": 0.0}
    live.ask("set heater 0%")
    assert live.driven()["heater"] == 0.0
    live.ask("off")
    assert live.driven() == OFF


def test_a_new_host_finds_everything_off(live: Bench) -> None:
    live.ask("set light 100%")
    live.ask("hello 1 500ms")
    assert live.driven() == OFF


def test_outputs_go_off_when_the_host_is_silent_and_stay_off(live: Bench) -> None:
    live.ask("set heater 35.0%")
    live.ask("set stirring 250rpm")
    live.run(settings.TIMEOUT_MOST - 100)
    assert live.driven()["heater"] == 0.35
    live.run(100)
    assert live.driven() == OFF
    assert live.ask("beat") == "error lost"
    assert live.ask("set stirring 250rpm") == "error lost"
    assert live.driven() == OFF
    assert live.ask("set stirring 0rpm") == "ok stirring=0rpm"
    live.ask("hello 1 2000ms")
    live.ask("set stirring 250rpm")
    assert live.driven()["stirring"] == 0.25


def test_beats_keep_outputs_on_and_watching_does_not(live: Bench) -> None:
    live.ask("set heater 35.0%")
    for _ in range(5):
        live.run(1500)
        assert live.ask("beat") == "ok"
    assert live.driven()["heater"] == 0.35
    for _ in range(4):
        live.run(500)
        live.ask("read")
    assert live.driven() == OFF


def test_a_shorter_timeout_is_kept(bench: Bench) -> None:
    bench.ask("hello 1 200ms")
    bench.ask("set light 1%")
    bench.run(190)
    assert bench.driven()["light"] > 0
    bench.run(20)
    assert bench.driven() == OFF


def test_the_heater_is_cut_when_it_is_too_hot(live: Bench) -> None:
    live.ask("set heater 70%")
    live.ask("set stirring 250rpm")
    live.thermistor = HOT
    live.run(110)
    assert live.driven()["heater"] == 0.0
    assert live.driven()["stirring"] == 0.25
    assert live.ask("set heater 5%") == "error hot below=47.0C"
    live.thermistor = WARM
    live.run(110)
    assert live.fields("read")["hot"] == "1"
    assert live.ask("set heater 5%") == "error hot below=47.0C"
    live.thermistor = COOL
    live.run(110)
    assert live.driven()["heater"] == 0.0
    assert live.ask("set heater 5%") == "ok heater=5.0%"


@pytest.mark.parametrize("part", [BROKEN, SHORT])
def test_the_heater_is_cut_without_a_temperature(live: Bench, part: float) -> None:
    live.ask("set heater 70%")
    live.thermistor = part
    live.run(110)
    assert live.driven()["heater"] == 0.0
    assert live.fields("read")["temperature"] == "-"
    assert live.ask("set heater 5%") == "error temperature"
    assert live.ask("set heater 0%") == "ok heater=0.0%"


def test_a_peltier_cools_within_its_cap() -> None:
    driven: list[tuple[int, float]] = []
    chip = Chip(lambda _number: 0.5, lambda number, part: driven.append((number, part)))
    heater = make(chip, direction=20)["heater"]
    assert isinstance(heater, Peltier)
    assert heater.allows(-10.0)
    assert not heater.allows(-10.1)
    heater.set(70.0)
    driven.clear()
    heater.set(-10.0)
    # Never switched over under current.
    assert driven == [(settings.HEATER_PIN, 0.0), (20, 1.0), (settings.HEATER_PIN, 6554 / 65535)]
    heater.off()
    assert chip.driven[settings.HEATER_PIN] == 0.0
    assert chip.driven[20] == 0.0


def test_a_measurement_is_corrected_for_the_dark(live: Bench) -> None:
    fields = live.fields("measure", wait=400)
    assert float(fields["signal"][:-2]) == pytest.approx(0.4 * 3300, abs=1.5)
    assert float(fields["reference"][:-2]) == pytest.approx(0.6 * 3300, abs=1.5)
    assert float(fields["dark"][:-2]) == pytest.approx(0.01 * 3300, abs=1.5)
    assert fields["clipped"] == "0"
    live.signal = 1.0
    assert live.fields("measure", wait=400)["clipped"] == "1"


def test_the_light_is_blank_while_it_measures(live: Bench) -> None:
    live.ask("set light 50%")
    live.send(sealed(">1 measure"), wait=50)
    assert live.driven()["light"] == 0.0
    assert live.driven()["led"] == 1.0
    assert live.ask("measure") == "error busy"
    assert live.ask("read").startswith("ok ")
    live.run(300)
    assert live.driven()["light"] == 0.5
    assert live.driven()["led"] == 0.0


def test_a_lost_host_ends_a_measurement(live: Bench) -> None:
    live.run(settings.TIMEOUT_MOST - 50)
    lines = live.send(sealed(">7 measure"), wait=400)
    assert lines == [sealed("<7 error lost").decode().strip()]
    assert live.driven() == OFF


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        ("", "error verb"),
        ("hello", "error arguments wanted=2"),
        ("hello 1 100ms", "error range least=200ms most=2000ms"),
        ("hello 1 2s", "error unit wanted=ms"),
        ("set light 1e2%", "error unit wanted=%"),
        ("set light nan%", "error number"),
        ("set light -1%", "error range"),
        ("set stirring 49rpm", "error range"),
        ("set light 1..0%", "error number"),
        ("set light 1.%", "error number"),
        ("set light 9999999%", "error number"),
        ("set  light 1%", "error arguments wanted=2"),
    ],
)
def test_what_is_wrong_is_said(live: Bench, request_: str, reply: str) -> None:
    assert live.ask(request_) == reply
    assert live.driven() == OFF


def test_the_line_finds_its_way_back(live: Bench) -> None:
    good = sealed(">9 beat")
    answer = sealed("<9 ok").decode().strip()
    for noise in (b"\x00\xff>", b">1 set light 5", b">" * 500, b"x" * 500, b">" + b"a" * 500):
        assert live.send(noise + good) == [answer]
    assert live.send(good[:-3]) == []
    assert live.send(good[-3:]) == [answer]
    assert live.send(good.replace(b"\n", b"\r\n")) == [answer]
    assert live.send(good + good) == [answer, answer]


def test_damage_is_counted(live: Bench) -> None:
    live.send(b">1 beat*0000\n")
    live.send(b">1 be" + sealed(">2 beat"))
    assert live.fields("read")["damaged"] == "2"


def test_the_check_value_of_the_seal() -> None:
    assert crc16(b"123456789") == 0x29B1


@given(st.integers(0, 65535), st.lists(st.from_regex(r"[a-z0-9.%=-]{1,9}", fullmatch=True)))
def test_what_is_sealed_is_opened(number: int, words: list[str]) -> None:
    text = " ".join([f">{number}", *words])
    assert opened(sealed(text)[:-1]) == (number, words)


@given(st.binary(max_size=200))
def test_random_bytes_are_never_obeyed(data: bytes) -> None:
    reader = Reader()
    for line in reader.feed(data):
        assert len(line) < MAX_LINE
        assert opened(line) is None or line in data


@given(st.text(max_size=12))
def test_a_quantity_is_a_plain_number(text: str) -> None:
    found = quantity.parse(text)
    if found is not None:
        assert abs(found[0]) < 1e6
        assert text.endswith(found[1])


@given(st.floats(-999999, 999999), st.sampled_from(["%", "rpm", "C"]))
def test_a_quantity_survives_its_text(value: float, unit: str) -> None:
    found = quantity.parse(quantity.show(value, unit, 3))
    assert found is not None
    assert found[0] == pytest.approx(value, abs=0.00051)
    assert found[1] == unit


@given(st.floats(0.0, 1.0))
def test_a_temperature_is_possible_or_unknown(part: float) -> None:
    value = celsius(part)
    assert value is None or -60 < value < 180


_WORDS = st.sampled_from(
    [
        "hello 1 2000ms",
        "hello 1 200ms",
        "beat",
        "off",
        "read",
        "measure",
        "set heater 70%",
        "set heater 0%",
        "set stirring 1000rpm",
        "set light 100%",
        "set heater 999%",
        "nonsense",
    ]
)
_STEPS = st.one_of(
    _WORDS.map(lambda words: sealed(f">1 {words}")),
    st.binary(max_size=40),
    st.integers(1, 3000),
    st.sampled_from([0.5, HOT, WARM, BROKEN]),
)


@effort(max_examples=60)
@given(st.lists(_STEPS, max_size=25))
def test_whatever_comes_the_outputs_obey_the_limits(steps: list[bytes | int | float]) -> None:
    bench = Bench()
    silent = 0
    for step in steps:
        if isinstance(step, bytes):
            said = bench.send(step, wait=2)
            feeding = not any(verb in step for verb in (b"read", b"measure", b"off"))
            fed = feeding and any(" ok" in line for line in said)
            silent = 0 if fed else silent + 2
        elif isinstance(step, int):
            bench.run(step)
            silent += step
        else:
            bench.thermistor = step
            bench.run(110)
            silent += 110
        driven = bench.driven()
        assert driven["heater"] <= settings.HEATER_MOST / 100
        if bench.thermistor in {HOT, BROKEN}:
            assert driven["heater"] == 0
        if silent >= settings.TIMEOUT_MOST + 2:
            # Measuring is allowed to anybody: its light goes off by itself.
            assert {**driven, "led": 0.0} == OFF


def test_the_usb_port_never_waits() -> None:
    """It is standard input and output on the board; here the two ends of pipes."""
    host_in, host_out = os.pipe()
    board_in, board_out = os.pipe()
    with (
        os.fdopen(board_in, "rb", buffering=0) as source,
        os.fdopen(host_out, "wb", buffering=0) as sink,
        os.fdopen(board_out, "wb", buffering=0) as host,
        os.fdopen(host_in, "rb", buffering=0) as answers,
    ):
        poll = select.poll()
        poll.register(source, select.POLLIN)
        port = UsbPort(source, sink, poll)
        assert port.read() == b""
        host.write(b">1 beat\x03\xff")
        assert port.read() == b">1 beat\x03\xff"
        assert port.read() == b""
        host.write(b"x" * 600)
        assert [len(port.read()) for _ in range(4)] == [256, 256, 88, 0]
        port.write(b"<1 ok")
        assert answers.read(64) == b"<1 ok"


def test_the_watchdog_is_fed_by_the_loop_alone() -> None:
    """A firmware that hangs anywhere in a step is reset, which switches everything off."""
    bench = Bench()
    steps = 0

    class EndOfTestError(Exception):
        """The loop has no other end."""

    def idle() -> None:
        nonlocal steps
        steps += 1
        assert chip.watchdog is not None
        assert chip.watchdog.fed == steps
        if steps == 50:
            raise EndOfTestError

    chip = Chip(lambda _number: 0.5, idle=idle)
    with pytest.raises(EndOfTestError):
        run(chip, bench.ticks, bench.wire)
    assert chip.watchdog is not None
    assert chip.watchdog.timeout == settings.WATCHDOG


def test_a_board_says_that_its_watchdog_bit() -> None:
    wire, ticks = Wire(), Ticks()
    controller = Controller(Chip(lambda _: 0.5, cause=Chip.WDT_RESET), ticks, wire)
    wire.coming = sealed(">1 hello 1 2000ms")
    controller.step()
    assert b" reset=watchdog " in wire.said
