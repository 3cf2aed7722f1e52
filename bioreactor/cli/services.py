"""`bioreactor hub|node|portal|image|emulate|hardware`: one program alone, as `python -m …` does.

The services are separate programs; this one becomes them, so that signals and exit codes are
theirs.
"""

import os
import sys
from typing import Final, NoReturn

import typer

from broker.extras import REFUSED, missing

_EXTRAS: Final = {
    "hub_service": "hub",
    "node_service": "node",
    "hardware": "node",
    "portal": "portal",
}


def hub(context: typer.Context) -> None:
    """Run the hub alone (options: see `python -m hub_service --help`)."""
    _become("hub_service", context)


def node(context: typer.Context) -> None:
    """Run a node alone (options: see `python -m node_service --help`)."""
    _become("node_service", context)


def portal(context: typer.Context) -> None:
    """Run the portal alone (options: see `python -m portal --help`)."""
    _become("portal", context)


def image(context: typer.Context) -> None:
    """Build, show and verify the images that scripts run in (see `bioreactor image --help`)."""
    _become("node_service.image", context)


def emulate(context: typer.Context) -> None:
    """Be a device on a pseudo terminal, faults included (see `bioreactor emulate --list`)."""
    _become("hardware.emulators", context)


def hardware(context: typer.Context) -> None:
    """Look at the devices of a reactor.toml (see `bioreactor hardware --help`)."""
    _become("hardware.tools", context)


def _become(module: str, context: typer.Context) -> NoReturn:
    sentence = missing(_EXTRAS[module.partition(".")[0]])
    if sentence is not None:
        print(sentence, file=sys.stderr)
        raise typer.Exit(REFUSED)
    os.execv(sys.executable, [sys.executable, "-m", module, *context.args])
