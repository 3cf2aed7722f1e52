"""The reference of the command line, from the commands themselves."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from bioreactor.cli.app import app
from tools.docs.markdown import code, fence, table

INTRODUCTION: Final = """\
# Command line

`bioreactor COMMAND --help` says the same. Commands find the system that `bioreactor up` runs on
this machine by itself; `--config FILE` names another one's credentials, a TOML file with a
`[broker]` section. With `--json` they print one JSON document. Exit status 0 is success; each error
has a status of its own.

"""
PROGRAMS: Final = {
    "hub": "hub_service",
    "node": "node_service",
    "portal": "portal",
    "image": "node_service.image",
    "emulate": "hardware.emulators",
    "hardware": "hardware.tools",
}
"""Commands that become another program, which has options of its own."""


def command_line() -> str:
    """Return the page about every command and option."""
    out = [INTRODUCTION]
    for path, command in commands():
        out.append(f"{'#' * min(len(path), 4)} `{' '.join(path)}`\n")
        out.append((command.help or "").split("\f")[0].strip() + "\n")
        if len(path) == 2 and path[1] in PROGRAMS:  # noqa: PLR2004 - program and command
            out.append(fence(_help(PROGRAMS[path[1]]), "text"))
            continue
        out.append(table(("argument or option", "default", "meaning"), _rows(command)))
    return "\n".join(out)


def commands() -> Iterator[tuple[tuple[str, ...], TyperCommand | TyperGroup]]:
    """Yield every command with the words that call it, the one without further words left out."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)  # noqa: S101 - it has commands
    yield from _below(root, ("bioreactor",))


def _below(
    group: TyperGroup, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], TyperCommand | TyperGroup]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield (*path, name), command
            yield from _below(command, (*path, name))
        elif isinstance(command, TyperCommand):
            yield (*path, name), command


def _rows(command: TyperCommand | TyperGroup) -> Iterator[tuple[str, str, str]]:
    for one in command.params:
        if not isinstance(one, TyperArgument | TyperOption) or one.hidden or one.name == "help":
            continue
        value = one.metavar or one.display_type(typer.Context(command))
        if isinstance(one, TyperArgument):
            name = (one.name or "").upper()
        elif one.is_flag:
            name = ", ".join([*one.opts, *one.secondary_opts])
        else:
            name = f"{', '.join(one.opts)} {value}"
        none = one.default in {None, False, ""} or not one.show_default or callable(one.default)
        default = one.show_default if isinstance(one.show_default, str) else str(one.default)
        yield code(name), "" if none else code(default), (one.help or "").replace("\\[", "[")


def _help(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"},
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
