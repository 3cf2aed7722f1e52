"""`bioreactor access`: who may do what at the broker."""

import asyncio
import shlex
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from bioreactor.cli import render
from bioreactor.cli.arguments import (
    DataOption,
    JsonOption,
    YesOption,
    confirm,
    session_of,
    usage,
)
from bioreactor.cli.session import Session, out
from broker.access.clients import settings_in
from broker.access.directory import DAYS, AccessDirectory
from broker.access.grants import Principal, rights
from broker.access.register import Entry, Target
from broker.access.telling import Told, tell
from broker.messages import ContractError
from broker.settings import BrokerSettings
from broker.topics import SPECS, Topics

T = TypeVar("T")

access_app = typer.Typer(
    help="Say who may do what at the broker: principals, passwords, certificates.",
    no_args_is_help=True,
)


class RoleName(StrEnum):
    """What a principal is; see `broker.topics.Role`."""

    HUB = "hub"
    PORTAL = "portal"
    NODE = "node"
    ADMINISTRATOR = "administrator"
    SCRIPT = "script"


class BrokerName(StrEnum):
    """The brokers that access lists are written for."""

    MOSQUITTO = "mosquitto"
    NATS = "nats"


DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        envvar="BIOREACTOR_ACCESS",
        help="The access directory.",
        show_default="that of the local `bioreactor up`",
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The principal.")]
ShowOption = Annotated[bool, typer.Option("--show", help="Print the password, too.")]
UncheckedOption = Annotated[
    bool,
    typer.Option("--unchecked", help="Do not ask the broker whether it obeys."),
]


class _Row(BaseModel):
    """A principal, as `list --json` and `show --json` print it."""

    name: str
    role: str
    since: str
    certificate_until: str | None
    belongs_to_up: bool
    publish: list[str] = []
    read: list[str] = []


class _Rows(BaseModel):
    broker: str
    url: str
    principals: list[_Row]


class _Changed(BaseModel):
    """What a change came to, as `--json` prints it."""

    name: str
    broker: Told
    folder: str | None
    password: str | None = None


@access_app.command("init")
def init(
    kind: Annotated[BrokerName, typer.Option("--broker", help="Which broker it is.")],
    url: Annotated[str, typer.Option(help="How clients reach it, e.g. mqtts://broker.lab:8883.")],
    files: Annotated[
        Path, typer.Option(file_okay=False, help="Where the broker reads the lists from.")
    ],
    pid_file: Annotated[
        Path | None, typer.Option(help="Names the broker's process, which then gets SIGHUP.")
    ] = None,
    reload: Annotated[
        str, typer.Option(help="A command that has it read its files again, instead.")
    ] = "",
    root: Annotated[str, typer.Option(help="Of all topics; one for each site.")] = "bioreactor",
    directory: DirectoryOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Describe a broker of your own; again, to change that. Principals stay."""
    session = session_of(data, None, as_json)
    if (pid_file is None) == (not reload):
        usage(session, "say --pid-file or --reload: how is the broker told of a change?")
    try:
        target = Target(
            kind=kind.value,
            url=url,
            root=root,
            files=files.resolve(),
            pid_file=None if pid_file is None else pid_file.absolute(),
            reload=tuple(shlex.split(reload)),
        )
    except (ValidationError, ValueError) as error:
        usage(session, _first(error))
    access = _directory(directory, session)
    _try(session, lambda: access.describe(target))
    _say(f"{access.register_file} describes the broker; its files are in {target.files}.")


@access_app.command("add")
def add(
    name: NameArgument,
    role: Annotated[RoleName, typer.Option(help="What it may do follows from that.")],
    show: ShowOption = False,
    unchecked: UncheckedOption = False,
    directory: DirectoryOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Admit a principal and write the folder that its client is given."""
    session = session_of(data, None, as_json)
    access = _directory(directory, session)
    _try(session, lambda: access.add(name, role.value))
    _tell_of(session, access, name, unchecked=unchecked, show=show)


@access_app.command("rotate")
def rotate(
    name: NameArgument,
    show: ShowOption = False,
    unchecked: UncheckedOption = False,
    directory: DirectoryOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a principal a new password and certificate; the old ones end at once."""
    session = session_of(data, None, as_json)
    access = _directory(directory, session)
    _try(session, lambda: access.rotate(name))
    _tell_of(session, access, name, unchecked=unchecked, show=show)


@access_app.command("remove")
def remove(
    name: NameArgument,
    yes: YesOption = False,
    unchecked: UncheckedOption = False,
    directory: DirectoryOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a principal: it is cut off at once, and its folder here is deleted."""
    session = session_of(data, None, as_json)
    access = _directory(directory, session)
    entry = _try(session, lambda: access.read().entry(name))
    confirm(session, yes, f"Cut off {entry.role} {name!r} and delete its folder?")
    client = _client(access, name)
    _try(session, lambda: access.remove(name))
    target = access.read().broker
    told = _try(
        session,
        lambda: asyncio.run(tell(target, None if unchecked else client, admitted=False)),
    )
    access.forget(name)
    changed = _Changed(name=name, broker=told, folder=None)
    again = " `bioreactor up` admits it again at its next start." if entry.managed else ""
    session.show(changed, lambda: _say(f"{name} is removed. {_BROKER[told]}{again}"))


@access_app.command("list")
def list_(
    directory: DirectoryOption = None, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Show every principal."""
    session = session_of(data, None, as_json)
    register = _try(session, _directory(directory, session).read)
    rows = [_row(name, entry) for name, entry in sorted(register.principals.items())]
    target = register.broker
    found = _Rows(broker=target.kind, url=target.url, principals=rows)

    def text() -> None:
        columns = ("name", "role", "password since", "certificate until", "kept by")
        table = render.folding_table(*columns)
        for row in rows:
            kept = "up" if row.belongs_to_up else ""
            until = row.certificate_until or "none"
            table.add_row(row.name, row.role, row.since[:10], until[:10], kept)
        out.print(f"{target.kind} at {target.url}", highlight=False)
        out.print(table)

    session.show(found, text)


@access_app.command("show")
def show_(
    name: NameArgument,
    directory: DirectoryOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a principal may publish and read."""
    session = session_of(data, None, as_json)
    access = _directory(directory, session)
    register = _try(session, access.read)
    entry = _try(session, lambda: register.entry(name))
    topics = Topics(register.broker.root)
    allowed = tuple(rights(Principal(name, entry.role), topics))
    publish = [right for right in allowed if right.sending]
    read = [right for right in allowed if not right.sending]
    row = _row(name, entry).model_copy(
        update={
            "publish": [right.topic_filter for right in publish],
            "read": [right.topic_filter for right in read],
        }
    )

    def text() -> None:
        _say(f"{name} is a {entry.role}.")
        for what, of_kind in (("May publish", publish), ("May read", read)):
            table = render.folding_table(what, "")
            for right in of_kind:
                table.add_row(right.topic_filter, SPECS[right.topic].summary)
            out.print(table, highlight=False)
        folder = access.client_folder(name)
        if folder.exists():
            _say(f"Its folder is {folder}.")

    session.show(row, text)


@access_app.command("certificates")
def certificates(
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--name",
            help="A name or address by which clients call the broker; repeatable.",
            show_default="those of before, else localhost",
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long they are valid.")] = DAYS,
    renew: Annotated[bool, typer.Option("--renew", help="Make all anew.")] = False,
    directory: DirectoryOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make certificates for the broker and every principal, as far as they are missing."""
    session = session_of(data, None, as_json)
    access = _directory(directory, session)
    _try(session, lambda: access.certify(names or (), days, renew=renew))
    register = access.read()
    told = _try(session, lambda: asyncio.run(tell(register.broker, None, admitted=True)))
    rows = [_row(name, entry) for name, entry in sorted(register.principals.items())]
    target = register.broker
    found = _Rows(broker=target.kind, url=target.url, principals=rows)
    session.show(
        found,
        lambda: _say(
            f"The broker's certificate is for {', '.join(target.certified)}, in {target.files}. "
            f"Those of the principals are in {access.path / 'clients'}. {_BROKER[told]}"
        ),
    )


_BROKER = {
    Told.OBEYS: "The broker obeys.",
    Told.TOLD: "The broker was told.",
    Told.NOT_RUNNING: "No broker runs; it holds from its next start.",
}


def _directory(directory: Path | None, session: Session) -> AccessDirectory:
    if directory is not None:
        return AccessDirectory(directory.absolute())
    return AccessDirectory(session.data.absolute() / "broker" / "access")


def _try(session: Session, work: Callable[[], T]) -> T:
    """Do it, or leave with the error's message and exit code."""
    try:
        return work()
    except ContractError as error:
        session.fail(error.error)


def _client(access: AccessDirectory, name: str) -> BrokerSettings | None:
    """Return how the client connects, if its folder is still here."""
    target = access.read().broker
    folder = access.client_folder(name)
    settings = settings_in(folder, name, target.url, target.root)
    return settings if settings.password_file and settings.password_file.exists() else None


def _tell_of(
    session: Session, access: AccessDirectory, name: str, *, unchecked: bool, show: bool
) -> None:
    """Have the broker learn of a new password, and say where the client's folder is."""
    target = access.read().broker
    settings = _client(access, name)
    told = _try(
        session,
        lambda: asyncio.run(tell(target, None if unchecked else settings, admitted=True)),
    )
    folder = access.client_folder(name)
    secret = None if settings is None or not show else settings.secret()
    changed = _Changed(
        name=name,
        broker=told,
        folder=str(folder),
        password=None if secret is None else secret.get_secret_value(),
    )

    def text() -> None:
        _say(f"{name} may connect with what is in {folder}. {_BROKER[told]}")
        if changed.password is not None:
            _say(changed.password)

    session.show(changed, text)


def _row(name: str, entry: Entry) -> _Row:
    newest = max((c.until for c in entry.certificates), default=None)
    return _Row(
        name=name,
        role=entry.role,
        since=entry.since.isoformat(),
        certificate_until=None if newest is None else newest.isoformat(),
        belongs_to_up=entry.managed,
    )


def _first(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _say(text: str) -> None:
    out.print(text, highlight=False, soft_wrap=True, markup=False)
