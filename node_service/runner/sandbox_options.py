"""What bubblewrap is told about an experiment's sandbox. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node_service.image.tree import INTERPRETER, Tree
from node_service.runner.interface import (
    CONTAINER_UID,
    GATEWAY_DIRECTORY,
    RESULTS_PATH,
    SCRIPT_PATH,
    Limits,
    ResultsMode,
    RunPaths,
)
from node_service.runner.options import PACKAGES_PATH, TMPFS_RESULTS, environment

_LINKS: Final = (("usr/lib", "/lib"), ("usr/lib64", "/lib64"), ("usr/bin", "/bin"))
_HIDDEN: Final = ("/usr/local", "/usr/src", "/usr/share/python-wheels")
"""Parts of the machine's `/usr` that are no business of an experiment."""

_AS_ROOT: Final = (
    "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
    "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID",
    "--cap-add", "CAP_SETPCAP",
)  # fmt: skip
_AS_USER: Final = (
    "--unshare-all", "--unshare-user", "--disable-userns",
    "--uid", str(CONTAINER_UID), "--gid", str(CONTAINER_UID),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Open files that bubblewrap inherits.

    Attributes:
        seccomp: The compiled system call profile.
        block: The sandbox starts when this can be read.
        info: Gets the process id of the sandbox.
    """

    seccomp: int
    block: int
    info: int


def sandbox_options(
    limits: Limits,
    paths: RunPaths,
    tree: Tree,
    results: ResultsMode,
    descriptors: Descriptors,
    *,
    root: bool,
) -> Sequence[str]:
    """Return bubblewrap's arguments up to the command.

    Args:
        limits: Of the run.
        paths: Of the run.
        tree: What it imports from.
        results: How `/results` is made.
        descriptors: Inherited by bubblewrap.
        root: The sandbox is made by root and then left for a user without rights; otherwise it
            is made inside a user namespace of this user.
    """
    return [
        *(_AS_ROOT if root else _AS_USER),
        "--die-with-parent",
        "--new-session",
        *("--hostname", "experiment"),
        "--clearenv",
        *_environment(limits),
        *("--ro-bind", "/usr", "/usr"),
        *(part for link in _LINKS for part in ("--symlink", *link)),
        *(part for path in _HIDDEN if Path(path).is_dir() for part in ("--tmpfs", path)),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--size", str(limits.tmp), "--tmpfs", "/tmp"),  # noqa: S108
        *("--perms", "1777", "--size", str(limits.tmp), "--tmpfs", "/dev/shm"),  # noqa: S108
        *_directories("/etc", "/opt", "/experiment", "/run"),
        *("--ro-bind-try", "/etc/fonts", "/etc/fonts"),
        *("--ro-bind", str(tree.packages), PACKAGES_PATH),
        *("--ro-bind", str(tree.sdk), f"{PACKAGES_PATH}/bioreactor"),
        *("--ro-bind", str(paths.script), SCRIPT_PATH),
        *("--ro-bind", str(paths.gateway), GATEWAY_DIRECTORY),
        *_results(limits, paths, results),
        *("--chdir", RESULTS_PATH),
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        *("--seccomp", str(descriptors.seccomp)),
        *("--block-fd", str(descriptors.block), "--info-fd", str(descriptors.info)),
    ]


def sandbox_command(*, root: bool) -> Sequence[str]:
    """Return what is run inside; without the machine's own Python packages."""
    script = [str(INTERPRETER), "-S", "-u", SCRIPT_PATH]
    if not root:
        return script
    return [
        "/usr/bin/setpriv", f"--reuid={CONTAINER_UID}", f"--regid={CONTAINER_UID}",
        "--clear-groups", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all",
        "--no-new-privs", "--", *script,
    ]  # fmt: skip


def _environment(limits: Limits) -> Sequence[str]:
    variables = {"PATH": "/usr/bin", **environment(limits)}
    return [part for item in variables.items() for part in ("--setenv", *item)]


def _directories(*names: str) -> Sequence[str]:
    return [part for name in names for part in ("--perms", "0755", "--dir", name)]


def _results(limits: Limits, paths: RunPaths, results: ResultsMode) -> Sequence[str]:
    if results == "filesystem":
        return ["--bind", str(paths.results), RESULTS_PATH]
    size = min(limits.results, TMPFS_RESULTS)
    return ["--perms", "1777", "--size", str(size), "--tmpfs", RESULTS_PATH]
