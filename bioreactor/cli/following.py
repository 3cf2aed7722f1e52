"""Following one experiment to its end."""

import typer

from bioreactor.cli import render
from bioreactor.cli.exits import NOT_COMPLETED
from bioreactor.cli.session import Session, out
from bioreactor.lab import Lab
from broker.messages import Experiment, LogLine, Status


async def follow_experiment(session: Session, lab: Lab, experiment_id: str) -> Status | None:
    """Print states and log lines until the experiment is finished; return how it ended."""
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
            print_line(session, item)
    return last.status if last else None


def print_line(session: Session, line: LogLine) -> None:
    """Print one log line."""
    if session.as_json:
        print(line.model_dump_json(), flush=True)
    else:
        out.print(render.log_line(line), soft_wrap=True)


def leave(status: Status | None) -> None:
    """Leave with the exit code of an experiment that ended so."""
    if status in {Status.FAILED, Status.CANCELLED}:
        raise typer.Exit(NOT_COMPLETED)
