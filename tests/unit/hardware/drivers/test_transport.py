import asyncio
import errno
import fcntl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hardware.drivers.transport import (
    Backoff,
    LineSettings,
    PortError,
    PortLostError,
    PortTimeoutError,
    PortUnavailableError,
    SerialPort,
)
from hardware.emulators.emulator import Emulator
from hardware.emulators.faults import Fault
from tests.support.waiting import eventually
from tests.unit.hardware.emulators.echo import Echo

FAST = Backoff(first=0.005, longest=0.02)

HOLDER = """
import asyncio, sys
from pathlib import Path
from hardware.drivers.transport import SerialPort

async def main():
    async with SerialPort(Path(sys.argv[1])):
        print("open", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def echo(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(Echo(), link=tmp_path / "by-id" / "usb-echo", speed=20.0) as emulator:
        yield emulator


@pytest.fixture
async def port(echo: Emulator) -> AsyncIterator[SerialPort]:
    async with SerialPort(echo.path, backoff=FAST) as port:
        yield port


async def ask(port: SerialPort, text: bytes, seconds: float = 2.0) -> bytes:
    async with port.exchange(seconds) as line:
        line.discard()
        await line.write(text + b"\r")
        return await line.read_line()


async def test_says_and_hears(port: SerialPort) -> None:
    assert await ask(port, b"hello") == b"HELLO"
    assert port.connected
    assert (port.counters.sent, port.counters.received) == (6, 6)


async def test_every_byte_passes_unchanged(port: SerialPort, echo: Emulator) -> None:
    everything = bytes(range(256))
    async with port.exchange(2.0) as line:
        echo.send(everything)
        assert await line.read_exactly(256) == everything
        await line.write(everything[:13])
    device = echo.device
    assert isinstance(device, Echo)
    await eventually(lambda: device.heard == everything[:13])


async def test_exchanges_do_not_mix(port: SerialPort) -> None:
    words = [f"word-{number}".encode() for number in range(20)]
    assert await asyncio.gather(*(ask(port, word) for word in words)) == [
        word.upper() for word in words
    ]


async def test_what_comes_while_nobody_reads_is_kept(port: SerialPort, echo: Emulator) -> None:
    waiting = asyncio.ensure_future(port.arrival())
    echo.send(b"*DONE\r")
    await waiting
    async with port.exchange(1.0) as line:
        assert await line.read_line() == b"*DONE"


async def test_silence_ends_at_the_deadline(port: SerialPort, echo: Emulator) -> None:
    echo.inject(Fault.SILENCE)
    started = time.monotonic()
    with pytest.raises(PortTimeoutError, match="did not answer within"):
        await ask(port, b"hello", seconds=0.1)
    assert time.monotonic() - started < 10.0
    assert port.counters.timeouts == 1
    echo.clear()
    assert await ask(port, b"again") == b"AGAIN"


async def test_one_deadline_for_all_of_an_exchange(port: SerialPort, echo: Emulator) -> None:
    """A device that trickles bytes keeps nobody for longer."""

    async def trickle() -> None:
        while True:
            echo.send(b"x")
            await asyncio.sleep(0.01)

    trickling = asyncio.ensure_future(trickle())
    try:
        with pytest.raises(PortTimeoutError):
            async with port.exchange(0.15) as line:
                await line.read_line()
    finally:
        trickling.cancel()


async def test_a_cancelled_exchange_leaves_the_line_to_others(
    port: SerialPort, echo: Emulator
) -> None:
    echo.inject(Fault.SILENCE, times=1)
    asking = asyncio.ensure_future(ask(port, b"hello", seconds=60.0))
    await eventually(lambda: port.counters.sent > 0)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert await ask(port, b"again") == b"AGAIN"


async def test_a_line_without_end_is_skipped(port: SerialPort, echo: Emulator) -> None:
    async with port.exchange(2.0) as line:
        echo.send(b"\xff" * 3000 + b"\r" + b"7.00\r")
        assert await line.read_line() == b"7.00"
    assert port.counters.discarded == 3001


async def test_nothing_piles_up_while_nobody_reads(port: SerialPort, echo: Emulator) -> None:
    sent = 0
    while sent < 80_000:
        echo.send(b"0123456789" * 100)
        sent += 1000
        await asyncio.sleep(0.001)
    await eventually(lambda: port.counters.received > 65_536 + 5_000)
    async with port.exchange(2.0) as line:
        assert len(line.pending()) == 65_536


async def test_quiet_finds_the_end_of_a_burst(port: SerialPort, echo: Emulator) -> None:
    async with port.exchange(2.0) as line:
        echo.send(b"\x00\xff")
        asyncio.get_running_loop().call_later(0.02, echo.send, b"noise")
        assert await line.quiet(0.2) == b"\x00\xffnoise"


async def test_unplugged_under_way(port: SerialPort, echo: Emulator) -> None:
    asking = asyncio.ensure_future(ask(port, b"?", seconds=5.0))
    echo.inject(Fault.SILENCE)
    await eventually(lambda: port.counters.sent > 0)
    echo.unplug()
    with pytest.raises(PortLostError, match="is gone"):
        await asking
    assert not port.connected
    with pytest.raises(PortError):
        await ask(port, b"hello")


async def test_plugged_in_again_it_is_found_by_its_stable_name(
    port: SerialPort, echo: Emulator
) -> None:
    before, epoch = echo.path.readlink(), port.epoch
    echo.unplug()
    await eventually(lambda: not port.connected)
    blocker = Emulator(Echo())  # takes the old terminal's number
    async with blocker:
        echo.plug()
        assert echo.path.readlink() != before
        await eventually(lambda: port.connected)
    assert port.epoch == epoch + 1
    assert await ask(port, b"hello") == b"HELLO"


async def test_an_exchange_does_not_go_on_with_another_opening(
    port: SerialPort, echo: Emulator
) -> None:
    epoch = port.epoch
    async with port.exchange(5.0) as line:
        echo.unplug()
        echo.plug()
        await eventually(lambda: port.epoch > epoch)
        with pytest.raises(PortLostError):
            await line.write(b"dose\r")


async def test_waiting_for_a_port_backs_off(tmp_path: Path) -> None:
    port = SerialPort(tmp_path / "nothing", backoff=Backoff(0.01, 0.08), open_within=0.5)
    with pytest.raises(PortUnavailableError, match="is the device plugged in"):
        async with port:
            pass
    assert 5 <= port.counters.losses <= 12


async def test_what_is_no_serial_port_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no port")
    with pytest.raises(PortUnavailableError, match="cannot be opened as a serial port"):
        async with SerialPort(tmp_path / "file", backoff=FAST, open_within=0.1):
            pass


async def test_a_baud_rate_that_there_is_not_is_refused(echo: Emulator) -> None:
    with pytest.raises(PortUnavailableError, match="cannot be opened"):
        async with SerialPort(echo.path, LineSettings(-5), backoff=FAST, open_within=0.1):
            pass


async def test_nobody_else_opens_it(port: SerialPort) -> None:
    with pytest.raises(PortUnavailableError, match="in use by another program"):
        async with SerialPort(port.path, backoff=FAST, open_within=0.1):
            pass
    with port.path.open("rb", buffering=0) as file, pytest.raises(OSError) as refused:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert refused.value.errno == errno.EAGAIN


async def test_a_killed_process_gives_its_port_free(echo: Emulator) -> None:
    """The watchdog opens the ports of a node that was killed."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(echo.path), stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"open\n"
    second = SerialPort(echo.path, backoff=FAST, open_within=5.0)
    opening = asyncio.ensure_future(second.__aenter__())
    await eventually(lambda: second.counters.losses > 0)
    holder.kill()
    await holder.wait()
    await opening
    try:
        assert await ask(second, b"safe") == b"SAFE"
    finally:
        await second.__aexit__(None, None, None)


async def test_closing_ends_whoever_waits(echo: Emulator) -> None:
    async with SerialPort(echo.path, backoff=FAST) as port:
        assert await ask(port, b"hello") == b"HELLO"
        waiting = asyncio.ensure_future(port.arrival())
        await asyncio.sleep(0)
    with pytest.raises(PortLostError, match="was closed"):
        await waiting
    with pytest.raises(PortError):
        await ask(port, b"hello")


async def test_opens_again_after_closing(echo: Emulator) -> None:
    port = SerialPort(echo.path, backoff=FAST)
    for _ in range(3):
        async with port:
            assert await ask(port, b"hello") == b"HELLO"


async def test_a_device_that_takes_nothing_does_not_hold_the_loop(
    port: SerialPort, echo: Emulator
) -> None:
    echo.deafen()
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    beating = asyncio.ensure_future(beat())
    with pytest.raises(PortError):
        async with port.exchange(3.0) as line:
            await line.write(b"x" * 1_000_000)
    beating.cancel()
    assert beats > 30  # of the second after which the port counts as lost
