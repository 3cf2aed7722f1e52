"""`bioreactor service install`: units, users and settings for systemd, from the files in `deploy/`.

What is written is decided first, as a list, and then either shown or done.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from bioreactor.cli.session import err
from broker.extras import missing
from broker.identity import write_private
from broker.topics import NAME

service_app = typer.Typer(
    no_args_is_help=True, help="Have systemd run a service of this installation."
)

_HERE: Final = Path(__file__).resolve().parent
_DEPLOY: Final = next(  # a wheel has them in the package, a source tree at its top
    (
        folder
        for folder in (_HERE.parent / "deploy", _HERE.parents[1] / "deploy")
        if folder.is_dir()
    ),
    _HERE.parent / "deploy",
)
_UNITS: Final = "etc/systemd/system"
_PROGRAM: Final = "/opt/bioreactor/bin/bioreactor"


class Part(StrEnum):
    """Which service."""

    HUB = "hub"
    NODE = "node"
    PORTAL = "portal"


@dataclass(frozen=True, slots=True)
class Step:
    """A file to write.

    Attributes:
        path: Below the root.
        text: What it says.
        kept: Settings: what is there already stays.
    """

    path: Path
    text: str
    kept: bool = False


def plan(part: Part, name: str, program: str) -> Iterator[Step]:
    """Yield what is written for a service.

    Args:
        part: Which service.
        name: Of the reactor, for a node.
        program: The command that the unit starts.
    """
    systemd = _DEPLOY / "systemd"

    def unit(file: str) -> Step:
        text = (systemd / file).read_text("utf-8").replace(_PROGRAM, program)
        return Step(Path(_UNITS, file), text)

    yield Step(Path("etc/sysusers.d/bioreactor.conf"), (systemd / "sysusers.conf").read_text())
    yield Step(Path("etc/tmpfiles.d/bioreactor.conf"), (systemd / "tmpfiles.conf").read_text())
    if part is Part.NODE:
        rules = "99-bioreactor.rules"
        yield Step(Path("etc/udev/rules.d", rules), (_DEPLOY / "udev" / rules).read_text())
        yield unit("bioreactor-node@.service")
        yield Step(Path(f"etc/bioreactor/node-{name}.toml"), _settings("node", name), kept=True)
        return
    yield unit(f"bioreactor-{part}.service")
    if part is Part.HUB:
        yield unit("bioreactor-hub-backup.service")
        yield unit("bioreactor-hub-backup.timer")
    yield Step(Path(f"etc/bioreactor/{part}.toml"), _settings(part, part), kept=True)


def _settings(section: str, principal: str) -> str:
    more = {"portal": 'host = "127.0.0.1"\nport = 8000\n', "node": 'reactor = "simulated"\n'}
    return (
        "# All settings: docs/reference/settings.md\n"
        f'[broker]\nurl = "mqtt://127.0.0.1:1883"\nusername = "{principal}"\n'
        '# password = "..."\n'
        f"\n[{section}]\n{more.get(section, '')}"
    )


@service_app.command()
def install(
    part: Annotated[Part, typer.Argument(help="Which service.")],
    name: Annotated[str, typer.Option(help="Of the reactor, for a node.")] = "reactor-1",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written; change nothing.")
    ] = False,
    root: Annotated[
        Path, typer.Option(help="Below which it is written, for the image of a system.")
    ] = Path("/"),
) -> None:
    """Write unit, users and settings of a service; existing settings stay."""
    if not NAME.fullmatch(name):
        _stop(f"{name!r} is no name of a reactor: small letters, digits, - and _ make one")
    sentence = missing(part)
    if sentence is not None:
        _stop(sentence)
    if not (_DEPLOY / "systemd").is_dir():
        _stop(f"this installation lacks {_DEPLOY / 'systemd'}: install the package anew")
    program = str(Path(sys.prefix) / "bin" / "bioreactor")
    for step in plan(part, name, program):
        path = root / step.path
        if step.kept and path.exists():
            print(f"kept     {path}")
        elif dry_run:
            print(f"would write {path}")
        else:
            _write(path, step)
            print(f"wrote    {path}")
    unit = f"bioreactor-node@{name}" if part is Part.NODE else f"bioreactor-{part}"
    if not dry_run and root == Path("/"):
        _tell_the_system(part)
    file = f"node-{name}.toml" if part is Part.NODE else f"{part}.toml"
    settings = root / "etc/bioreactor" / file
    print(f"\nNext: put the broker's address and password into {settings}, then\n")
    print(f"  systemctl enable --now {unit}.service")
    if part is Part.HUB:
        print("  systemctl enable --now bioreactor-hub-backup.timer")
    print(f"  journalctl -u {unit} -f")


def _write(path: Path, step: Step) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if step.kept:
            write_private(path, step.text)
        else:
            path.write_text(step.text, "utf-8")
            path.chmod(0o644)
    except OSError as error:
        _stop(f"{path}: {error.strerror}; this needs root: sudo {sys.argv[0]} service install …")


def _tell_the_system(part: Part) -> None:
    """Have users made and units and rules read, as far as these programs are there."""
    commands = [("systemd-sysusers",), ("systemd-tmpfiles", "--create", "bioreactor.conf")]
    if Path("/run/systemd/system").is_dir():
        commands.append(("systemctl", "daemon-reload"))
        if part is Part.NODE:
            commands.append(("udevadm", "control", "--reload"))
    for command in commands:
        if shutil.which(command[0]) is None:
            print(f"not done: {' '.join(command)} (no such program)")
            continue
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        how = "did" if done.returncode == 0 else f"failed ({done.stderr.strip()}):"
        print(f"{how}      {' '.join(command)}")


def _stop(sentence: str) -> NoReturn:
    err.print(sentence, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)
