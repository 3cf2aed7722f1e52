"""Which commands by hand were taken, kept over a restart for as long as they could be obeyed.

A command is on the disk before it is carried out, so that the same id, sent again to a node that
has restarted meanwhile, is not carried out a second time. What only switches off is not kept: it
must not wait, and does no harm when it is done again. What has expired is refused anyway, so only
seconds are kept.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from hardware.files import replace_file

_KEPT = TypeAdapter(list[tuple[str, str, AwareDatetime]])

log = logging.getLogger(__name__)


class Taken:
    """Ids by principal, until they expire.

    Args:
        file: Where they are kept.
        now: The wall clock, UTC.
    """

    def __init__(self, file: Path, now: Callable[[], datetime]) -> None:
        self._file = file
        self._now = now
        self._until: dict[tuple[str, str], datetime] = {}
        self._earlier: frozenset[tuple[str, str]] = frozenset()
        self._line = asyncio.Lock()

    async def load(self) -> None:
        """Take up what an earlier process kept; a file that cannot be read holds nothing."""
        try:
            self._until = await asyncio.to_thread(read, self._file)
        except FileNotFoundError:
            return
        except (OSError, ValidationError) as error:
            log.warning("which commands were taken before is not known: %s", error)
            return
        self._earlier = frozenset(self._until)

    def earlier(self, principal: str, id_: str) -> bool:
        """Whether an earlier process took it."""
        return (principal, id_) in self._earlier

    async def add(self, principal: str, id_: str, until: datetime) -> None:
        """Keep an id; on the disk when this returns, unless nothing can be written there."""
        key = principal, id_
        async with self._line:
            now = self._now()
            self._until = {k: at for k, at in self._until.items() if at > now} | {key: until}
            rows = [[*known, at.isoformat()] for known, at in self._until.items()]
            try:
                await asyncio.to_thread(replace_file, self._file, json.dumps(rows))
            except OSError as error:
                # Somebody stands at the reactor: what he wants goes first.
                log.warning("a command is not remembered over a restart: %s", error)


def read(file: Path) -> dict[tuple[str, str], datetime]:
    """Return what a file keeps: until when, by principal and id.

    Raises:
        OSError: It cannot be read.
        ValidationError: It is not such a file.
    """
    rows = _KEPT.validate_json(file.read_bytes())
    return {(principal, id_): until for principal, id_, until in rows}
