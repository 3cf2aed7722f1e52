"""Unix sockets in directories whose path is longer than a socket's address may be."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LONGEST: Final = 100
"""Bytes of a path that every kernel takes as a socket's address (Linux: 107)."""


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Give a short address of the socket, good until the block ends.

    A long path is replaced by one through an open descriptor of its directory.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
