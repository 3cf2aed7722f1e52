"""``bioreactor hardware``: look at the devices of a `reactor.toml`."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hardware.configuration.build import Configured, Readings
from hardware.configuration.document import ConfigurationError
from hardware.configuration.kinds import UnknownKindError, find, known
from hardware.tools.monitoring import monitor as watch
from hardware.tools.probing import Probed, configured, probe

WRONG = 78
"""Exit status of a file that cannot be used (EX_CONFIG)."""

app = typer.Typer(
    name="bioreactor hardware",
    help="Look at the devices of a reactor.toml. The node must not run: it holds the ports.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
File = Annotated[Path, typer.Argument(help="The reactor.toml.", show_default=False)]
out = Console()


@app.command()
def check(file: File) -> None:
    """Read the file, probe every device, and say what is wrong. Nothing is moved."""
    with tempfile.TemporaryDirectory() as scratch:
        reactor, _ = _configured(file, Path(scratch))
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


def _configured(file: Path, scratch: Path) -> tuple[Configured, Readings]:
    try:
        return configured(file, scratch)
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
