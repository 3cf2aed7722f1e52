"""Which laboratory a command talks to, and how its outcome reaches the shell."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import typer
from pydantic import BaseModel, JsonValue
from rich.console import Console

from bioreactor.cli.exits import EXIT_CODES
from bioreactor.lab import Lab
from broker.messages import ContractError, Error, ErrorCode
from broker.settings import BrokerSettings, SettingsError, load_settings

T = TypeVar("T")

_PLAIN_WIDTH: Final = 1000


def console() -> Console:
    """Return where results go; what is no terminal has room for tables with nothing left out."""
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_PLAIN_WIDTH if wide else None)


out = console()
err = Console(stderr=True)


def default_data_dir() -> Path:
    """Return where `bioreactor up` keeps everything unless told otherwise."""
    if "BIOREACTOR_DATA" in os.environ:
        return Path(os.environ["BIOREACTOR_DATA"])
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "bioreactor"


def client_file(data: Path) -> Path:
    """Return the file in which `bioreactor up` leaves the command line's credentials."""
    return data / "clients" / "admin.toml"


@dataclass(frozen=True)
class Session:
    """How one command runs.

    Attributes:
        data: The data directory of a local `bioreactor up`.
        config: A TOML file with a [broker] section, instead of the local one's.
        as_json: Print JSON for programs instead of text for people.
    """

    data: Path
    config: Path | None
    as_json: bool

    def settings(self) -> BrokerSettings:
        """Return where the broker is: the named file, the local system's, or the environment.

        Raises:
            ContractError: No system is found, or the settings are wrong.
        """
        file = self.config
        local = client_file(self.data)
        if file is None and "BIOREACTOR_BROKER_URL" not in os.environ:
            if not local.exists():
                raise ContractError(
                    ErrorCode.UNAVAILABLE,
                    f"no running system found: {local} does not exist",
                    "start one with `bioreactor up`, name its directory with --data, "
                    "or set BIOREACTOR_BROKER_URL",
                )
            file = local
        try:
            return load_settings(BrokerSettings, "broker", file)
        except SettingsError as error:
            raise ContractError(
                ErrorCode.MALFORMED,
                str(error),
                "the settings reference lists what [broker] may say",
            ) from error

    def run(self, work: Callable[[Lab], Awaitable[T]]) -> T:
        """Connect, do the work, and turn errors into exit codes."""

        async def connected() -> T:
            async with Lab(self.settings()) as lab:
                return await work(lab)

        try:
            return asyncio.run(connected())
        except ContractError as error:
            self.fail(error.error)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    def fail(self, error: Error) -> NoReturn:
        """Say what went wrong and leave with the code's exit status."""
        if self.as_json:
            print(json.dumps({"error": error.model_dump(mode="json")}), file=sys.stderr)
        else:
            err.print(f"[bold red]{error.code}[/] {error.message}", highlight=False, soft_wrap=True)
            problems = error.details.get("problems")
            if isinstance(problems, list) and len(problems) > 1:
                for problem in problems:
                    err.print(f"  {_sentence(problem)}", highlight=False, soft_wrap=True)
            if error.hint:
                err.print(f"[dim]→ {error.hint}[/]", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_CODES[error.code])

    def show(self, value: BaseModel, text: Callable[[], None]) -> None:
        """Print a result: one JSON document, or text made by the callable."""
        if self.as_json:
            print(value.model_dump_json())
        else:
            text()


def _sentence(problem: JsonValue) -> str:
    if not isinstance(problem, dict):
        return str(problem)
    error = problem.get("error")
    if isinstance(error, dict):  # of a script; the message names its line
        return f"{error.get('message')} ({error.get('hint')})"
    return f"{problem.get('field', '')}: {problem.get('problem', '')}"
