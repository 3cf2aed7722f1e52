"""Small files that are there whole or not at all, whenever the power goes."""

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_DIGITS: Final = 300
"""A float holds no larger whole number."""


def replace_file(path: Path, text: str) -> None:
    """Write a file; durable when it returns, a crash leaves the previous one.

    Raises:
        OSError: It could not be written; the previous one stands.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync_directory(path)


def rewrite_file(path: Path, text: str, room: int) -> None:
    """Write a file as `replace_file` does, on a disk that has become full, too.

    What was there before is not given back to the disk but written over the next time. So that its
    blocks are enough then, texts are filled up to `room` bytes with spaces.

    Raises:
        OSError: It could not be written; the previous one stands.
    """
    part, old = (path.with_name(path.name + end) for end in (".part", ".old"))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not part.exists():
        with suppress(FileNotFoundError):
            old.replace(part)  # a crash came between the last two of the renames below
    with suppress(FileNotFoundError):
        if part.samefile(path):  # somebody made a link of it: this one is in use
            part.unlink()
    _write_over(part, text.encode().ljust(room))
    old.unlink(missing_ok=True)
    with suppress(OSError):  # there is none yet, or this file system has no links
        os.link(path, old)
    part.replace(path)
    with suppress(FileNotFoundError):
        old.replace(part)
    if not part.exists():
        with suppress(OSError):  # on a full disk it is too late for this
            _write_over(part, bytes(room))
    _sync_directory(path)


def _write_over(path: Path, content: bytes) -> None:
    """Write into the blocks that a file has, which must not be in use; durable on return."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b") as file:
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def set_aside(path: Path) -> None:
    """Keep a file that cannot be understood beside, as ``.damaged``."""
    path.replace(path.with_name(path.name + ".damaged"))


def try_lock(descriptor: int) -> bool:
    """Lock an open file for as long as it is open; return whether nobody else has it locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def parse_json(text: str | bytes) -> Any:
    """Return what a file says that a failing disk or a strange hand may have spoilt.

    Raises:
        ValueError: It is no JSON, nested without end, or has a number that no float can be.
    """
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)
