"""``python -m hardware.emulators DEVICE``: a device on a pseudo terminal, to develop against.

It prints the port's name, then takes a command a line from its standard input: a fault's name
switches that on, ``clear`` all of them off, ``value 6.9`` changes what is measured, ``power``
takes its power away and gives it back, ``quit`` ends it, as Ctrl-C does.

``bench --directory DIR`` is a whole reactor, its devices around one simulated vial, and the
``reactor.toml`` that describes it to a node; a command begins with the device's name there:
``board unplug``.
"""

import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hardware.emulators.bench import Bench
from hardware.emulators.catalogue import CATALOGUE
from hardware.emulators.emulator import Constant, EmulatedDevice, Emulator
from hardware.emulators.faults import Fault

BENCH: Final = "bench"
DEVICES: Final = (*CATALOGUE, BENCH)


def main() -> None:
    """Emulate a device until told to stop."""
    parser = argparse.ArgumentParser(
        "bioreactor emulate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("device", nargs="?", metavar="DEVICE", help="; ".join(DEVICES))
    parser.add_argument("--list", action="store_true", help="list devices and their faults")
    parser.add_argument("--link", type=Path, metavar="PATH", help="a stable name for the port")
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="for the bench's ports and file"
    )
    parser.add_argument("--value", type=float, metavar="X", help="what it measures")
    parser.add_argument("--speed", type=float, default=1.0, help="its seconds in a real one")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME", help="switch a fault on"
    )
    options = parser.parse_args()
    if options.list:
        _list()
        return
    if options.device not in DEVICES:
        parser.error(f"choose one of: {', '.join(DEVICES)}")
    if not 0 < options.speed < math.inf:
        parser.error("the speed must be above 0")
    if options.device == BENCH:
        if options.directory is None:
            parser.error("say where its ports shall be: --directory DIR")
        if options.speed != 1:
            parser.error("the bench runs at speed 1: its board counts real seconds")
        asyncio.run(_run_bench(options.directory))
        return
    entry = CATALOGUE[options.device]
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
    async with emulator:
        for fault in faults:
            emulator.inject(fault)
        _say(f"{emulator.path}")
        await _until_told(lambda words: _obey(emulator, source, words))


async def _run_bench(directory: Path) -> None:
    async with Bench(directory) as bench:
        for emulator in bench.emulators.values():
            _say(f"{emulator.path}")
        _say(f"{bench.file}")
        await _until_told(lambda words: _obey_bench(bench, words))


async def _until_told(obey: Callable[[list[str]], str | None]) -> None:
    """Do what the standard input says until that, or a signal, ends it."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    listening = asyncio.create_task(_listen(obey, ended), name="standard input")
    await ended.wait()
    listening.cancel()
    await asyncio.wait([listening])


async def _listen(obey: Callable[[list[str]], str | None], ended: asyncio.Event) -> None:
    """Do what the standard input says; without one, nothing."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    try:
        loop.add_reader(sys.stdin, lambda: None)  # tells at once whether it can be waited for
    except (PermissionError, ValueError):  # /dev/null, a file, or closed: nobody to talk to
        return
    loop.remove_reader(sys.stdin)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        answer = obey(line.decode("utf-8", "replace").split())
        if answer is None:
            ended.set()
            return
        _say(answer)


def _obey_bench(bench: Bench, words: list[str]) -> str | None:
    """Do one command to a device of the bench; return what to say, None to end."""
    match words:
        case ["quit"]:
            return None
        case [name, *rest] if name in bench.emulators and rest[:1] not in (["quit"], ["value"]):
            return _obey(bench.emulators[name], Constant(0.0), rest)
        case _:
            return f"say a device and what to do: {', '.join(bench.emulators)}; or quit"


def _obey(emulator: Emulator, source: Constant, words: list[str]) -> str | None:
    """Do one command; return what to say, None to end."""
    match words:
        case ["quit"]:
            return None
        case ["clear"]:
            emulator.clear()
            return f"no faults; {emulator.path}"
        case ["power"]:
            emulator.reboot()
            return "its power was away"
        case ["value", text] if _is_number(text):
            source.value = float(text)
            return f"measures {source.value:g}"
        case [name] if name in emulator.device.known_faults:
            emulator.inject(Fault(name))
            return f"{name} is on"
        case _:
            return f"say one of: {_words(emulator.device)}"


def _words(device: EmulatedDevice) -> str:
    return ", ".join([*sorted(device.known_faults), "clear", "power", "value X", "quit"])


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
