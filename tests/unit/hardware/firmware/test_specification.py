"""The examples of docs/reference/board-protocol.md are what the firmware says."""

import binascii
import re
from pathlib import Path

from hardware.firmware.board import settings
from tests.unit.hardware.firmware.bench import Bench

PAGE = Path("docs/reference/board-protocol.md").read_text("utf-8")
EXAMPLE = re.compile(r"^→ (.*)\n← (.*)$", re.MULTILINE)


def test_every_example_is_what_the_firmware_answers() -> None:
    bench = Bench()
    examples = EXAMPLE.findall(PAGE)
    assert len(examples) == 19
    for request, reply in examples:
        if request.startswith(">19"):
            bench.run(settings.TIMEOUT_MOST)
        assert bench.send(request.encode() + b"\n", wait=400 if "measure" in request else 5) == [
            reply
        ]


def test_the_seals_of_the_examples_are_right() -> None:
    for pair in EXAMPLE.findall(PAGE):
        for line in pair:
            body, _, seal = line.rpartition("*")
            right = f"{binascii.crc_hqx(body.encode(), 0xFFFF):04X}"
            # One request is damaged on purpose.
            assert (seal == right) != (line == ">13 beat*FFFF")


def test_limits_and_times_are_those_of_the_page() -> None:
    for text in (
        f"at most {settings.TIMEOUT_MOST} ms and cannot be switched off",
        f"`%` | 0 to {settings.HEATER_MOST:g}; with a Peltier ",
        f"\N{MINUS SIGN}{settings.COOLER_MOST:g} to {settings.HEATER_MOST:g}, negative",
        f"0, {settings.STIRRER_LEAST:g} to {settings.STIRRER_MOST:g}",
        f"At {settings.CUTOFF:g} °C",
        f"below {settings.CUTOFF_RESET:g} °C",
        f"hangs for {settings.WATCHDOG / 1000:g} s",
        f"{settings.SETTLE} ms later both photodiodes are",
        f"averaged over {settings.SAMPLES} samples",
        f"# The controller board's protocol, version {settings.PROTOCOL}",
    ):
        assert text in PAGE
