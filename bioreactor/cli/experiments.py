"""Commands about one experiment, or a list of them."""

from pathlib import Path
from typing import Annotated

import typer
from ulid import ULID

from bioreactor.cli import render
from bioreactor.cli.arguments import (
    AdminOption,
    ConfigOption,
    DataOption,
    IdArgument,
    JsonOption,
    YesOption,
    build,
    confirm,
    known_id,
    parameters_of,
    read_script,
    session_of,
    tell,
    usage,
)
from bioreactor.cli.following import follow_experiment, leave, print_line
from bioreactor.cli.session import Session, err, out
from bioreactor.lab import Lab
from broker.messages import (
    Annotate,
    ExportKind,
    List,
    Move,
    ReadAudit,
    RunNow,
    SortKey,
    Status,
)


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
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print the experiment's id and nothing else.")
    ] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue an experiment."""
    session = session_of(data, config, as_json)
    source = read_script(session, script)
    filename = None if str(script) == "-" else script.name
    parameters = parameters_of(session, parameter or [])

    async def work(lab: Lab) -> Status | None:
        submitted = await lab.submit(
            source,
            name=name,
            parameters=parameters,
            filename=filename,
            request_id=request_id or str(ULID()),
        )
        told = submitted.experiment_id
        if not quiet:
            told += f": {submitted.message}"
        session.show(submitted, lambda: out.print(told, highlight=False, soft_wrap=True))
        for warning in submitted.warnings:
            err.print(f"[yellow]{warning}[/]", highlight=False, soft_wrap=True)
        return await follow_experiment(session, lab, submitted.experiment_id) if follow else None

    leave(session.run(work))


def list_(
    mine: Annotated[bool, typer.Option(help="Only mine.")] = False,
    status: Annotated[list[Status] | None, typer.Option(help="Only these states.")] = None,
    search: Annotated[str, typer.Option(help="Words in name, note, owner or id.")] = "",
    node: Annotated[str | None, typer.Option(help="Only on this reactor.")] = None,
    sort: Annotated[SortKey, typer.Option(help="What to order by.")] = SortKey.CREATED,
    ascending: Annotated[bool, typer.Option("--ascending", help="Least first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List experiments, newest first unless told otherwise."""
    session = session_of(data, config, as_json)
    request = build(
        session,
        List,
        mine=mine,
        status=tuple(status or ()),
        search=search,
        node=node,
        sort=sort,
        ascending=ascending,
        limit=limit,
    )
    listed = session.run(lambda lab: lab.list(request))

    def text() -> None:
        if not listed.experiments and (mine or status or search or node):
            out.print("No experiment is like that; `bioreactor list` shows all.")
            return
        if not listed.experiments:
            out.print("No experiments yet: `bioreactor submit examples/turbidostat.py --follow`")
            return
        out.print(render.experiments(listed.experiments))
        if listed.total > len(listed.experiments):
            out.print(f"[dim]{len(listed.experiments)} of {listed.total}[/]")

    session.show(listed, text)


def show(
    experiment_id: IdArgument,
    script: Annotated[bool, typer.Option(help="Print the script instead.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an experiment."""
    session = session_of(data, config, as_json)
    known = known_id(session, experiment_id)
    got = session.run(lambda lab: lab.get(known))

    def text() -> None:
        if script:
            print(got.script or "")
            return
        out.print(render.experiments((got.experiment,)))
        out.print(render.change(got.experiment))
        for file in got.experiment.results:
            out.print(f"  {file.name}  [dim]{file.size} bytes[/]", highlight=False, soft_wrap=True)

    session.show(got, text)


def logs(
    experiment_id: IdArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it is done.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print an experiment's log."""
    session = session_of(data, config, as_json)
    known = known_id(session, experiment_id)

    async def work(lab: Lab) -> Status | None:
        after = 0
        while not follow:
            page = await lab.logs(known, after)
            for line in page.lines:
                print_line(session, line)
            if not page.lines:
                return None
            after = page.last
        return await follow_experiment(session, lab, known)

    leave(session.run(work))


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
    session = session_of(data, config, as_json)
    known = known_id(session, experiment_id)
    kind = ExportKind.FILE if file else what
    if kind is ExportKind.FILE and file is None:
        usage(session, "say which file: --file NAME; `bioreactor show ID` lists them")
    if not (output if output.is_dir() else output.parent).is_dir():
        usage(session, f"there is no directory {output.parent}")

    async def work(lab: Lab) -> None:
        exported = await lab.export(known, kind, file)
        path = await lab.download(exported, output)
        session.show(
            exported,
            lambda: out.print(f"{path} ({exported.size} bytes)", highlight=False, soft_wrap=True),
        )

    session.run(work)


def _command(verb: str, experiment_id: str, session: Session, admin: bool) -> None:
    known = known_id(session, experiment_id)
    tell(session, session.run(lambda lab: lab.command(verb, known, admin=admin)))


def cancel(
    experiment_id: IdArgument,
    admin: AdminOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel an experiment; what it saved so far is kept."""
    _command("cancel", experiment_id, session_of(data, config, as_json), admin)


def pause(
    experiment_id: IdArgument,
    admin: AdminOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pause an experiment: a waiting one is passed over, a running one is frozen."""
    _command("pause", experiment_id, session_of(data, config, as_json), admin)


def resume(
    experiment_id: IdArgument,
    admin: AdminOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Resume a paused experiment."""
    _command("resume", experiment_id, session_of(data, config, as_json), admin)


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
    session = session_of(data, config, as_json)
    if sum(place is not None for place in (position, before, after)) != 1:
        usage(session, "say where: exactly one of --to, --before and --after")
    request = Move(
        id=str(ULID()),
        experiment_id=known_id(session, experiment_id),
        position=position,
        before=before and known_id(session, before),
        after=after and known_id(session, after),
    )
    tell(session, session.run(lambda lab: lab.move(request, admin=admin)))


def run_now(
    experiment_id: IdArgument,
    node: Annotated[str | None, typer.Option(help="On this reactor.")] = None,
    stop_running: Annotated[bool, typer.Option(help="Cancel what runs there, for good.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a waiting experiment first (administrators)."""
    session = session_of(data, config, as_json)
    request = build(
        session,
        RunNow,
        id=str(ULID()),
        experiment_id=known_id(session, experiment_id),
        node=node,
        stop_running=stop_running,
    )
    tell(session, session.run(lambda lab: lab.run_now(request)))


def annotate(
    experiment_id: IdArgument,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    note: Annotated[str | None, typer.Option(help="Its note; empty takes it away.")] = None,
    admin: AdminOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rename an experiment, or keep a note with it."""
    session = session_of(data, config, as_json)
    if name is None and note is None:
        usage(session, "say what to change: --name, --note or both")
    known = known_id(session, experiment_id)
    request = build(session, Annotate, experiment_id=known, name=name, note=note)
    tell(session, session.run(lambda lab: lab.annotate(request, admin=admin)))


def delete(
    experiment_id: IdArgument,
    yes: YesOption = False,
    admin: AdminOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a finished experiment with all its data; `restore` takes it back for a while."""
    session = session_of(data, config, as_json)
    known = known_id(session, experiment_id)
    confirm(session, yes, f"Delete {known} and everything it recorded?")
    tell(session, session.run(lambda lab: lab.delete(known, admin=admin)))


def restore(
    experiment_id: IdArgument,
    admin: AdminOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a deletion back, soon after it."""
    _command("restore", experiment_id, session_of(data, config, as_json), admin)


def audit(
    experiment_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only of this experiment.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    admin: Annotated[bool, typer.Option("--admin", help="As administrator: all of it.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who did what, newest first."""
    session = session_of(data, config, as_json)
    known = None if experiment_id is None else known_id(session, experiment_id)
    request = ReadAudit(experiment_id=known, limit=limit)
    audited = session.run(lambda lab: lab.audit(request, admin=admin))
    session.show(audited, lambda: out.print(render.audit(audited.entries)))


def send(
    experiment_id: IdArgument,
    parameter: Annotated[list[str], typer.Argument(metavar="NAME=VALUE…")],
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change parameters of a running experiment."""
    session = session_of(data, config, as_json)
    values = parameters_of(session, parameter)
    known = known_id(session, experiment_id)
    tell(session, session.run(lambda lab: lab.send(known, values)))
