"""The command line's commands, put together."""

from typing import Annotated

import typer

from bioreactor.cli import access, experiments, laboratory, reactors, services
from bioreactor.cli.installing import service_app
from bioreactor.cli.up import up
from broker import VERSION

app = typer.Typer(
    name="bioreactor",
    help="Share bioreactors: queue experiments, watch them live, keep every result.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True}

app.command()(up)
for service in (
    services.hub,
    services.node,
    services.portal,
    services.image,
    services.emulate,
    services.hardware,
):
    app.command(context_settings=_PASSED_ON, add_help_option=False)(service)
app.command()(experiments.submit)
app.command("list")(experiments.list_)
app.command()(experiments.show)
app.command()(experiments.logs)
app.command()(laboratory.watch)
app.command()(experiments.results)
app.command()(experiments.cancel)
app.command()(experiments.pause)
app.command()(experiments.resume)
app.command()(experiments.move)
app.command("run-now")(experiments.run_now)
app.command()(experiments.annotate)
app.command()(experiments.delete)
app.command()(experiments.restore)
app.command()(experiments.audit)
app.command()(experiments.send)
app.add_typer(service_app, name="service")
app.add_typer(laboratory.queue_app, name="queue")
app.command()(laboratory.nodes)
app.add_typer(reactors.reactor_app, name="reactor")
app.command()(reactors.estop)
app.add_typer(access.access_app, name="access")


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


def main() -> None:
    """Run the command line."""
    app()
