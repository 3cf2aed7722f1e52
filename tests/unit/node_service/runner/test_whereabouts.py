"""Where the engine finds what a runner in a container calls by other names."""

from pathlib import Path

import pytest

from node_service.runner.interface import RunnerError
from node_service.runner.whereabouts import outside

MOUNTS = (
    {"Source": "/var/lib/docker/volumes/data/_data", "Destination": "/var/lib/node"},
    {"Source": "/srv/runs", "Destination": "/var/lib/node/runner"},
    {"Source": "/run/docker.sock", "Destination": "/run/engine.sock"},
)


@pytest.mark.parametrize(
    ("inside", "there"),
    [
        ("/var/lib/node/runner/runs", "/srv/runs/runs"),
        ("/var/lib/node/runner", "/srv/runs"),
        ("/var/lib/node/runners", "/var/lib/docker/volumes/data/_data/runners"),
    ],
)
def test_the_nearest_mount_decides(inside: str, there: str) -> None:
    assert outside(Path(inside), MOUNTS) == Path(there)


def test_what_lies_on_no_volume_is_refused() -> None:
    with pytest.raises(RunnerError, match="no volume"):
        outside(Path("/tmp/runs"), MOUNTS)  # noqa: S108  a name, nothing is written
