"""File systems of fixed size for `/results`, each in a file of its own.

A run that fills its results gets "no space left" and harms nobody else, and the node reads what
was written after the end, after a crash, and after a reboot. This needs root and loop devices;
`probe` finds out. The mounts allow no device, no set-user-id bit, no program and follow no link,
neither for the experiment nor for the node that reads.

Everything here blocks, for milliseconds; call it in a thread.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from node_service.runner.interface import CONTAINER_UID, ResultsMode, RunnerError, RunPaths

_OPTIONS: Final = "loop,nosuid,nodev,noexec,nosymfollow,noatime"
_SMALL: Final = 32 * 1024**2
"""Bytes below which a journal would take too large a part."""

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
_NOTHING_TO_CORRECT: Final = (0, 1)
"""e2fsck: no errors, or all of them corrected."""


def image_file(paths: RunPaths) -> Path:
    """Return the file that holds the results of an attempt."""
    return paths.directory / "results.ext4"


def probe(directory: Path) -> ResultsMode:
    """Find out, by doing it once, whether file systems can be made below the directory."""
    if os.geteuid() != 0:
        return "tmpfs"
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=directory) as name:
        paths = RunPaths(Path(name))
        try:
            create(paths, 1024**2)
        except RunnerError:
            return "tmpfs"
        finally:
            release(paths)
    return "filesystem"


def create(paths: RunPaths, size: int) -> None:
    """Make and mount the results of an attempt; nothing happens if they exist.

    Their space is taken from the disk now, so that a full disk fails here and not in the middle
    of a run. A crash in between leaves a file that the next call replaces.

    Args:
        paths: Of the attempt; its directory exists.
        size: Bytes that the experiment can write, about.

    Raises:
        RunnerError: The disk is full, or the system refused.
    """
    file = image_file(paths)
    if file.exists():
        mount(paths)
        return
    draft = file.with_suffix(".draft")
    try:
        with draft.open("wb") as image:
            os.posix_fallocate(image.fileno(), 0, size + _overhead(size))
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RunnerError(
            f"there is no room for results of {size // 1024**2} MiB: {error.strerror}",
            "free some space on the node's disk, or lower the limit of the results",
            "STORAGE_FULL",
        ) from error
    small = ["-b", "1024", "-i", "8192", "-O", "^has_journal"]
    layout = small if size < _SMALL else ["-b", "4096", "-i", "32768", "-J", "size=4"]
    extended = f"nodiscard,lazy_journal_init=1,root_owner={CONTAINER_UID}:{CONTAINER_UID}"
    _system("mkfs.ext4", "-q", "-F", "-m", "0", *layout, "-E", extended, str(draft))
    draft.rename(file)
    mount(paths)


def mount(paths: RunPaths) -> None:
    """Mount the results that exist; nothing happens if they are mounted, or if there are none.

    Raises:
        RunnerError: The file system is damaged beyond repair, or the system refused.
    """
    file, target = image_file(paths), paths.results
    if is_mounted(target) or not file.exists():
        return
    target.mkdir(mode=0o700, exist_ok=True)
    check = subprocess.run(["e2fsck", "-p", str(file)], capture_output=True, text=True, check=False)
    if check.returncode not in _NOTHING_TO_CORRECT:
        raise RunnerError(f"the results in {file} are damaged: {check.stdout.strip()}")
    _system("mount", "-t", "ext4", "-o", _OPTIONS, str(file), str(target))
    lost_and_found = target / "lost+found"
    if lost_and_found.is_dir() and not any(lost_and_found.iterdir()):
        lost_and_found.rmdir()


def release(paths: RunPaths) -> None:
    """Unmount the results; nothing happens if they are not mounted."""
    if is_mounted(paths.results):
        try:
            _system("umount", str(paths.results))
        except RunnerError:  # somebody still reads there: it goes when they are done
            _system("umount", "--lazy", str(paths.results))


def discard(paths: RunPaths) -> None:
    """Remove the attempt's directory with its results and everything else."""
    release(paths)
    if paths.directory.exists():
        shutil.rmtree(paths.directory)


def used(paths: RunPaths) -> int:
    """Return how many bytes of the results are used; 0 if they are not mounted."""
    try:
        if paths.results.stat().st_dev == paths.directory.stat().st_dev:
            return 0
        system = os.statvfs(paths.results)
    except FileNotFoundError:
        return 0
    return (system.f_blocks - system.f_bfree) * system.f_frsize


def is_mounted(target: Path) -> bool:
    """Say whether something is mounted exactly there."""
    return os.path.realpath(target) in mounts()


def mounts() -> Sequence[str]:
    """Return all mount points of this machine, as this process sees it."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [_ESCAPED.sub(lambda code: chr(int(code[1], 8)), line.split()[4]) for line in lines]


def _overhead(size: int) -> int:
    """Return about what the file system takes for itself: journal, inodes, its own reserve."""
    if size < _SMALL:
        return 256 * 1024 + size // 20
    return 5 * 1024**2 + size // 100 + min(size // 50, 16 * 1024**2)


def _system(*arguments: str) -> None:
    """Run a program of the system.

    Raises:
        RunnerError: It is missing or failed.
    """
    try:
        subprocess.run(arguments, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise RunnerError(f"{arguments[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise RunnerError(f"{arguments[0]} failed: {error.stderr.strip()}") from error
