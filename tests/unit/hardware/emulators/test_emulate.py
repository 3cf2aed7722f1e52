"""The emulator as a process of its own, as `bioreactor emulate` runs it."""

import asyncio
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hardware.clock import RealClock
from hardware.configuration.build import Readings, configure
from hardware.drivers.ezo.link import Pace
from hardware.drivers.ezo.probes import EzoPh
from hardware.drivers.interface import DriverError
from hardware.emulators.bench import FILE
from hardware.emulators.catalogue import CATALOGUE

COMMAND = [sys.executable, "-m", "hardware.emulators"]


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "ezo-ph",
        *("--link", str(tmp_path / "usb"), "--value", "6.5", "--speed", "50"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    yield process
    if process.returncode is None:
        process.kill()
        await process.wait()


async def tell(process: Process, command: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(command.encode() + b"\n")
    return (await process.stdout.readline()).decode().strip()


async def test_a_driver_talks_to_it_and_a_person_too(child: Process, tmp_path: Path) -> None:
    assert child.stdout is not None
    assert (await child.stdout.readline()).decode().strip() == str(tmp_path / "usb")
    pace = Pace(speed=50.0, grace=0.5)
    async with EzoPh("ezo-ph", tmp_path / "usb", {"pH": "ph"}, pace=pace) as driver:
        assert await driver.read() == {"ph": 6.5}
        assert await tell(child, "value 7.25") == "measures 7.25"
        assert await driver.read() == {"ph": 7.25}
        assert await tell(child, "silence") == "silence is on"
        with pytest.raises(DriverError):
            await driver.read()
        assert (await tell(child, "clear")).startswith("no faults")
        assert await driver.read() == {"ph": 7.25}
        assert await tell(child, "power") == "its power was away"
        assert (await tell(child, "value nan")).startswith("say one of: garbage, partial")
    assert child.stdin is not None
    child.stdin.write(b"quit\n")
    assert await child.wait() == 0
    assert not (tmp_path / "usb").is_symlink()


async def test_it_runs_without_anybody_to_talk_to() -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "ezo-ph",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    port = Path((await process.stdout.readline()).decode().strip())
    async with EzoPh("ezo-ph", port, {"pH": "ph"}) as driver:
        assert (await driver.read())["ph"] is not None
    process.terminate()
    _, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")


async def run(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_lists_what_it_can_be() -> None:
    code, output = await run("--list")
    assert code == 0
    for name in CATALOGUE:
        assert name in output
    assert "faults: garbage partial reboot silence slow stuck unplug unsolicited" in output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["ezo-something"], "choose one of: ezo-ph"),
        (["ezo-ph", "--fault", "corrupt"], "cannot have the fault corrupt"),
        (["ezo-ph", "--speed", "0"], "above 0"),
        (["ezo-ph", "--link", __file__], "is a file"),
    ],
)
async def test_says_what_is_wrong(arguments: list[str], why: str) -> None:
    code, output = await run(*arguments)
    assert code == 2
    assert why in output


async def test_the_bench_is_described_to_a_node(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("bench", "--directory", str(tmp_path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    said = [(await process.stdout.readline()).decode().strip() for _ in range(9)]
    assert said[0] == str(tmp_path / "board")
    assert said[-1] == str(tmp_path / FILE)
    configured = configure(
        tmp_path / FILE, clock=RealClock(), directory=tmp_path, readings=Readings()
    )
    (board,) = (driver for driver in configured.drivers if driver.name == "board")
    async with board:
        await board.write("light", 30.0)
        assert (await board.read())["od"] is not None
        assert await tell(process, "board unplug") == "unplug is on"
        assert (await tell(process, "nowhere unplug")).startswith("say a device")
        assert (await tell(process, "board clear")).startswith("no faults")
    process.stdin.write(b"quit\n")
    assert await process.wait() == 0
    assert not (tmp_path / "board").is_symlink()
