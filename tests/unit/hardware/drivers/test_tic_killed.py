"""A host that is killed in the middle of a dose, on an emulated Tic in a process of its own."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hardware.drivers.port_thread import LineSettings
from hardware.drivers.rescue import rescue_line
from hardware.drivers.tic.protocol import (
    MOTION,
    STATUS,
    Command,
    Fault,
    Motion,
    Status,
    answer,
    parse_motion,
    parse_status,
    read_block,
)
from hardware.drivers.tic.rescue import make_safe

HOST = Path(__file__).parent / "tic_host_main.py"
TARGET = 10_000
"""Microsteps of the dose."""


def look(path: Path) -> tuple[Status, Motion]:
    """Ask the Tic as nobody's host: that does not feed its timeout.

    The answer to what the killed host had asked is waited for and left.
    """
    with rescue_line(str(path), LineSettings(), timeout=0.5) as port:
        while port.read(64):
            pass
        port.timeout = 10.0
        port.write(read_block(Command.GET_VARIABLE, STATUS))
        status = parse_status(answer(port.read(9), 8, crc=True))
        port.write(read_block(Command.GET_VARIABLE, MOTION))
        return status, parse_motion(answer(port.read(9), 8, crc=True))


@pytest.mark.parametrize("rescued", [False, True], ids=["by itself", "by the watchdog"])
async def test_a_killed_host_stops_the_pump(tmp_path: Path, rescued: bool) -> None:
    path = tmp_path / "tic"
    emulator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hardware.emulators", "tic", "--link", str(path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert emulator.stdout is not None
        await emulator.stdout.readline()
        host = await asyncio.create_subprocess_exec(
            *(sys.executable, str(HOST), str(path)),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
        assert host.stdout is not None
        assert await host.stdout.readline() == b"on\n"
        await asyncio.sleep(0.4)
        host.kill()
        await host.wait()
        if rescued:
            await asyncio.to_thread(make_safe, str(path), 9600, 1)
        status, motion = await asyncio.to_thread(look, path)
        while motion.velocity and not rescued:
            status, motion = await asyncio.to_thread(look, path)
        assert motion.velocity == 0
        assert 0 < motion.position < TARGET
        stopped_by = Fault.DEENERGIZED if rescued else Fault.COMMAND_TIMEOUT
        assert status.errors & (stopped_by | Fault.SAFE_START) == stopped_by | Fault.SAFE_START
    finally:
        emulator.kill()
        await emulator.wait()
