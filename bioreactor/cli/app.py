"""The commands."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.live import Live
from ulid import ULID

from bioreactor.cli import render
from bioreactor.cli.exits import DATA, NOT_COMPLETED
from bioreactor.cli.services import hub, node, portal
from bioreactor.cli.session import Session, default_data_dir, err, out
from bioreactor.cli.up import up
from bioreactor.lab import Lab, Node
from broker import VERSION
from broker.messages import (
    Error,
    ErrorCode,
    Experiment,
    ExportKind,
    List,
    LogLine,
    Move,
    Parameters,
    Payload,
    Queue,
    Status,
)

app = typer.Typer(
    name="bioreactor",
    help="Share bioreactors: queue experiments, watch them live, keep every result.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
queue_app = typer.Typer(help="Show the queue, or steer it.")
app.add_typer(queue_app, name="queue")

app.command()(up)
app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(hub)
app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(node)
app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(portal)

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


def _session(data: Path | None, config: Path | None, as_json: bool) -> Session:
    return Session(data or default_data_dir(), config, as_json)


def _version(wanted: bool) -> None:
    if wanted:
        print(VERSION)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Share bioreactors: queue experiments, watch them live, keep every result."""


@app.command()
def submit(
    script: Annotated[Path, typer.Argument(help="The experiment, a Python file; - for stdin.")],
    name: Annotated[str | None, typer.Option(help="Shown to people.")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="May be repeated."),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Show states and log until it is done.")] = False,
    request_id: Annotated[
        str | None, typer.Option(help="The same id again gives the same experiment.")
    ] = None,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue an experiment."""
    session = _session(data, config, as_json)
    source = _read_script(session, script)
    filename = None if str(script) == "-" else script.name
    parameters = _parameters(session, parameter or [])

    async def work(lab: Lab) -> Status | None:
        submitted = await lab.submit(
            source,
            name=name,
            parameters=parameters,
            filename=filename,
            request_id=request_id or str(ULID()),
        )
        session.show(submitted, lambda: out.print(submitted.message, highlight=False))
        for warning in submitted.warnings:
            err.print(f"[yellow]{warning}[/]", highlight=False)
        return await _follow(session, lab, submitted.experiment_id) if follow else None

    _leave(session.run(work))


@app.command("list")
def list_(
    mine: Annotated[bool, typer.Option(help="Only mine.")] = False,
    status: Annotated[list[Status] | None, typer.Option(help="Only these states.")] = None,
    search: Annotated[str, typer.Option(help="Words in name or id.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List experiments, newest first."""
    session = _session(data, config, as_json)
    request = List(mine=mine, status=tuple(status or ()), search=search, limit=limit)
    listed = session.run(lambda lab: lab.list(request))

    def text() -> None:
        if not listed.experiments:
            out.print("No experiments yet: `bioreactor submit examples/turbidostat.py --follow`")
            return
        out.print(render.experiments(listed.experiments))
        if listed.total > len(listed.experiments):
            out.print(f"[dim]{len(listed.experiments)} of {listed.total}[/]")

    session.show(listed, text)


@app.command()
def show(
    experiment_id: IdArgument,
    script: Annotated[bool, typer.Option(help="Print the script instead.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an experiment."""
    session = _session(data, config, as_json)
    got = session.run(lambda lab: lab.get(_known(session, experiment_id)))

    def text() -> None:
        if script:
            print(got.script or "")
            return
        out.print(render.experiments((got.experiment,)))
        out.print(render.change(got.experiment))
        for file in got.experiment.results:
            out.print(f"  {file.name}  [dim]{file.size} bytes[/]", highlight=False)

    session.show(got, text)


@app.command()
def logs(
    experiment_id: IdArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it is done.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print an experiment's log."""
    session = _session(data, config, as_json)
    known = _known(session, experiment_id)

    async def work(lab: Lab) -> Status | None:
        after = 0
        while not follow:
            page = await lab.logs(known, after)
            for line in page.lines:
                _print(session, line)
            if not page.lines:
                return None
            after = page.last
        return await _follow(session, lab, known)

    _leave(session.run(work))


@app.command()
def watch(
    experiment_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Of one experiment; else all reactors.")
    ] = None,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch an experiment, or every reactor, live in the terminal."""
    session = _session(data, config, as_json)

    async def one(lab: Lab) -> Status | None:
        return await _follow(session, lab, _known(session, experiment_id or ""))

    async def everything(lab: Lab) -> None:
        await lab.observe()
        if session.as_json:
            while True:
                async with lab.changed:
                    await lab.changed.wait()
                if lab.queue:
                    print(lab.queue.model_dump_json(), flush=True)
        with Live(console=out, auto_refresh=False) as live:
            while True:
                live.update(render.nodes(_sorted(lab)), refresh=True)
                async with lab.changed:
                    await lab.changed.wait()

    if experiment_id:
        _leave(session.run(one))
    else:
        session.run(everything)


@app.command()
def results(
    experiment_id: IdArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File, or directory to put it in.")
    ] = Path(),
    what: Annotated[ExportKind, typer.Option(help="What to fetch.")] = ExportKind.RESULTS,
    file: Annotated[str | None, typer.Option(help="One file of the results.")] = None,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download results: one ZIP, or one file, checked by its hash."""
    session = _session(data, config, as_json)
    known = _known(session, experiment_id)
    kind = ExportKind.FILE if file else what

    async def work(lab: Lab) -> None:
        exported = await lab.export(known, kind, file)
        path = await lab.download(exported, output)
        session.show(
            exported, lambda: out.print(f"{path} ({exported.size} bytes)", highlight=False)
        )

    session.run(work)


def _command(verb: str, experiment_id: str, session: Session, admin: bool) -> None:
    known = _known(session, experiment_id)
    done = session.run(lambda lab: lab.command(verb, known, admin=admin))
    session.show(done, lambda: out.print(done.message, highlight=False))


AdminOption = Annotated[bool, typer.Option("--admin", help="As administrator, for others' too.")]


@app.command()
def cancel(
    experiment_id: IdArgument,
    admin: AdminOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel an experiment; what it saved so far is kept."""
    _command("cancel", experiment_id, _session(data, config, as_json), admin)


@app.command()
def pause(
    experiment_id: IdArgument,
    admin: AdminOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause an experiment: a waiting one is passed over, a running one is frozen."""
    _command("pause", experiment_id, _session(data, config, as_json), admin)


@app.command()
def resume(
    experiment_id: IdArgument,
    admin: AdminOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Resume a paused experiment."""
    _command("resume", experiment_id, _session(data, config, as_json), admin)


@app.command()
def move(
    experiment_id: IdArgument,
    position: Annotated[int | None, typer.Option("--to", min=1, help="1 is next.")] = None,
    before: Annotated[str | None, typer.Option(help="Before this experiment.")] = None,
    after: Annotated[str | None, typer.Option(help="After this experiment.")] = None,
    admin: AdminOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a waiting experiment in the queue."""
    session = _session(data, config, as_json)
    if sum(place is not None for place in (position, before, after)) != 1:
        _usage(session, "say where: exactly one of --to, --before and --after")
    request = Move(
        id=str(ULID()),
        experiment_id=_known(session, experiment_id),
        position=position,
        before=before and _known(session, before),
        after=after and _known(session, after),
    )
    done = session.run(lambda lab: lab.move(request, admin=admin))
    session.show(done, lambda: out.print(done.message, highlight=False))


@app.command()
def send(
    experiment_id: IdArgument,
    parameter: Annotated[list[str], typer.Argument(metavar="NAME=VALUE…")],
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change parameters of a running experiment."""
    session = _session(data, config, as_json)
    values = _parameters(session, parameter)
    known = _known(session, experiment_id)
    done = session.run(lambda lab: lab.send(known, values))
    session.show(done, lambda: out.print(done.message, highlight=False))


@queue_app.callback(invoke_without_command=True)
def queue(
    context: typer.Context,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what runs and what waits."""
    session = _session(data, config, as_json)
    if context.invoked_subcommand is not None:
        return

    async def work(lab: Lab) -> Queue | None:
        await lab.observe()
        return lab.queue

    found = session.run(work)
    if found is None:
        session.fail(Error(code=ErrorCode.UNAVAILABLE, message="the hub has published no queue"))
    session.show(found, lambda: out.print(render.queue(found)))


def _steer(verb: str, data: Path | None, config: Path | None, as_json: bool) -> None:
    session = _session(data, config, as_json)
    done = session.run(lambda lab: lab.steer_queue(verb))
    session.show(done, lambda: out.print(done.message, highlight=False))


@queue_app.command("pause")
def queue_pause(
    data: DataOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Start nothing until the queue is resumed; what runs goes on."""
    _steer("pause-queue", data, config, as_json)


@queue_app.command("resume")
def queue_resume(
    data: DataOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Start experiments again."""
    _steer("resume-queue", data, config, as_json)


@queue_app.command("drain")
def queue_drain(
    data: DataOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Finish what runs, start nothing."""
    _steer("drain-queue", data, config, as_json)


class _Nodes(Payload):
    nodes: list[dict[str, object]]


@app.command()
def nodes(
    data: DataOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show every reactor: what it does and measures."""
    session = _session(data, config, as_json)

    async def work(lab: Lab) -> Lab:
        await lab.observe()
        return lab

    lab = session.run(work)
    found = _sorted(lab)
    as_data = _Nodes(
        nodes=[
            {
                "node": node.name,
                "status": node.status.model_dump(mode="json") if node.status else None,
                "channels": node.channels.model_dump(mode="json") if node.channels else None,
                "report": node.report.model_dump(mode="json") if node.report else None,
            }
            for node in found
        ]
    )
    session.show(as_data, lambda: out.print(render.nodes(found)))


def _sorted(lab: Lab) -> list[Node]:
    return [lab.nodes[name] for name in sorted(lab.nodes)]


async def _follow(session: Session, lab: Lab, experiment_id: str) -> Status | None:
    last: Experiment | None = None
    shown = ""
    async for item in lab.follow(experiment_id):
        if isinstance(item, Experiment):
            last = item
            line = render.change(item)
            if session.as_json:
                print(item.model_dump_json(), flush=True)
            elif line.plain != shown:
                out.print(line)
                shown = line.plain
        else:
            _print(session, item)
    return last.status if last else None


def _print(session: Session, line: LogLine) -> None:
    if session.as_json:
        print(line.model_dump_json(), flush=True)
    else:
        out.print(render.log_line(line), soft_wrap=True)


def _leave(status: Status | None) -> None:
    if status in {Status.FAILED, Status.CANCELLED}:
        raise typer.Exit(NOT_COMPLETED)


def _usage(session: Session, message: str) -> NoReturn:
    session.fail(Error(code=ErrorCode.MALFORMED, message=message, hint="see --help"))


def _known(session: Session, experiment_id: str) -> str:
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


def _read_script(session: Session, path: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        err.print(f"[bold red]cannot read {path}[/]: {error.strerror}", highlight=False)
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


def _parameters(session: Session, pairs: list[str]) -> Parameters:
    values: dict[str, bool | int | float | str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            _usage(session, f"{pair!r} is not NAME=VALUE")
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


def main() -> None:
    """Run the command line."""
    app()
