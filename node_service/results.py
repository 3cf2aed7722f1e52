"""What an attempt left as results: found without trusting anything that the script could arrange.

The script owns its results directory. It can hold links to the node's own files, devices, pipes
that block their reader, names that are no text, files of a terabyte without content. Directories
are opened one level at a time without following links, and a file is what it is after it was
opened, not what its name said before.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from broker.messages import FileName

MAX_ENTRIES: Final = 50_000
"""Names that are looked at; a tree of more is cut off, and said so."""
MAX_DEPTH: Final = 32
_SHOWN: Final = 80
_NAME: Final[TypeAdapter[str]] = TypeAdapter(FileName)
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file below a directory: its name there, its size when it was looked at."""

    root: Path
    name: str
    size: int


@dataclass(slots=True)
class Tree:
    """What a directory holds, in the order of names.

    Attributes:
        refused: What was left out and why, a sentence each.
    """

    files: list[FoundFile] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class NotAFileError(OSError):
    """What was a regular file is none, or its size changed."""


def look(root: Path, limit: int) -> Tree:
    """Return what may be taken from a directory; blocks. A missing directory is empty.

    Args:
        root: The directory.
        limit: Bytes; files that would exceed it are refused.
    """
    tree = Tree()
    try:
        top = os.open(root, _DIRECTORY)
    except FileNotFoundError:
        return tree
    try:
        left = MAX_ENTRIES
        for name, entry, problem in _walk(top, "", 0):
            left -= 1
            if left < 0:
                tree.refused.append(f"more than {MAX_ENTRIES} names: the rest was not looked at")
                break
            if problem is None and entry is not None:
                tree.files.append(FoundFile(root, name, entry))
            elif problem is not None:
                tree.refused.append(f"{_shown(name)}: {problem}")
    finally:
        os.close(top)
    tree.files.sort(key=lambda file: file.name)
    kept = []
    for file in tree.files:
        if file.size > limit:
            tree.refused.append(f"{_shown(file.name)}: {file.size} bytes are more than is allowed")
        else:
            limit -= file.size
            kept.append(file)
    tree.files = kept
    return tree


def open_file(file: FoundFile) -> int:
    """Open a found file for reading and return its descriptor; blocks.

    Raises:
        NotAFileError: It is not what was found.
        OSError: It cannot be opened.
    """
    *directories, name = file.name.split("/")
    at = os.open(file.root, _DIRECTORY)
    try:
        for directory in directories:
            below = os.open(directory, _DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        descriptor = os.open(name, _FILE, dir_fd=at)
    finally:
        os.close(at)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
        os.close(descriptor)
        raise NotAFileError(f"{_shown(file.name)} changed while it was read")
    return descriptor


def _walk(at: int, prefix: str, depth: int) -> Iterator[tuple[str, int | None, str | None]]:
    """Give each name below a directory with the size of a file, or why it is refused."""
    with os.scandir(at) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = prefix + entry.name
            if entry.is_symlink():
                yield name, None, "a link is not followed"
            elif entry.is_dir(follow_symlinks=False):
                yield from _below(at, entry.name, name, depth)
            elif not entry.is_file(follow_symlinks=False):
                yield name, None, "neither a file nor a folder"
            elif (problem := _name_problem(name)) is not None:
                yield name, None, problem
            else:
                yield name, entry.stat(follow_symlinks=False).st_size, None


def _below(
    at: int, entry: str, name: str, depth: int
) -> Iterator[tuple[str, int | None, str | None]]:
    if depth >= MAX_DEPTH or (problem := _name_problem(name)) is not None:
        yield name, None, "too deep" if depth >= MAX_DEPTH else problem
        return
    try:
        below = os.open(entry, _DIRECTORY, dir_fd=at)
    except OSError as error:
        yield name, None, error.strerror or str(error)
        return
    try:
        yield from _walk(below, f"{name}/", depth + 1)
    finally:
        os.close(below)


def _name_problem(name: str) -> str | None:
    try:
        name.encode()
        _NAME.validate_python(name)
    except (UnicodeEncodeError, ValidationError):
        return "a name of at most 240 characters without control characters is wanted"
    return None


def _shown(name: str) -> str:
    return ascii(name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…")
