"""Migrates a database and kills itself: ``… PATH copied|changed``."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import SupportsIndex

from broker.database import open_database
from tests.unit.broker.test_database import KIND, MIGRATIONS, NEWER


class Deadly(str):
    """Statements in whose middle the process dies."""

    __slots__ = ()

    def split(self, sep: str | None = None, _: SupportsIndex = -1) -> Iterator[str]:  # type: ignore[override]
        first, *rest = str.split(self, sep)
        if sys.argv[2] == "changed":
            yield first
        os.kill(os.getpid(), signal.SIGKILL)
        yield from rest


if __name__ == "__main__":
    open_database(Path(sys.argv[1]), (*MIGRATIONS, Deadly(NEWER)), KIND)
