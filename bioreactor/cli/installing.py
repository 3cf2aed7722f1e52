"""`bioreactor service install`: units, users and settings for systemd, from the files in `deploy/`.

What is written is decided first, as a list, and then either shown or done.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from bioreactor.cli.session import err
from broker.access import clients
from broker.extras import missing
from broker.identity import write_private
from broker.settings import BrokerSettings, SettingsError, load_settings
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


def plan(part: Part, name: str, program: str, client: Path | None = None) -> Iterator[Step]:
    """Yield what is written for a service.

    Args:
        part: Which service.
        name: Of the reactor, for a node.
        program: The command that the unit starts.
        client: The folder that `bioreactor access add` wrote for this service.
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
    else:
        yield unit(f"bioreactor-{part}.service")
    if part is Part.HUB:
        yield unit("bioreactor-hub-backup.service")
        yield unit("bioreactor-hub-backup.timer")
    if client is not None:
        yield Step(Path(_UNITS, f"{_unit(part, name)}.service.d/client.conf"), _secrets(client))
    principal = name if part is Part.NODE else part
    yield Step(Path(_settings_file(part, name)), _settings(part, principal, client), kept=True)


def _unit(part: Part, name: str) -> str:
    return f"bioreactor-node@{name}" if part is Part.NODE else f"bioreactor-{part}"


def _settings_file(part: Part, name: str) -> str:
    return f"etc/bioreactor/{f'node-{name}' if part is Part.NODE else part}.toml"


_MORE: Final[Mapping[Part, str]] = {
    Part.HUB: "",
    Part.PORTAL: 'host = "127.0.0.1"\nport = 8000\n',
    # Named, so that a node without its engine still watches over its reactor, and says so.
    Part.NODE: 'reactor = "simulated"\nrunner = "docker"\n',
}


def _settings(part: Part, principal: str, client: Path | None) -> str:
    broker = (
        f'[broker]\nurl = "mqtt://127.0.0.1:1883"\nusername = "{principal}"\n# password = "..."\n'
        if client is None
        else (client / clients.SETTINGS).read_text("utf-8")
    )
    return f"# All settings: docs/reference/settings.md\n{broker}\n[{part}]\n{_MORE[part]}"


def _secrets(client: Path) -> str:
    """Return the lines by which a service gets its own copy of what its client's folder holds."""
    names = (clients.PASSWORD, clients.CA_CERTIFICATE, clients.CERTIFICATE, clients.KEY)
    there = [name for name in names if (client / name).exists()]
    return "# What the service proves with who it is; copied at each start.\n[Service]\n" + "".join(
        f"LoadCredential={name}:{client / name}\n" for name in there
    )


@service_app.command()
def install(
    part: Annotated[Part, typer.Argument(help="Which service.")],
    name: Annotated[str, typer.Option(help="Of the reactor, for a node.")] = "reactor-1",
    client: Annotated[
        Path | None,
        typer.Option(
            help="The folder that `bioreactor access add` wrote for this service: "
            "its address and password are used from there.",
            resolve_path=True,
        ),
    ] = None,
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
    if client is not None:
        _must_be_of(client, name if part is Part.NODE else part)
    for step in plan(part, name, program, client):
        path = root / step.path
        if step.kept and path.exists():
            print(f"kept     {path}")
        elif dry_run:
            print(f"would write {path}")
        else:
            _write(path, step)
            print(f"wrote    {path}")
    if not dry_run and root == Path("/"):
        _tell_the_system(part)
    settings = root / _settings_file(part, name)
    broker = "" if client else "put the broker's address and password there, "
    print(f"\nNext: look at {settings}, {broker}then\n")
    unit = _unit(part, name)
    print(f"  systemctl enable --now {unit}.service")
    if part is Part.HUB:
        print("  systemctl enable --now bioreactor-hub-backup.timer")
    print(f"  journalctl -u {unit} -f")


def _must_be_of(client: Path, principal: str) -> None:
    """Stop unless a folder has the credentials of this principal."""
    try:
        settings = load_settings(BrokerSettings, "broker", client / clients.SETTINGS)
        settings.secret()
    except SettingsError as error:
        _stop(f"{error}; give the folder that `bioreactor access add {principal}` wrote")
    if settings.username != principal:
        _stop(
            f"{client} is the folder of {settings.username}, and this service is {principal}: "
            f"give the one that `bioreactor access add {principal}` wrote"
        )


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
