"""Commands about the laboratory: the queue and the reactors."""

from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from bioreactor.cli import render
from bioreactor.cli.arguments import (
    ConfigOption,
    DataOption,
    JsonOption,
    build,
    known_id,
    session_of,
    tell,
    usage,
)
from bioreactor.cli.following import follow_experiment, leave
from bioreactor.cli.session import out
from bioreactor.lab import Lab, Node
from broker.messages import Error, ErrorCode, Halt, Limits, Payload, Queue, Retention, Status

queue_app = typer.Typer(help="Show the queue, or steer it.")


def watch(
    experiment_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Of one experiment; else all reactors.")
    ] = None,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch an experiment, or every reactor, live in the terminal."""
    session = session_of(data, config, as_json)

    async def one(lab: Lab) -> Status | None:
        return await follow_experiment(session, lab, known_id(session, experiment_id or ""))

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
        leave(session.run(one))
    else:
        session.run(everything)


@queue_app.callback(invoke_without_command=True)
def queue(
    context: typer.Context,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what runs and what waits."""
    session = session_of(data, config, as_json)
    if context.invoked_subcommand is not None:
        return

    async def work(lab: Lab) -> Queue | None:
        await lab.observe()
        return lab.queue

    found = session.run(work)
    if found is None:
        session.fail(Error(code=ErrorCode.UNAVAILABLE, message="the hub has published no queue"))
    session.show(found, lambda: out.print(render.queue(found)))


_Reason = Annotated[str, typer.Option(help="Why; shown to everybody.")]


def _steer(
    verb: str, data: Path | None, config: Path | None, as_json: bool, reason: str = ""
) -> None:
    session = session_of(data, config, as_json)
    why = build(session, Halt, reason=reason).reason
    tell(session, session.run(lambda lab: lab.steer_queue(verb, why)))


@queue_app.command("pause")
def queue_pause(
    reason: _Reason = "",
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start nothing until the queue is resumed; what runs goes on."""
    _steer("pause-queue", data, config, as_json, reason)


@queue_app.command("resume")
def queue_resume(
    data: DataOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Start experiments again."""
    _steer("resume-queue", data, config, as_json)


@queue_app.command("drain")
def queue_drain(
    reason: _Reason = "",
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Finish what runs, start nothing."""
    _steer("drain-queue", data, config, as_json, reason)


@queue_app.command("limits")
def queue_limits(
    per_user: Annotated[int | None, typer.Option(help="Unfinished experiments of a user.")] = None,
    user: Annotated[
        str | None,
        typer.Option(help="Whose --per-user it is, e.g. mqtt:ada; without --per-user: as all."),
    ] = None,
    max_duration: Annotated[float | None, typer.Option(help="Seconds that a run may take.")] = None,
    max_pause: Annotated[float | None, typer.Option(help="Seconds that a run is held.")] = None,
    max_script: Annotated[int | None, typer.Option(help="Bytes of a script.")] = None,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change limits for what comes (administrators); without options, show them."""
    session = session_of(data, config, as_json)
    request = build(
        session,
        Limits,
        per_user=per_user,
        user=user,
        max_duration=max_duration,
        max_pause=max_pause,
        max_script=max_script,
    )
    tell(session, session.run(lambda lab: lab.change_limits(request)))


@queue_app.command("retention")
def queue_retention(
    days: Annotated[int | None, typer.Option(help="Delete so long after the end.")] = None,
    forever: Annotated[bool, typer.Option(help="Delete nothing.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how long finished experiments and their data are kept (administrators)."""
    session = session_of(data, config, as_json)
    if (days is None) != forever:
        usage(session, "say --days N or --forever")
    kept = build(session, Retention, days=days).days
    tell(session, session.run(lambda lab: lab.keep_for(kept)))


class _Nodes(Payload):
    nodes: list[dict[str, object]]


def nodes(
    data: DataOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show every reactor: what it does and measures."""
    session = session_of(data, config, as_json)

    async def work(lab: Lab) -> Lab:
        await lab.observe()
        await lab.read_nodes()
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
                "readings": dict(node.readings),
            }
            for node in found
        ]
    )
    session.show(as_data, lambda: out.print(render.nodes(found)))


def _sorted(lab: Lab) -> list[Node]:
    return [lab.nodes[name] for name in sorted(lab.nodes)]
