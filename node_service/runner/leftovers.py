"""What attempts left in the directory of the runs."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from node_service.runner.interface import Attempt, Leftover, RunPaths
from node_service.runner.volumes import mounts


def runs_in(runs: Path) -> Iterator[Attempt]:
    """Give the attempts that have a directory."""
    for entry in sorted(runs.iterdir()):
        experiment_id, _, attempt = entry.name.partition(".")
        if entry.is_dir() and attempt.isdecimal():
            try:
                yield Attempt(experiment_id, int(attempt))
            except ValueError:
                continue  # not one of ours: left alone


def leftover_files(runs: Path, known: Collection[Attempt]) -> Sequence[Leftover]:
    """List directories and mounts of attempts other than the known ones."""
    left: list[Leftover] = []
    mounted = set(mounts())
    for run in runs_in(runs):
        if run in known:
            continue
        paths = RunPaths.of(runs, run)
        if os.path.realpath(paths.results) in mounted:
            left.append(Leftover(run, "mount", str(paths.results)))
        left.append(Leftover(run, "directory", str(paths.directory)))
    return left
