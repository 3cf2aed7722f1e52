"""Options and arguments that several commands share, and what they mean."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from pydantic import ValidationError
from ulid import ULID

from bioreactor.cli.exits import DATA
from bioreactor.cli.session import Session, default_data_dir, err, out
from broker.messages import Done, Error, ErrorCode, Parameters, Request

R = TypeVar("R", bound=Request)

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data directory of a local `bioreactor up`.", show_default=False),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with a \\[broker] section, for a remote system."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The experiment's id.")]


def session_of(data: Path | None, config: Path | None, as_json: bool) -> Session:
    """Return how a command with these options runs."""
    return Session(data or default_data_dir(), config, as_json)


YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AdminOption = Annotated[bool, typer.Option("--admin", help="As administrator, for others' too.")]


def usage(session: Session, message: str) -> NoReturn:
    """Say what is wrong with the arguments and leave."""
    session.fail(Error(code=ErrorCode.MALFORMED, message=message, hint="see --help"))


def build(session: Session, model: type[R], **fields: object) -> R:
    """Return the request, or leave saying which field is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        usage(session, f"{field}: {first['msg']}")


def confirm(session: Session, yes: bool, question: str) -> None:
    """Ask before what cannot be undone, or leave with CONFIRMATION_REQUIRED."""
    if yes or (sys.stdin.isatty() and typer.confirm(question, err=True)):
        return
    session.fail(
        Error(
            code=ErrorCode.CONFIRMATION_REQUIRED,
            message="nothing was done: this cannot be undone",
            hint="say --yes if you are sure",
        )
    )


def tell(session: Session, done: Done) -> None:
    """Show what became of a command."""
    session.show(done, lambda: out.print(done.message, highlight=False, soft_wrap=True))


def known_id(session: Session, experiment_id: str) -> str:
    """Return the id in its canonical form, or leave with NOT_FOUND."""
    try:
        return str(ULID.from_str(experiment_id.strip().upper()))
    except ValueError:
        session.fail(
            Error(
                code=ErrorCode.NOT_FOUND,
                message=f"{experiment_id!r} is not an experiment's id",
                hint="`bioreactor list` shows the ids",
            )
        )


def read_script(session: Session, path: Path) -> str:
    """Return a script's text, `-` being stdin, or leave saying why it cannot be read."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        err.print(
            f"[bold red]cannot read {path}[/]: {error.strerror}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(DATA) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        session.fail(
            Error(
                code=ErrorCode.SCRIPT_ENCODING,
                message=f"{path} is not UTF-8: byte {error.start} is {data[error.start]:#04x}",
                hint="save the file as UTF-8",
            )
        )


def parameters_of(session: Session, pairs: list[str]) -> Parameters:
    """Return NAME=VALUE pairs as parameters: booleans and numbers where they look like one."""
    values: dict[str, bool | int | float | str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            usage(session, f"{pair!r} is not NAME=VALUE")
        values[name] = _value(text)
    return values


def _value(text: str) -> bool | int | float | str:
    if text in {"true", "false"}:
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
