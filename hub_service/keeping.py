"""What people do to experiments that are over: rename them, keep a note, delete, restore.

What is deleted is hidden at once and removed for good `UNDO_S` later, counted by a clock that only
grows, anew at each start of the hub: one that is set wrong removes nothing early.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from broker.messages import Annotate, ContractError, Done, Error, ErrorCode, Experiment
from broker.requests import Asked
from hub_service.archive import Archive, Audit
from hub_service.archive.finished import Kept
from hub_service.authority import demand_change
from hub_service.desk import Desk, audit_of
from hub_service.queue.annotations import ANNOTATED, SAME, wanted
from hub_service.queue.events import AnnotateAsked
from hub_service.refusal import RefusedError, unknown_experiment

log = logging.getLogger(__name__)

UNDO_S: Final = 900.0
"""For how long what was deleted can be restored."""
LOOK_S: Final = 30.0


class Keeping:
    """The archive's finished experiments, for the commands about them.

    Args:
        desk: Remembers answers, and knows what is not over.
        archive: Holds them.
        show: Called with what was changed or restored.
        forget: Called when one was deleted.
        everybody: Whether everybody may change every experiment. Deleting is for owners and
            administrators, whatever this says.
        monotonic: Seconds that only grow.
    """

    def __init__(
        self,
        desk: Desk,
        archive: Archive,
        *,
        show: Callable[[Iterable[Kept]], None],
        forget: Callable[[str], None],
        everybody: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._archive = archive
        self._show = show
        self._forget = forget
        self._everybody = everybody
        self._monotonic = monotonic
        self._deleted_at: dict[str, float] = {}

    async def annotate(self, asked: Asked, request: Annotate) -> Done:
        """Change name and note of a finished experiment.

        Raises:
            RefusedError: There is none, it is somebody else's, or was changed meanwhile.
        """
        known = await self._archive.finished(request.experiment_id)
        if known is None:
            raise unknown_experiment(request.experiment_id)
        _demand(asked, known, everybody=self._everybody)
        outcomes: list[Done] = []

        order = AnnotateAsked(request.experiment_id, request.name, request.note, request.edition)

        def change(experiment: Experiment) -> Experiment:
            words = wanted(order, experiment.name, experiment.note, experiment.edition)
            if isinstance(words, Error):
                raise RefusedError.of(words)
            same = words == (experiment.name, experiment.note)
            edition = experiment.edition + (0 if same else 1)
            outcomes.append(
                Done(
                    outcome="unchanged" if same else "done",
                    message=SAME if same else ANNOTATED,
                    experiment_id=experiment.experiment_id,
                    status=experiment.status,
                    edition=edition,
                )
            )
            if same:
                return experiment
            name, note = words
            return experiment.model_copy(
                update={
                    "name": name,
                    "note": note,
                    "edition": edition,
                    "revision": experiment.revision + 1,
                }
            )

        noted = audit_of(asked, "done", request.experiment_id)
        kept = await self._archive.revise(request.experiment_id, change, noted)
        if kept is None:
            raise unknown_experiment(request.experiment_id)
        self._show([kept])
        await self._desk.remember(asked, outcomes[-1])
        return outcomes[-1]

    async def delete(self, asked: Asked, experiment_id: str) -> Done:
        """Hide a finished experiment; it is removed for good when `UNDO_S` have passed.

        Also done for a repeat of the request that deleted it: the hub's last life may have ended
        before it remembered the answer.

        Raises:
            RefusedError: There is none, it is not over, or it is somebody else's.
        """
        if experiment_id in self._desk.state.entries:
            raise RefusedError(
                ErrorCode.WRONG_STATE,
                "the experiment is not over, or not archived yet",
                "cancel it first",
            )
        noted = audit_of(asked, "done", experiment_id)
        known = await self._archive.finished(experiment_id)
        if known is not None:
            _demand(asked, known, everybody=False)
        deleted = known is not None and await self._archive.trash.put(experiment_id, noted)
        if deleted:
            self._deleted_at[experiment_id] = self._monotonic()
        elif not await self._is_repeat(asked, experiment_id, noted):
            raise unknown_experiment(experiment_id)
        self._forget(experiment_id)
        return await self._answer(
            asked,
            Done(
                outcome="done",
                message=f"the experiment is deleted; for {UNDO_S / 60:g} minutes it can be "
                "restored, then all it recorded is removed for good",
                experiment_id=experiment_id,
                undo_seconds=UNDO_S,
            ),
        )

    async def restore(self, asked: Asked, experiment_id: str) -> Done:
        """Take a deletion back.

        Raises:
            RefusedError: It is removed for good, was never there, or is somebody else's.
        """
        known = await self._archive.finished(experiment_id)
        if known is not None or experiment_id in self._desk.state.entries:
            return Done(
                outcome="unchanged",
                message="the experiment is not deleted",
                experiment_id=experiment_id,
                status=None if known is None else known.status,
            )
        discarded = await self._archive.trash.get(experiment_id)
        kept = None
        if discarded is not None:
            _demand(asked, discarded.experiment, everybody=False)
            noted = audit_of(asked, "done", experiment_id)
            kept = await self._archive.trash.restore(experiment_id, noted)
        if kept is None:
            raise RefusedError(
                ErrorCode.NOT_FOUND,
                f"there is no experiment {experiment_id} that could be restored",
                "what is deleted is removed for good after a while",
            )
        self._deleted_at.pop(experiment_id, None)
        self._show([kept])
        return await self._answer(
            asked,
            Done(
                outcome="done",
                message="the experiment is back, with all it recorded",
                experiment_id=experiment_id,
                status=kept.experiment.status,
            ),
        )

    async def run(self) -> None:
        """Remove for good what nobody restored, until cancelled."""
        while True:
            try:
                await self.look()
            except ContractError as error:
                log.error("deleted experiments are not removed yet: %s", error)  # noqa: TRY400  a full disk needs no trace
            await asyncio.sleep(LOOK_S)

    async def look(self) -> int:
        """Remove what was deleted long enough ago; return how many experiments that were."""
        now, removed = self._monotonic(), 0
        discarded = await self._archive.trash.ids()
        for experiment_id in discarded:
            if now - self._deleted_at.setdefault(experiment_id, now) >= UNDO_S:
                await self._archive.purge(experiment_id)
                self._deleted_at.pop(experiment_id, None)  # restored in the last moment, perhaps
                removed += 1
        return removed

    async def _answer(self, asked: Asked, done: Done) -> Done:
        await self._desk.remember(asked, done)
        return done

    async def _is_repeat(self, asked: Asked, experiment_id: str, noted: Audit) -> bool:
        return asked.request.id is not None and any(
            done._replace(details={}) == noted._replace(details={})
            and done.details.get("request") == noted.details["request"]
            for done in await self._archive.audited(experiment_id)
        )


def _demand(asked: Asked, experiment: Experiment, *, everybody: bool) -> None:
    try:
        demand_change(asked, experiment.user, everybody=everybody)
    except ContractError as error:
        raise RefusedError.of(error.error) from None
