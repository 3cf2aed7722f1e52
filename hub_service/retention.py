"""Delete finished experiments whose time is over, where an administrator has set one.

What is live is never touched: only what the archive holds as finished is looked at. Since nothing
brings deleted data back, a clock that is wrong must not delete. The hub's own: nothing is deleted
until wall clock and monotonic clock have agreed for an hour, in which one that was wrong at the
start is set. A node's: the time counts from when the hub archived an experiment. Only where the
node told a later end, which has passed, it counts from there: the hub's clock was behind then.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import JsonValue
from ulid import ULID

from broker.messages import ContractError
from hub_service.archive import Archive, Audit
from hub_service.archive.finished import Kept
from hub_service.desk import HUB

log = logging.getLogger(__name__)

LOOK_S: Final = 600.0
STEADY_S: Final = 3600.0
"""For how long the clocks must have agreed."""
JUMP_S: Final = 60.0
"""By how much they may differ meanwhile."""
_PAGE: Final = 200
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""No id can be of an earlier time."""


class Retention:
    """Deletes what was archived longer ago than the queue's `keep_days`.

    Args:
        archive: Holds what is finished.
        keep_days: Returns the limit as of now; None: for ever.
        forget: Called when an experiment was deleted.
        clock: The wall clock, in UTC.
        monotonic: Seconds that only grow.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        keep_days: Callable[[], int | None],
        forget: Callable[[str], None],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archive = archive
        self._keep_days = keep_days
        self._forget = forget
        self._clock = clock
        self._monotonic = monotonic
        self._steady_since: tuple[datetime, float] = (clock(), monotonic())

    async def run(self) -> None:
        """Look every ten minutes until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except ContractError as error:
                log.error("old experiments are not deleted yet: %s", error)  # noqa: TRY400  a full disk needs no trace

    async def look(self) -> int:
        """Delete what is due; return how many experiments that were."""
        days = self._keep_days()
        if not self._steady() or days is None:
            return 0
        deleted = 0
        async for experiment, archived_at in self._due(timedelta(days=days)):
            if self._keep_days() != days:
                break  # an administrator thought better of it
            details: dict[str, JsonValue] = {
                "name": experiment.name,
                "owner": experiment.owner,
                "status": str(experiment.status),
                "completed_at": str(experiment.completed_at),
                "archived_at": str(archived_at),
                "keep_days": days,
            }
            identity = experiment.experiment_id
            noted = Audit(HUB, HUB, "retention", identity, "deleted", details)
            if await self._archive.delete(identity, noted):
                self._forget(identity)
                deleted += 1
        if deleted:
            log.info("deleted %d experiments that were over for more than %d days", deleted, days)
        return deleted

    async def due(self, days: int) -> tuple[int, datetime | None]:
        """Return what so many days would delete as of now: how many, and the oldest one's end."""
        ends = [_over_since(kept, self._clock()) async for kept in self._due(timedelta(days=days))]
        return len(ends), min(ends, default=None)

    def _steady(self) -> bool:
        """Whether the wall clock has gone like the monotonic one for long enough."""
        now, counted = self._clock(), self._monotonic()
        then, began = self._steady_since
        if abs((now - then).total_seconds() - (counted - began)) > JUMP_S:
            self._steady_since = (now, counted)
            return False
        return counted - began >= STEADY_S

    async def _due(self, age: timedelta) -> AsyncIterator[Kept]:
        """Yield what was over so long ago; an id is made when an experiment is submitted."""
        now = self._clock()
        before: str | None = str(ULID.from_datetime(max(now - age, _FIRST)))
        while before is not None:
            page = await self._archive.newest(_PAGE, before)
            before = page[-1].experiment.experiment_id if len(page) == _PAGE else None
            for kept in page:
                if _over_since(kept, now) < now - age:
                    yield kept


def _over_since(kept: Kept, now: datetime) -> datetime:
    ended = kept.experiment.completed_at
    if ended is None or ended > now:
        return kept.archived_at
    return max(kept.archived_at, ended)
