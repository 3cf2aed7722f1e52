"""Commands of administrators about one reactor."""

from typing import Annotated

import typer

from bioreactor.cli.arguments import (
    ConfigOption,
    DataOption,
    JsonOption,
    YesOption,
    build,
    confirm,
    session_of,
    tell,
)
from bioreactor.lab import Lab
from broker.messages import Done, OnNode

reactor_app = typer.Typer(
    help="Drain a reactor, give it up or back, stop it.", no_args_is_help=True
)
NodeArgument = Annotated[
    str, typer.Argument(metavar="REACTOR", help="As `bioreactor nodes` names it.")
]


@reactor_app.command()
def drain(
    node: NodeArgument,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Finish what runs there, start nothing more."""
    session = session_of(data, config, as_json)
    name = build(session, OnNode, node=node).node
    tell(session, session.run(lambda lab: lab.drain_node(name)))


@reactor_app.command()
def resume(
    node: NodeArgument,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a drained or dead reactor back to the queue."""
    session = session_of(data, config, as_json)
    name = build(session, OnNode, node=node).node
    tell(session, session.run(lambda lab: lab.resume_node(name)))


@reactor_app.command("declare-dead")
def declare_dead(
    node: NodeArgument,
    power_is_off: Annotated[
        bool, typer.Option("--power-is-off", help="You have seen that it is.")
    ] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give up a reactor without power: what it holds has failed and is not run again."""
    session = session_of(data, config, as_json)
    name = build(session, OnNode, node=node).node
    tell(session, session.run(lambda lab: lab.declare_dead(name, power_is_off=power_is_off)))


def estop(
    node: NodeArgument,
    reason: Annotated[str, typer.Option(help="Shown to people.")] = "",
    take_back: Annotated[
        bool, typer.Option("--take-back", help="Take back an order that no reactor has obeyed.")
    ] = False,
    yes: YesOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a reactor in an emergency: every output goes to its safe state and stays there.

    Works without the hub. Should the reactor be away, it obeys when it comes back; so does one that
    nobody knows yet, unless the order is taken back.
    """
    session = session_of(data, config, as_json)
    name = build(session, OnNode, node=node).node
    if take_back:
        confirm(session, yes, f"Take the order to stop {name} back?")

    async def work(lab: Lab) -> Done:
        if take_back:
            await lab.take_back_stop(name)
            return Done(outcome="done", message=f"no order of yours to stop {name} stands any more")
        latched = await lab.stop_reactor(name, reason[:200])
        if latched is None:
            message = f"{name} was told to stop and has not answered yet; it obeys when it hears"
            return Done(outcome="accepted", message=message)
        message = f"{name} is stopped; `bioreactor reactor release {name}` releases it"
        return Done(outcome="done", message=message)

    tell(session, session.run(work))


@reactor_app.command()
def release(
    node: NodeArgument,
    yes: YesOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Release a reactor's emergency stop; the queue may start an experiment there at once."""
    session = session_of(data, config, as_json)
    name = build(session, OnNode, node=node).node
    confirm(session, yes, f"Have you looked at {name}? Release its emergency stop?")

    async def work(lab: Lab) -> Done:
        await lab.release_reactor(name)
        return Done(outcome="done", message=f"the emergency stop of {name} is released")

    tell(session, session.run(work))


reactor_app.command("estop")(estop)
