"""Which kind of isolation this machine can give, and whether it is good enough."""

import os
import shutil
import socket
from pathlib import Path
from typing import Final, Literal

from broker.messages import ContractError, ErrorCode
from node_service.settings import NodeSettings

_SOCKET: Final = "/var/run/docker.sock"


def choose(settings: NodeSettings) -> Literal["docker", "bubblewrap"]:
    """Return the runner to use; blocks for a moment.

    Raises:
        ContractError: ENGINE, there is neither an engine nor leave to do without one; or the
            runner is a separate one.
    """
    if settings.runner == "separate":
        raise ContractError(
            ErrorCode.ENGINE,
            "the engine belongs to a separate runner, not to this node",
            "do this where the runner is, with its own settings",
        )
    if settings.runner == "bubblewrap" and not settings.allow_reduced_isolation:
        raise ContractError(
            ErrorCode.ENGINE,
            "bubblewrap isolates less than an engine does, and that is not allowed here",
            "set allow_reduced_isolation = true in [node], or use runner = 'docker'",
        )
    if settings.runner != "auto":
        return settings.runner
    if "DOCKER_HOST" in os.environ or any(_answers(Path(path)) for path in _sockets()):
        return "docker"
    if not settings.allow_reduced_isolation:
        raise ContractError(
            ErrorCode.ENGINE,
            "no container engine answers on this machine",
            "start Docker; or set allow_reduced_isolation = true in [node] to use bubblewrap",
        )
    if shutil.which("bwrap") is None:
        raise ContractError(
            ErrorCode.ENGINE,
            "neither a container engine nor bubblewrap is there to isolate experiments",
            "install docker.io, or bubblewrap",
        )
    return "bubblewrap"


def _sockets() -> list[str]:
    own = os.environ.get("XDG_RUNTIME_DIR")
    return [_SOCKET, *([] if own is None else [f"{own}/docker.sock"])]


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
