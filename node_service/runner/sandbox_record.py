"""What is kept of a sandbox in the directory of its run, so that it outlives the runner."""

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from node_service.runner import wire
from node_service.runner.interface import Exit, Limits, RunPaths
from node_service.runner.spool import Spool


@dataclass(frozen=True, slots=True)
class Record:
    """Written before the start and again at the end.

    Attributes:
        exit: How it ended; None while it runs, or if it ended together with its runner.
    """

    image: str
    limits: Limits
    started_at: datetime
    exit: Exit | None = None


def state_file(paths: RunPaths) -> Path:
    """Return where the record lies."""
    return paths.directory / "sandbox.json"


def output_file(paths: RunPaths) -> Path:
    """Return where the output lies."""
    return paths.directory / "output.jsonl"


def open_spool(paths: RunPaths, limits: Limits) -> Spool:
    """Return the output of the run."""
    return Spool(output_file(paths), limits.log)


def load(paths: RunPaths) -> Record | None:
    """Return the record; None if the run was never started."""
    try:
        record: Record = wire.decode(Record, json.loads(state_file(paths).read_bytes()))
    except FileNotFoundError:
        return None
    return record


def save(paths: RunPaths, record: Record) -> None:
    """Keep the record; durable when it returns, and never half."""
    file = state_file(paths)
    draft = file.with_suffix(".draft")
    with draft.open("wb") as out:
        out.write(wire.line(wire.encode(record)))
        out.flush()
        os.fsync(out.fileno())
    draft.rename(file)
    directory = os.open(paths.directory, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
