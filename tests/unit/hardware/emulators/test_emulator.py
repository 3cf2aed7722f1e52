import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hardware.drivers.transport import Backoff, SerialPort
from hardware.emulators.emulator import Emulator
from hardware.emulators.faults import Fault
from tests.unit.hardware.emulators.echo import Echo


@pytest.fixture
async def echo(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(Echo(), link=tmp_path / "usb-echo", speed=100.0) as emulator:
        yield emulator


async def heard(echo: Emulator, text: bytes, seconds: float = 0.1) -> bytes:
    """What comes back when this is said."""
    port = SerialPort(echo.path, backoff=Backoff(0.005, 0.02))
    async with port, port.exchange(5.0) as line:
        await line.write(text)
        return await line.quiet(seconds)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.SILENCE, b""),
        (Fault.PARTIAL, b"HE"),
        (Fault.UNSOLICITED, b"*HELLO\rHELLO\r"),
        (Fault.REBOOT, b"*BOOT\r"),
        (Fault.STUCK, b"HELLO\r"),
    ],
)
async def test_faults_are_heard_on_the_line(echo: Emulator, fault: Fault, expected: bytes) -> None:
    echo.inject(fault)
    assert (await heard(echo, b"hello\r"))[: len(expected) or None] == expected
    echo.clear()
    assert await heard(echo, b"hello\r") == b"HELLO\r"


async def test_garbage_comes_before_what_is_said(echo: Emulator) -> None:
    echo.inject(Fault.GARBAGE)
    answer = await heard(echo, b"hello\r")
    assert answer.endswith(b"HELLO\r")
    assert len(answer) > len(b"HELLO\r")


async def test_a_corrupt_answer_differs_in_one_bit(echo: Emulator) -> None:
    echo.inject(Fault.CORRUPT)
    answer = await heard(echo, b"hello\r")
    assert sum((a ^ b).bit_count() for a, b in zip(answer, b"HELLO\r", strict=True)) == 1


async def test_slow_answers_stay_in_order(echo: Emulator) -> None:
    echo.inject(Fault.SLOW)
    assert await heard(echo, b"1\r2\r3\r4\r5\r", 0.2) == b"1\r2\r3\r4\r5\r"


async def test_a_fault_strikes_as_often_as_it_was_told_to(echo: Emulator) -> None:
    echo.inject(Fault.SILENCE, times=2)
    assert await heard(echo, b"1\r2\r3\r") == b"3\r"


async def test_stuck_holds_what_was_measured_first(echo: Emulator) -> None:
    device = echo.device
    assert isinstance(device, Echo)
    echo.inject(Fault.STUCK)
    assert await heard(echo, b"?\r") == b"1.0\r"
    device.source.value = 2.0
    assert await heard(echo, b"?\r") == b"1.0\r"
    echo.clear()
    assert await heard(echo, b"?\r") == b"2.0\r"


async def test_unplugged_there_is_no_port(echo: Emulator) -> None:
    echo.inject(Fault.UNPLUG)
    assert not echo.path.is_symlink()
    echo.clear()
    assert await heard(echo, b"hello\r") == b"HELLO\r"


async def test_the_link_goes_with_the_emulator_and_a_foreign_one_stays(tmp_path: Path) -> None:
    link = tmp_path / "usb"
    async with Emulator(Echo(), link=link):
        assert link.readlink().is_relative_to("/dev/pts")
    assert not link.is_symlink()
    async with Emulator(Echo(), link=link):
        link.unlink()
        link.symlink_to("/dev/null")
    assert link.readlink() == Path("/dev/null")


async def test_device_time_is_scaled(echo: Emulator) -> None:
    loop = asyncio.get_running_loop()
    started, happened = loop.time(), loop.create_future()
    echo.later(5.0, lambda: happened.set_result(echo.now()))
    before = echo.now()
    assert await happened - before >= 4.9
    assert loop.time() - started < 1.0


async def test_a_fault_that_the_device_cannot_have_is_refused(echo: Emulator) -> None:
    class Plain(Echo):
        known_faults = frozenset({Fault.SILENCE})

    async with Emulator(Plain()) as plain:
        with pytest.raises(ValueError, match="corrupt"):
            plain.inject(Fault.CORRUPT)
