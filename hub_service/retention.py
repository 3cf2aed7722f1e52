"""Delete finished experiments whose time is over, where an administrator has set one.

What is live is never touched: only what the archive holds as finished is looked at. Since nothing
brings deleted data back, a clock that is wrong must not delete: nothing is deleted until wall clock
and monotonic clock have agreed for an hour, in which a clock that was wrong at the start is set.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Final

from pydantic import JsonValue
from ulid import ULID

from broker.messages import ContractError, Experiment
from hub_service.archive import Archive, Audit, Wanted
from hub_service.desk import HUB

log = logging.getLogger(__name__)

LOOK_S: Final = 600.0
STEADY_S: Final = 3600.0
"""For how long the clocks must have agreed."""
JUMP_S: Final = 60.0
"""By how much they may differ meanwhile."""
_PAGE: Final = 200


class Retention:
    """Deletes what is older than the queue's `keep_days`.

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
        async for experiment in self._due(self._clock() - timedelta(days=days)):
            if self._keep_days() != days:
                break  # an administrator thought better of it
            details: dict[str, JsonValue] = {
                "name": experiment.name,
                "owner": experiment.owner,
                "status": str(experiment.status),
                "completed_at": str(experiment.completed_at),
                "keep_days": days,
            }
            identity = experiment.experiment_id
            noted = Audit(HUB, HUB, "retention", identity, "deleted", details)
            await asyncio.wrap_future(self._archive.record(noted))
            if await self._archive.delete(identity):
                self._forget(identity)
                deleted += 1
        if deleted:
            log.info("deleted %d experiments that ended more than %d days ago", deleted, days)
        return deleted

    def _steady(self) -> bool:
        """Whether the wall clock has gone like the monotonic one for long enough."""
        now, counted = self._clock(), self._monotonic()
        then, began = self._steady_since
        if abs((now - then).total_seconds() - (counted - began)) > JUMP_S:
            self._steady_since = (now, counted)
            return False
        return counted - began >= STEADY_S

    async def _due(self, limit: datetime) -> AsyncIterator[Experiment]:
        """Yield what ended before the limit; an id is made when an experiment is submitted."""
        before: str | None = str(ULID.from_datetime(limit))
        while before is not None:
            page, _ = await self._archive.page(Wanted(before=before, limit=_PAGE))
            before = page[-1].experiment_id if len(page) == _PAGE else None
            for experiment in page:
                if (experiment.completed_at or limit) < limit:
                    yield experiment
