"""`python -m hub_service check|backup|restore DIRECTORY`."""

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TaskID

from broker.health import SOCKET
from broker.identity import is_leftover
from hub_service.archive.archive import DATABASE
from hub_service.checking.agreement import check_agreement
from hub_service.checking.backup import PRIVATE, BackupError, back_up, forget_old
from hub_service.checking.findings import ASIDE, Aside, Finding, Progress, Severity
from hub_service.checking.queue_file import check_queue
from hub_service.checking.records import check_records, open_archive
from hub_service.checking.restoring import RestoreError, restore, restore_backup
from hub_service.checking.results import check_results
from hub_service.storage import SCRATCH
from hub_service.store import FILE

SOUND: Final = 0
FOUND: Final = 1
"""Warnings or damage remain."""
NO_INPUT: Final = 66
IN_USE: Final = 75

_OURS: Final = frozenset(
    {
        *(FILE, f"{FILE}.previous", *(f"{FILE}.{ending}" for ending in SCRATCH)),
        *PRIVATE,
        *("hub.lock", "archive", "exports", "reserve", ASIDE, SOCKET),
    }
)
_COLOURS: Final = {Severity.NOTE: "dim", Severity.WARNING: "yellow", Severity.DAMAGE: "bold red"}


class InUseError(Exception):
    """The directory belongs to a hub that runs."""


@contextmanager
def unused(directory: Path) -> Iterator[None]:
    """Keep hubs out of a directory meanwhile; nothing in it changes.

    Raises:
        InUseError: A hub runs there.
    """
    with ExitStack() as stack:
        for path in (directory / "hub.lock", directory / "archive" / "lock"):
            if not path.exists():
                continue
            number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, number)
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(number, 20, 0).decode("ascii", "replace").strip()
                who = f"process {holder}" if holder else "a hub"
                raise InUseError(f"{who} uses {directory}: stop the hub first") from None
        yield


def check(directory: Path, aside: Aside, progress: Progress) -> Iterator[Finding]:
    """Look over a directory; what is found comes as it is found."""
    found, held = check_queue(directory, aside)
    yield from found
    archive = directory / "archive"
    if held is not None or archive.exists():
        opened = open_archive(archive)
        if isinstance(opened, Finding):
            yield opened
        else:
            with closing(opened):
                damaged = False
                for finding in check_records(opened, archive / DATABASE, progress):
                    damaged = damaged or finding.where == DATABASE
                    yield finding
                if not damaged:
                    yield from check_results(opened, archive, aside, progress)
                    if held is not None:
                        yield from check_agreement(opened, held)
    yield from _surroundings(directory, aside)


def _surroundings(directory: Path, aside: Aside) -> Iterator[Finding]:
    if directory.stat().st_mode & 0o077:
        yield Finding(
            Severity.WARNING,
            str(directory),
            "others on this machine may look into it",
            f"chmod 700 {directory}",
        )
    for path in sorted((directory / "archive").glob("*.partial")):
        yield Finding(
            Severity.NOTE,
            f"archive/{path.name}",
            "a copy before a change of schema that was cut short",
            "the next change of schema removes it",
            lambda path=path: aside.move(path),  # type: ignore[misc]
        )
    for path in sorted((directory / "exports").glob("*")):
        if not path.with_name(f"{path.name.split('.')[0]}.json").exists():
            yield Finding(
                Severity.NOTE,
                f"exports/{path.name}",
                "an export that was cut short",
                "the next start removes it; whoever wants it exports again",
                lambda path=path: aside.move(path),  # type: ignore[misc]
            )
    for path in sorted(directory.iterdir()):
        if is_leftover(path.name, PRIVATE):
            yield Finding(
                Severity.NOTE,
                path.name,
                "a file whose writing a crash cut short",
                "it means nothing and may be removed",
                lambda path=path: aside.move(path),  # type: ignore[misc]
            )
        elif path.name not in _OURS and not path.name.startswith(f"{FILE}.schema-"):
            yield Finding(
                Severity.NOTE, path.name, "it is none of the hub's", "look whether you need it"
            )


def main(arguments: Sequence[str]) -> int:
    """Run one of the two; return the exit status."""
    parser = argparse.ArgumentParser(prog="bioreactor hub")
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser(
        "check",
        help="look over the data directory of a stopped hub",
        description="Look over the data directory of a stopped hub; nothing is changed. Exit "
        f"status: {SOUND} sound (notes aside), {FOUND} something is wrong, {NO_INPUT} no hub's "
        f"directory, {IN_USE} a hub runs there.",
    )
    checking.add_argument("directory", type=Path)
    checking.add_argument(
        "--mend",
        action="store_true",
        help=f"do what is safe: move aside (to {ASIDE}/) what does not belong, note damaged "
        "results, count again; nothing is deleted",
    )
    saving = commands.add_parser(
        "backup",
        help="copy a hub's data directory while the hub runs",
        description="Copy a hub's data directory as it is at one moment, whether the hub runs or "
        f"not, and look the copy over. Exit status: {SOUND} sound, {FOUND} no backup or one with "
        "damage.",
    )
    saving.add_argument("directory", type=Path)
    saving.add_argument("into", type=Path, help="folder of backups; each has a name of its own")
    saving.add_argument(
        "--keep", type=_count, metavar="N", help="then delete all but the newest N sound ones"
    )
    restoring = commands.add_parser(
        "restore",
        help="go back to the queue's previous generation, or to a backup",
        description="Put the previous generation in the place of a damaged queue, which is moved "
        f"aside (to {ASIDE}/). The hub then starts in recovery: it adopts what runs and starts "
        "nothing until an administrator resumes the queue.",
    )
    restoring.add_argument("directory", type=Path)
    restoring.add_argument(
        "--from",
        dest="backup",
        type=Path,
        help="make the directory, which must be absent or empty, of this backup instead",
    )
    options = parser.parse_args(arguments)
    directory: Path = options.directory
    out = Console(highlight=False, soft_wrap=True)
    if options.command == "restore" and options.backup is not None:
        return _restore_backup(options.backup, directory, out)
    if not directory.is_dir() or not any(
        (directory / name).exists() for name in (FILE, f"{FILE}.previous", "archive")
    ):
        out.print(f"{directory} is not the data directory of a hub", markup=False)
        return NO_INPUT
    aside = Aside(directory, f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    try:
        if options.command == "backup":
            return _back_up(directory, options.into, options.keep, out)
        with unused(directory):
            if options.command == "restore":
                out.print(restore(directory, aside), markup=False)
                return SOUND
            return _report(directory, aside, out, mend=options.mend)
    except (InUseError, RestoreError, BackupError) as error:
        out.print(str(error), markup=False)
        return IN_USE if isinstance(error, InUseError) else FOUND


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("keep at least one")
    return number


def _back_up(directory: Path, into: Path, keep: int | None, out: Console) -> int:
    with ExitStack() as stack:
        try:
            stack.enter_context(unused(directory))
            running = False
        except InUseError:
            running = True
        with _shown() as progress:
            made = back_up(directory, into, datetime.now(UTC), progress, running=running)
    out.print(f"{made} is a backup of {directory}", markup=False)
    status = _report(made, Aside(made, "check"), out, mend=False)
    if status == SOUND and keep is not None:
        for path in forget_old(into, keep):
            out.print(f"deleted {path}", markup=False)
    return status


def _restore_backup(backup: Path, directory: Path, out: Console) -> int:
    if not (backup / FILE).exists():
        out.print(f"{backup} is no backup of a hub", markup=False)
        return NO_INPUT
    _report(backup, Aside(backup, "check"), out, mend=False)
    try:
        out.print(restore_backup(backup, directory), markup=False)
    except RestoreError as error:
        out.print(str(error), markup=False)
        return FOUND
    except OSError as error:
        out.print(f"{directory}: {error.strerror or error}; nothing was restored", markup=False)
        return FOUND
    return SOUND


def _report(directory: Path, aside: Aside, out: Console, *, mend: bool) -> int:
    with _shown() as progress:
        findings = list(check(directory, aside, progress))
    left = 0
    for finding in findings:
        out.print(f"[{_COLOURS[finding.severity]}]{finding.severity}[/]", end="  ")
        out.print(f"{finding.where}: {finding.what}", markup=False)
        if mend and finding.mend is not None:
            out.print(f"      mended: {finding.mend()}", markup=False)
            continue
        out.print(f"      → {finding.remedy}", markup=False)
        left += finding.severity is not Severity.NOTE
    mendable = sum(f.mend is not None for f in findings)
    if not findings:
        out.print(f"{directory} is sound", markup=False)
    else:
        hint = f"; {mendable} can be mended with --mend" if mendable and not mend else ""
        out.print(f"{len(findings)} found, {left} of them left to do{hint}", markup=False)
    return FOUND if left else SOUND


@contextmanager
def _shown() -> Iterator[Progress]:
    """Show progress on the terminal; where there is none, nothing."""
    quiet = not sys.stderr.isatty()
    with Bar(console=Console(file=sys.stderr), transient=True, disable=quiet) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=total or None)

        yield tell
