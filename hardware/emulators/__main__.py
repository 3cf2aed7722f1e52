"""``python -m hardware.emulators DEVICE``: a device on a pseudo terminal, to develop against.

It prints the port's name, then takes a command a line from its standard input: a fault's name
switches that on, ``clear`` all of them off, ``value 6.9`` changes what is measured, ``reboot``
takes its power away and gives it back, ``quit`` ends it, as Ctrl-C does.
"""

import argparse
import asyncio
import math
import signal
import sys
from pathlib import Path

from hardware.emulators.catalogue import CATALOGUE
from hardware.emulators.emulator import Constant, EmulatedDevice, Emulator
from hardware.emulators.faults import Fault


def main() -> None:
    """Emulate a device until told to stop."""
    parser = argparse.ArgumentParser(
        "bioreactor emulate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("device", nargs="?", metavar="DEVICE", help="; ".join(CATALOGUE))
    parser.add_argument("--list", action="store_true", help="list devices and their faults")
    parser.add_argument("--link", type=Path, metavar="PATH", help="a stable name for the port")
    parser.add_argument("--value", type=float, metavar="X", help="what it measures")
    parser.add_argument("--speed", type=float, default=1.0, help="its seconds in a real one")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME", help="switch a fault on"
    )
    options = parser.parse_args()
    if options.list:
        _list()
        return
    entry = CATALOGUE.get(options.device)
    if entry is None:
        parser.error(f"choose one of: {', '.join(CATALOGUE)}")
    if not 0 < options.speed < math.inf:
        parser.error("the speed must be above 0")
    if options.link is not None and options.link.exists() and not options.link.is_symlink():
        parser.error(f"{options.link} is a file: choose another --link")
    source = Constant(entry.value if options.value is None else options.value)
    device = entry.make(source)
    if unknown := set(options.fault) - device.known_faults:
        parser.error(f"{options.device} cannot have the fault {min(unknown)}; see --list")
    emulator = Emulator(device, link=options.link, speed=options.speed)
    asyncio.run(_run(emulator, source, [Fault(name) for name in options.fault]))


def _list() -> None:
    nothing = Constant(0.0)
    for name, entry in CATALOGUE.items():
        faults = sorted(entry.make(nothing).known_faults)
        unit = f"  value in {entry.unit}, {entry.value:g} if not said" if entry.unit else ""
        print(f"{name:12}{entry.what}{unit}\n{'':12}faults: {' '.join(faults)}")  # noqa: T201


async def _run(emulator: Emulator, source: Constant, faults: list[Fault]) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with emulator:
        for fault in faults:
            emulator.inject(fault)
        _say(f"{emulator.path}")
        listening = asyncio.create_task(_listen(emulator, source, ended), name="standard input")
        await ended.wait()
        listening.cancel()
        await asyncio.wait([listening])


async def _listen(emulator: Emulator, source: Constant, ended: asyncio.Event) -> None:
    """Do what the standard input says; without one, nothing."""
    reader = asyncio.StreamReader()
    try:
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
    except ValueError:  # a file: there is nobody to talk to
        return
    while line := await reader.readline():
        answer = _obey(emulator, source, line.decode("utf-8", "replace").split())
        if answer is None:
            ended.set()
            return
        _say(answer)


def _obey(emulator: Emulator, source: Constant, words: list[str]) -> str | None:
    """Do one command; return what to say, None to end."""
    match words:
        case ["quit"]:
            return None
        case ["clear"]:
            emulator.clear()
            return f"no faults; {emulator.path}"
        case ["reboot"]:
            emulator.reboot()
            return "rebooted"
        case ["value", text] if _is_number(text):
            source.value = float(text)
            return f"measures {source.value:g}"
        case [name] if name in emulator.device.known_faults:
            emulator.inject(Fault(name))
            return f"{name} is on"
        case _:
            return f"say one of: {_words(emulator.device)}"


def _words(device: EmulatedDevice) -> str:
    return ", ".join([*sorted(device.known_faults), "clear", "reboot", "value X", "quit"])


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
