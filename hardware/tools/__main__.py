"""``bioreactor hardware``: look at the devices of a `reactor.toml`."""

import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hardware.calibration.curve import CalibrationError
from hardware.calibration.record import CalibrationBook, CalibrationFileError
from hardware.configuration.build import CALIBRATIONS, Configured, Readings
from hardware.configuration.document import ConfigurationError
from hardware.configuration.kinds import UnknownKindError, find, known
from hardware.drivers.interface import DriverError
from hardware.tools.calibrating import Bench, report
from hardware.tools.calibrating import calibrate as run
from hardware.tools.monitoring import monitor as watch
from hardware.tools.probing import Probed, configured, probe
from hardware.workbench import Workbench

WRONG = 78
"""Exit status of a file that cannot be used (EX_CONFIG)."""

app = typer.Typer(
    name="bioreactor hardware",
    help="Look at the devices of a reactor.toml. To look at them the node must not run: it holds "
    "the ports.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
File = Annotated[Path, typer.Argument(help="The reactor.toml.", show_default=False)]
Directory = Annotated[
    Path, typer.Option(help="The node's folder of devices: data_dir/devices of its settings.")
]
DEVICES = Path("/var/lib/bioreactor/node/devices")
out = Console()


@app.command()
def check(
    file: File,
    devices: Annotated[bool, typer.Option(help="Ask them, or read the file alone.")] = True,
) -> None:
    """Read the file, probe every device, and say what is wrong. Nothing is moved."""
    with tempfile.TemporaryDirectory() as scratch:
        reactor, _ = _configured(file, Path(scratch))
        if not devices:
            out.print(f"{file} can be read; no device was asked.", soft_wrap=True)
            return
        found = asyncio.run(probe(reactor))
    table = Table("device", "driver", "state", "says")
    for one in found:
        state = "[red]not well[/]" if one.error else "[green]answers[/]"
        table.add_row(one.device, one.driver, state, one.error or _said(one))
    out.print(table)
    bad = [one.device for one in found if one.error]
    if bad:
        out.print(f"[red]{len(bad)} of {len(found)} devices are not well:[/] {', '.join(bad)}")
        raise typer.Exit(1)
    out.print(f"All {len(found)} devices answer; {file} can be used.")


@app.command()
def monitor(
    file: File,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="End after so many readings.", show_default="never")
    ] = None,
) -> None:
    """Show what every device measures, live. Ctrl-C ends it."""
    with tempfile.TemporaryDirectory() as scratch:
        reactor, readings = _configured(file, Path(scratch))
        try:
            board = asyncio.run(watch(reactor, readings, out, rounds=rounds))
        except KeyboardInterrupt:
            return
    if rounds is not None and board.errors:
        raise typer.Exit(1)


@app.command()
def calibrate(
    file: File,
    channel: Annotated[str, typer.Argument(help="Which channel.", show_default=False)],
    directory: Directory = DEVICES,
    degree: Annotated[int, typer.Option(min=1, max=3, help="Of the curve.")] = 1,
    note: Annotated[str, typer.Option(help="Who, with which standards.")] = "",
) -> None:
    """Calibrate a channel step by step: standards, buffers, or a pump on a scale."""
    reactor, readings = _configured(file, directory, raw=True)
    readings.come_from(lambda _: None)
    bench = Bench(reactor, channel, lambda: datetime.now(UTC))
    person = Terminal()
    try:
        made = replace(asyncio.run(run(bench, person, degree=degree)), note=note)
        for line in report(made):
            out.print(line, highlight=False)
        if not typer.confirm("Keep it?", default=True):
            out.print("Nothing was kept.")
            raise typer.Exit(1)
        path = CalibrationBook(directory / CALIBRATIONS).keep(made)
    except (CalibrationError, DriverError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    out.print(f"Kept as {path}; the node uses it as soon as no experiment runs.")


@app.command()
def new_vial(
    file: File,
    ml: Annotated[
        float | None, typer.Option(help="What it holds, mL.", show_default="filled of [vessel]")
    ] = None,
    directory: Directory = DEVICES,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the node.")] = 12.0,
) -> None:
    """Say that another vial is in, where no sensor measures its volume. The node may run."""
    with tempfile.TemporaryDirectory() as scratch:
        reactor, _ = _configured(file, Path(scratch))
    vessel = reactor.equipment.vessel
    wrong = None
    if vessel is None:
        wrong = f"{file} has no [vessel]: nobody counts what is in it"
    elif vessel.sensor is not None:
        wrong = f"{vessel.sensor} measures the volume: there is nothing to say"
    elif ml is not None and not 0 < ml <= vessel.high:
        wrong = f"{ml:g} mL cannot be in it: above 0, and at most {vessel.high:g} mL (high)"
    if wrong is not None or vessel is None:
        sys.stderr.write(f"{wrong}\n")
        raise typer.Exit(WRONG)
    workbench = Workbench(directory)
    volume = vessel.filled if ml is None else ml
    try:
        workbench.change_vial(volume)
        taken = _taken(workbench, wait)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    when = "" if taken else " as soon as no experiment runs, or at its next start"
    out.print(f"The node {'counts' if taken else 'will count'} from {volume:g} mL{when}.")


def _taken(workbench: Workbench, seconds: float) -> bool:
    """Whether a node took it up within so many seconds."""
    deadline = time.monotonic() + seconds
    while workbench.new_vial() is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True


@app.command()
def calibrations(
    channel: Annotated[str, typer.Argument(help="Which channel.", show_default=False)],
    directory: Directory = DEVICES,
    revert: Annotated[bool, typer.Option(help="Go back to the one before the newest.")] = False,
) -> None:
    """List a channel's calibrations, newest first; or take the newest back."""
    book = CalibrationBook(directory / CALIBRATIONS)
    try:
        if revert:
            book.revert(channel)
        found = book.history(channel)
    except (CalibrationFileError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    if not found:
        out.print(f"{channel} has no calibration in {directory / CALIBRATIONS}.")
    for number, one in enumerate(found):
        out.print(f"[bold]{one.id}[/]{'' if number else '  in force'}  {one.note}")
        for line in report(one):
            out.print(f"  {line}", highlight=False)


@app.command()
def drivers() -> None:
    """List the drivers there are, those of other packages too, and what they offer."""
    table = Table("driver", "what", "offers", "options")
    for name in known():
        try:
            kind = find(name)
        except UnknownKindError as error:
            table.add_row(name, f"[red]{error}[/]", "", "")
            continue
        offers = ", ".join(f"{what} ({o.kind}, {o.unit or '1'})" for what, o in kind.offers.items())
        options = ", ".join(
            f"{key}{'' if field.is_required() else '?'}"
            for key, field in kind.options.model_fields.items()
        )
        table.add_row(name, kind.label, offers, options)
    out.print(table)


class Terminal:
    """Asks at the terminal."""

    async def ask(self, question: str) -> str:
        """Return a line.

        Raises:
            CalibrationError: The input has ended.
        """
        try:
            return await asyncio.to_thread(input, question)
        except EOFError:
            raise CalibrationError("the input ended; nothing was kept") from None

    def tell(self, text: str) -> None:
        """Show a line."""
        out.print(text, highlight=False)


def _configured(file: Path, directory: Path, *, raw: bool = False) -> tuple[Configured, Readings]:
    try:
        return configured(file, directory, raw=raw)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(WRONG) from None


def _said(one: Probed) -> str:
    values = "  ".join(
        f"{name} {'nothing' if value is None else f'{value:g}'}"
        for name, value in one.values.items()
    )
    return "  ".join(part for part in (one.identity, values) if part)


if __name__ == "__main__":
    app()
