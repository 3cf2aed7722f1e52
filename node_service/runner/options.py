"""What the engine is told about an experiment's container. Pure; the only place that decides it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from node_service.runner.interface import (
    CONTAINER_UID,
    GATEWAY_DIRECTORY,
    RESULTS_PATH,
    SCRIPT_PATH,
    Attempt,
    Limits,
    ResultsMode,
    RunPaths,
    RunSpec,
)

LABEL_INSTANCE: Final = "bioreactor.instance"
LABEL_NODE: Final = "bioreactor.node"
LABEL_EXPERIMENT: Final = "bioreactor.experiment"
LABEL_ATTEMPT: Final = "bioreactor.attempt"
LABEL_IMAGE: Final = "bioreactor.image"
"""On images: name in the allow-list. Nothing but such an image is ever started."""

LABEL_CONTENT: Final = "bioreactor.content"
"""On images: hash of everything that they were built from."""

PACKAGES_PATH: Final = "/opt/packages"
TMPFS_RESULTS: Final = 16 * 1024**2
"""Bytes of `/results` where it is a tmpfs, which counts as the experiment's memory."""

_MIN_CPUS: Final = 0.01
_LOG_FILES: Final = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where containers are made: the same for all of a runner.

    Attributes:
        node: Name of the node, for people.
        instance: Tells this runner's containers from those of any other runner on the engine.
        runtime: Name of the engine's runtime, for example ``runsc``; None is its default.
        seccomp: The system call profile as JSON.
        results: How `/results` is made.
        cpus: Cores of the machine.
        runs: Directory of the runs as the engine sees it.
        propagation: Of mounts; the engine wants ``rslave`` below its own directory, where volumes
            are. No difference, since nobody mounts anything there.
    """

    node: str
    instance: str
    runtime: str | None
    seccomp: str
    results: ResultsMode
    cpus: int
    runs: Path
    propagation: Literal["rprivate", "rslave"] = "rprivate"


def container_name(instance: str, run: Attempt) -> str:
    """Return the one name that an attempt's container can have, so that there is only one."""
    return f"bioreactor-{instance}-{run.experiment_id}-{run.attempt}"


def command() -> list[str]:
    """Return what is run inside."""
    return ["python3", "-u", SCRIPT_PATH]


def environment(limits: Limits) -> Mapping[str, str]:
    """Return the environment of the script."""
    threads = str(max(1, math.ceil(limits.cpus)))
    return {
        "BIOREACTOR_SOCKET": f"{GATEWAY_DIRECTORY}/gateway.sock",
        "BIOREACTOR_RESULTS": RESULTS_PATH,
        "PYTHONPATH": PACKAGES_PATH,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
        "HOME": "/tmp",  # noqa: S108 (inside the container, where it is private)
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/tmp/matplotlib",  # noqa: S108
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }


def create_options(spec: RunSpec, place: Place) -> dict[str, Any]:
    """Return the body of the engine's *create container* call."""
    limits = spec.limits
    paths = RunPaths.of(place.runs, spec.run)
    return {
        "Image": spec.image,
        "Cmd": command(),
        "Entrypoint": [],
        "Env": [f"{name}={value}" for name, value in environment(limits).items()],
        "User": f"{CONTAINER_UID}:{CONTAINER_UID}",
        "WorkingDir": RESULTS_PATH,
        "Hostname": "experiment",
        "NetworkDisabled": True,
        "AttachStdout": False,
        "AttachStderr": False,
        "StopSignal": "SIGTERM",
        "StopTimeout": math.ceil(limits.grace),
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {
            LABEL_INSTANCE: place.instance,
            LABEL_NODE: place.node,
            LABEL_EXPERIMENT: spec.run.experiment_id,
            LABEL_ATTEMPT: str(spec.run.attempt),
        },
        "HostConfig": _host_options(limits, paths, place),
    }


def _host_options(limits: Limits, paths: RunPaths, place: Place) -> dict[str, Any]:
    tmpfs = {"/tmp": f"rw,nosuid,nodev,noexec,size={limits.tmp},mode=1777"}  # noqa: S108
    mounts = [
        _bind(place, paths.script, SCRIPT_PATH, read_only=True),
        _bind(place, paths.gateway, GATEWAY_DIRECTORY, read_only=True),
    ]
    if place.results == "filesystem":
        mounts.append(_bind(place, paths.results, RESULTS_PATH, read_only=False))
    else:
        size = min(limits.results, TMPFS_RESULTS)
        owner = f"uid={CONTAINER_UID},gid={CONTAINER_UID},mode=0755"
        tmpfs[RESULTS_PATH] = f"rw,nosuid,nodev,noexec,size={size},{owner}"
    options: dict[str, Any] = {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={place.seccomp}"],
        "Privileged": False,
        "Init": True,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "PidsLimit": limits.pids,
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "NanoCpus": int(max(_MIN_CPUS, min(limits.cpus, place.cpus)) * 1e9),
        "OomScoreAdj": 500,
        "ShmSize": limits.tmp,
        "Tmpfs": tmpfs,
        "Mounts": mounts,
        "Ulimits": [
            {"Name": "nofile", "Soft": 1024, "Hard": 1024},
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "memlock", "Soft": 65536, "Hard": 65536},
        ],
        "LogConfig": {
            "Type": "local",
            "Config": {
                "max-size": str(2 * limits.log),
                "max-file": str(_LOG_FILES),
                "compress": "false",
            },
        },
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
    }
    if place.runtime is not None:
        options["Runtime"] = place.runtime
    return options


def _bind(place: Place, source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": place.propagation},
    }
