"""Hands a broker what it reads, in its own directory and as its own user."""

import os
import pwd
from pathlib import Path

from broker.access.register import Target
from broker.brokers import Files, Kind
from broker.identity import write_private
from broker.messages import ContractError, ErrorCode


def broker_user(kind: Kind) -> tuple[int, int] | None:
    """Return whom a broker that root starts runs as; None: as root, or as us who are not root.

    Mosquitto changes to its own user and must be able to read its files then.
    """
    if kind != "mosquitto" or os.geteuid() != 0:
        return None
    for name in ("mosquitto", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    return None


def write_for_broker(target: Target, files: Files) -> None:
    """Write files for the broker; they belong to whom its directory belongs to, mode 0600.

    Raises:
        ContractError: UNAVAILABLE; they cannot be written.
    """
    try:
        _make(target.files, target.kind)
        where = target.files.stat()
        root = os.geteuid() == 0
        for name, text in files.items():
            owner = (where.st_uid, where.st_gid) if root else None
            write_private(target.files / name, text, owner=owner)
    except OSError as error:
        raise ContractError(
            ErrorCode.UNAVAILABLE,
            f"the broker's files in {target.files} cannot be written: {error.strerror}",
            "run it as root or as the owner of that directory, or name another with "
            "`bioreactor access init --files`",
        ) from error


def _make(directory: Path, kind: Kind) -> None:
    if directory.is_dir():
        return
    directory.mkdir(mode=0o700, parents=True)
    user = broker_user(kind)
    if user is not None:
        os.chown(directory, *user)
