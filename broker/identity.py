"""Client ids that nobody can guess and that survive a restart."""

import os
import re
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Final

_RANDOM: Final = re.compile(r"[0-9a-f]{32}")
_TEMPORARY: Final = re.compile(r"\.(.+)\.[0-9a-f]{8}")


def stable_client_id(path: Path, prefix: str) -> str:
    """Return the client id kept in a file, made at the first call.

    The file (mode 0600) holds 128 random bits. Whoever knew the id could take over the session, so
    it is published nowhere. Durable on return; a crash leaves the old file, the new one, or none.
    A damaged file is replaced.
    """
    try:
        bits = path.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        bits = ""
    if _RANDOM.fullmatch(bits) is None:
        bits = secrets.token_hex(16)
        write_private(path, bits + "\n")
    return f"{prefix}-{bits}"


def is_leftover(name: str, of: Collection[str]) -> bool:
    """Whether a crash in `write_private` left a file, beside one of these names."""
    found = _TEMPORARY.fullmatch(name)
    return found is not None and found[1] in of


def write_private(
    path: Path, text: str, mode: int = 0o600, owner: tuple[int, int] | None = None
) -> None:
    """Replace a file atomically and durably; only its owner may read it unless `mode` says more.

    The owner is a user and a group id; to give a file to somebody else needs root.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
