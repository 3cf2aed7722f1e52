"""Where the engine finds the files of a runner that may live in a container itself.

The engine mounts what lies on its own machine. A runner in a container knows its volumes by other
names; the engine, which made them, says where they lie.
"""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

from node_service.runner.docker import Engine, NotFoundError
from node_service.runner.interface import RunnerError

_HINT: Final = "mount a volume there, and leave the container's host name as the engine gives it"


async def seen_by_engine(engine: Engine, directory: Path, *, in_container: bool) -> Path:
    """Return a directory of this process, without links, as the engine sees it.

    Raises:
        RunnerError: The engine does not answer, does not know this container, or no volume of it
            holds the directory.
    """
    if not in_container:
        return directory
    name = socket.gethostname()
    try:
        inspected = await engine.call(
            lambda api: cast("dict[str, Any]", api.inspect_container(name))
        )
    except NotFoundError as error:
        raise RunnerError(f"the engine knows no container {name}", _HINT) from error
    return outside(directory, inspected["Mounts"])


def outside(directory: Path, mounts: Sequence[Mapping[str, Any]]) -> Path:
    """Return a container's directory as its engine sees it. Pure.

    Args:
        directory: Inside the container, absolute.
        mounts: Of the container, as the engine tells them.

    Raises:
        RunnerError: It lies on none of them.
    """
    holding = [m for m in mounts if directory.is_relative_to(str(m["Destination"]))]
    if not holding:
        raise RunnerError(f"{directory} lies on no volume of this container", _HINT)
    nearest = max(holding, key=lambda m: len(PurePosixPath(str(m["Destination"])).parts))
    return Path(str(nearest["Source"])) / directory.relative_to(str(nearest["Destination"]))
