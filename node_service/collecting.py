"""The end of an attempt after its reactor was given back: results, last record, clearing away."""

import asyncio
import logging
from pathlib import Path
from typing import Final

from broker.messages import RunLimits
from node_service.console import Console
from node_service.container import persist
from node_service.packing import Packer
from node_service.results import FoundFile, look
from node_service.runner.interface import Runner, RunnerError, RunnerUnavailableError
from node_service.runs import Ending, RunKey
from node_service.steps import last_step
from node_service.workplace import Station, runner_attempt

MAX_TOLD: Final = 20
"""Files left out that are named in the log; the others are counted."""
_SLACK: Final = 8

logger = logging.getLogger(__name__)


async def collect(
    station: Station,
    key: RunKey,
    limits: RunLimits,
    ending: Ending,
    console: Console,
    *,
    started: bool,
    elapsed: float,
) -> None:
    """Move the results into the journal and close the attempt; nothing of it is left behind.

    `started` says whether a container may have existed; else there are no results to look for.
    `elapsed` are the seconds of the experiment's clock at its end.
    """
    files: list[FoundFile] = []
    if started:
        await persist(f"open the results of {key}", lambda: _open(station.runner, key, console))
        files = await _look(station.paths(key).directory, limits, console)
    manifest, upto = await Packer(key, station.journal, station.ledger, console.tell).pack(files)
    await console.close()
    record = last_step(key, station.clock, ending, elapsed=elapsed).model_copy(
        update={"files": manifest, "files_upto": upto}
    )
    await station.ledger.finished(key, record)
    await station.outbox.flush()
    try:
        await station.runner.discard(runner_attempt(key))
    except RunnerError as error:
        logger.warning("the files of %s stay until the next start: %s", key, error)


async def _open(runner: Runner, key: RunKey, console: Console) -> None:
    """Open the results; what is damaged beyond that is told and left out."""
    try:
        await runner.open_results(runner_attempt(key))
    except RunnerUnavailableError:
        raise
    except RunnerError as error:
        await console.tell(f"Files in /results cannot be read: {error.message}")


async def _look(directory: Path, limits: RunLimits, console: Console) -> list[FoundFile]:
    """Return what was saved through the gateway, and what lies in the container's directory.

    Of two files with one name the saved one is taken: it was whole when it was saved.
    """
    saved = await asyncio.to_thread(look, directory / "saved", limits.results)
    # Their file system has a size of its own, a little more than the limit; what looks larger is
    # a file without content.
    written = await asyncio.to_thread(
        look, directory / "results", limits.results + limits.results // _SLACK
    )
    names = {file.name for file in saved.files}
    twice = [file.name for file in written.files if file.name in names]
    refused = [
        *saved.refused,
        *written.refused,
        *(f"{name!a}: a file of that name was saved, too, and is kept" for name in twice),
    ]
    for sentence in refused[:MAX_TOLD]:
        await console.tell(f"Result left out: {sentence}")
    if len(refused) > MAX_TOLD:
        await console.tell(f"Results left out: {len(refused) - MAX_TOLD} more.")
    files = [*saved.files, *(file for file in written.files if file.name not in names)]
    return sorted(files, key=lambda file: file.name)
