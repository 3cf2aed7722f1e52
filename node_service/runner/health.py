"""Whether a runner and its engine answer: ``python -m node_service.runner.health SOCKET``."""

import asyncio
import sys
from pathlib import Path
from typing import Final

from node_service.runner.client import RunnerClient
from node_service.runner.interface import RunnerError

_PATIENCE: Final = 2.0


def main(socket: Path) -> int:
    """Say it in one line; return the exit status."""
    try:
        info = asyncio.run(RunnerClient(socket, patience=_PATIENCE).info())
    except RunnerError as error:
        sys.stdout.write(f"{error.message}; {error.hint}\n")
        return 1
    sys.stdout.write(f"{info.isolation}, engine {info.version}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
