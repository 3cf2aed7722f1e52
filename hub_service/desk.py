"""Where everything that changes the queue passes: audited, durable, then told.

Order of what must survive a crash: script and audit are in SQLite before the queue's snapshot is
written, and that before anyone is answered; a finished experiment is archived before it leaves the
queue; phase records are applied and their position stored in one snapshot before the node may
forget them. Whatever is repeated after a crash changes nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from broker.logs import about
from broker.messages import (
    ID_REQUIRED,
    ContractError,
    Error,
    ErrorCode,
    Experiment,
    Reply,
    Result,
)
from broker.requests import Asked
from hub_service import snapshot
from hub_service.archive import Archive, Audit
from hub_service.authority import handle
from hub_service.queue import Decision, Event, Plan, QueueState, views
from hub_service.queue.events import (
    Archived,
    Collected,
    Ended,
    Evidence,
    Identified,
    Noted,
    StoreDoubted,
    Submitted,
)
from hub_service.queue.state import NO_SCRIPT, Stage
from hub_service.snapshot import Remembered
from hub_service.store import QueueStore

log = logging.getLogger(__name__)

PAGE: Final = 200
"""Phase records that are applied in one change."""
RETRY_S: Final = 5.0
"""After the disk did not take something."""
LASTING: Final = ID_REQUIRED | {"estop"}
"""Verbs that would do something once more; all others say what shall be."""
MAX_KEPT: Final = 1000
"""Bytes of a refusal that is remembered with its details, and characters of a longer one."""
HUB: Final = "hub"
"""The principal of what the hub does of itself, in the audit."""


async def _nothing(_: Experiment) -> None:
    """Take no notice."""


class Desk:
    """The queue with its archive.

    Args:
        store: The durable queue.
        archive: Scripts, audit, phase records, finished experiments.
        clock: The wall clock, in UTC.
        changed: Called after each change of the state, durable or not.
        low: Whether the disk has too little left for new experiments.
        archived: Called with each experiment that was archived just now, before it leaves the
            queue.
        progress: Called at each step of what may take long, and each time that the disk has no
            room to start: signs of life.
        retry_s: After the disk did not take something.
    """

    def __init__(
        self,
        store: QueueStore,
        archive: Archive,
        *,
        clock: Callable[[], datetime],
        changed: Callable[[], None],
        low: Callable[[], bool] = lambda: False,
        archived: Callable[[Experiment], Awaitable[None]] = _nothing,
        progress: Callable[[], None] = lambda: None,
        retry_s: float = RETRY_S,
    ) -> None:
        self._store = store
        self._archive = archive
        self._clock = clock
        self._changed = changed
        self._low = low
        self._archived = archived
        self._progress = progress
        self._retry_s = retry_s
        self._catching_up = asyncio.Lock()
        self._ended = asyncio.Event()
        self._outlook: tuple[object, ...] = ()

    @property
    def state(self) -> QueueState:
        """The durable state."""
        return self._store.state

    async def open(self) -> None:
        """Bring queue and archive into agreement after whatever ended the hub's last life.

        While the disk does not take it, it waits.
        """
        while True:
            self._progress()
            try:
                return await self._agree()
            except ContractError as error:
                if error.error.code is not ErrorCode.STORAGE_FULL:
                    raise
                log.error("the hub waits for room on its disk: %s", error)  # noqa: TRY400  a full disk needs no trace
            await asyncio.sleep(self._retry_s)

    async def _agree(self) -> None:
        for experiment_id in list(self.state.entries):
            self._progress()
            if await self._archive.is_over(experiment_id):
                await self.learn(Archived(experiment_id))  # found in both: the archive is right
        recorded = await self._archive.last_phase()
        if self._store.is_new and recorded:
            reason = "the archive holds records of experiments, but the queue is new"
            await self.learn(StoreDoubted(reason))
        elif recorded < self._store.cursor:
            # Its numbers begin again below the cursor: what comes now must not be passed over.
            reason = "the archive is older than the queue: it was restored from a backup"
            await self._store.apply(StoreDoubted(reason), now=self._clock(), cursor=recorded)
        await self._archive.set_applied(self._store.cursor)
        await self.catch_up()
        await self._archive_ended()

    async def run(self) -> None:
        """Archive what ends, until cancelled."""
        while True:
            await self._ended.wait()
            self._ended.clear()
            try:
                await self._archive_ended()
            except ContractError as error:
                log.error("a finished experiment is not archived yet: %s", error)  # noqa: TRY400  a full disk needs no trace
                await asyncio.sleep(self._retry_s)
                self._ended.set()

    def recall(self, asked: Asked) -> Result | None:
        """Return what was answered to this request before, None if it is new.

        Raises:
            ContractError: What was answered, if that was a refusal; or ID_REUSED.
        """
        key = _key(asked)
        known = None if key is None else self._store.answer(key)
        if known is None:
            return None
        if known.fingerprint != asked.fingerprint:
            raise ContractError(
                ErrorCode.ID_REUSED,
                f"the id {asked.request.id} was used for another request",
                "choose a new random id for each request, the same only for a repeat",
            )
        return _unpack(known.reply)

    async def command(
        self,
        asked: Asked,
        event: Event,
        tell: Callable[[Decision], Result],
        *,
        experiment_id: str | None = None,
        script: tuple[str, str] | None = None,
    ) -> Result:
        """Carry out a command; durable, audited and remembered when it returns.

        Args:
            asked: Who asked for it, and how.
            event: What it means for the queue.
            tell: Makes the answer from the decision.
            experiment_id: What it is about, for the audit.
            script: Hash and text to be kept with it.

        Raises:
            ContractError: The queue refuses it, or the disk did not take it.
        """
        if script is not None and self._low():
            raise ContractError(
                ErrorCode.STORAGE_FULL,
                "the hub's disk is almost full: nothing new is queued, what runs goes on",
                "free space on the hub's disk, then submit again",
            )
        now = self._clock()
        replies: list[Reply] = []
        plan = event.plan if isinstance(event, Submitted) else None

        def remember(decision: Decision) -> tuple[str, Remembered] | None:
            refusal = decision.refusal
            reply = Reply(result=tell(decision)) if refusal is None else Reply(error=refusal)
            replies.append(reply)
            key = _key(asked)
            if key is None or (refusal is not None and refusal.code is ErrorCode.UNAVAILABLE):
                return None  # "not now" must not be the answer later on
            lasting = refusal is None and asked.verb in LASTING
            return key, Remembered(asked.user, asked.fingerprint, now, _kept(reply), lasting)

        def record(decision: Decision) -> Future[None]:
            refusal = decision.refusal
            entry = audit_of(asked, _outcome(decision), experiment_id, error=refusal, plan=plan)
            return self._archive.record(entry, script=script if refusal is None else None)

        decision = await self._store.apply(event, now=now, first=record, remember=remember)
        await self._follow(decision)
        return _unpack(replies[-1])

    async def audit(
        self,
        asked: Asked,
        outcome: str,
        experiment_id: str | None,
        *,
        error: Error | None = None,
    ) -> None:
        """Put a command and its outcome on record."""
        await asyncio.wrap_future(
            self._archive.record(audit_of(asked, outcome, experiment_id, error=error))
        )

    async def remember(self, asked: Asked, result: Result) -> None:
        """Keep the answer to a command whose effect is durable, or out of our hands, already.

        What the disk does not take of it changes nothing of the effect: the answer is given.
        """
        key = _key(asked)
        if key is None:
            return
        now = self._clock()
        reply, lasting = Reply(result=result), asked.verb in LASTING
        kept = key, Remembered(asked.user, asked.fingerprint, now, reply, lasting)
        try:
            await self._store.apply(now=now, remember=lambda _: kept)
        except ContractError as error:
            log.error("the answer to %s is not remembered: %s", asked.verb, error)  # noqa: TRY400  a full disk needs no trace

    async def learn(self, *events: Event) -> Decision:
        """Let the queue know of something; durable when it returns where that changes anything."""
        decision = await self._store.apply(*events, now=self._clock())
        await self._follow(decision)
        return decision

    async def catch_up(self) -> None:
        """Apply the phase records that the archive has and the queue has not.

        When it returns they are applied durably and the archive knows it, so that the journal may
        be acknowledged so far; and attempts whose files are complete have ended.
        """
        async with self._catching_up:
            while True:
                self._progress()
                records = await self._archive.phase_records(after=self._store.cursor, limit=PAGE)
                if not records:
                    break
                events = [Evidence(node, record) for _, node, _, _, record in records]
                cursor = records[-1][0]
                decision = await self._store.apply(*events, now=self._clock(), cursor=cursor)
                await self._archive.set_applied(cursor)
                await self._follow(decision)
            await self._collect()

    async def _collect(self) -> None:
        for entry in list(self.state.entries.values()):
            told = entry.finish
            if entry.stage is not Stage.RELEASED or told is None:
                continue
            mark = told.files_upto
            if (
                mark is None
                or entry.node is None
                or await self._archive.files_committed(entry.node, *mark)
            ):
                gaps = len(await self._archive.gaps(experiment_id=entry.id))
                await self.learn(Collected(entry.id, gaps))

    async def _follow(self, decision: Decision) -> None:
        for effect in decision.effects:
            if isinstance(effect, Ended):
                self._ended.set()
            elif isinstance(effect, Noted):
                with about(experiment_id=effect.experiment_id, node=effect.node):
                    log.warning("%s: %s", effect.what, effect.detail)
                details: dict[str, JsonValue] = {"detail": effect.detail, "node": effect.node}
                noted = Audit(HUB, HUB, effect.what, effect.experiment_id, "done", details)
                await asyncio.wrap_future(self._archive.record(noted))
                if effect.what == "adopted" and effect.experiment_id is not None:
                    await self._identify(effect.experiment_id)
                elif effect.what == "returned" and effect.experiment_id is not None:
                    await self._label(effect.experiment_id, effect.detail)
        outlook = _outlook(decision.state)
        if outlook != self._outlook:
            self._outlook = outlook
            self._changed()

    async def _identify(self, experiment_id: str) -> None:
        """Look up what an experiment is that was found running and is not in the queue."""
        entry = self.state.entries.get(experiment_id)
        if entry is None or entry.plan.script_sha256 != NO_SCRIPT:
            return
        for noted in reversed(await self._archive.audited(experiment_id)):
            plan = snapshot.read_plan(noted.details.get("plan"))
            if plan is not None:
                await self.learn(Identified(plan))
                return

    async def _label(self, experiment_id: str, text: str) -> None:
        """Say with a finished experiment that more of it came after its end."""

        def label(known: Experiment) -> Experiment:
            if text in known.warnings:
                return known
            return known.model_copy(update={"warnings": (*known.warnings, text)})

        await self._archive.revise(experiment_id, label)

    async def _archive_ended(self) -> None:
        state = self.state
        ended = [e for e in state.entries.values() if e.stage is Stage.ENDED]
        for entry in ended:
            self._progress()
            experiment = views.experiment(state, entry)
            with about(experiment_id=entry.id, node=entry.node):
                await self._archive.finish(experiment, self._clock())
                await self._archived(experiment)
                log.info("%s: archived", experiment.status)
        if ended:
            await self.learn(*(Archived(entry.id) for entry in ended))


def audit_of(
    asked: Asked,
    outcome: str,
    experiment_id: str | None,
    *,
    error: Error | None = None,
    plan: Plan | None = None,
) -> Audit:
    """Return the record of a command.

    A submission's holds the whole plan: should the queue be lost, it is told from there.
    """
    details: dict[str, JsonValue] = {"admin": asked.admin, "by": handle(asked)}
    if error is not None:
        details["message"] = error.message[:500]
    elif plan is not None:
        details["plan"] = snapshot.plan(plan)
    else:
        details["request"] = asked.request.model_dump(
            mode="json", exclude={"actor", "client", "expires_at"}, exclude_none=True
        )
    return Audit(asked.principal, asked.user, asked.verb, experiment_id, outcome, details)


def _outlook(state: QueueState) -> tuple[object, ...]:
    """Return what decides how the queue looks from outside: most reports change nothing of it."""
    nodes = tuple(
        (
            name,
            node.online,
            node.since,
            node.known,
            node.report is not None and node.report.accepts,
            node.offer,
        )
        for name, node in state.nodes.items()
    )
    return (state.revision, *nodes)


def _key(asked: Asked) -> str | None:
    identity = asked.request.id
    return None if identity is None else f"{asked.principal} {asked.user} {identity}"


def _outcome(decision: Decision) -> str:
    if decision.refusal is not None:
        return str(decision.refusal.code)
    return "done" if decision.answer is None else decision.answer.outcome


def _kept(reply: Reply) -> Reply:
    """Return an answer as it is remembered: a refusal may quote much of what it stumbled over.

    All answers stand in the snapshot, which is written anew at each change.
    """
    error = reply.error
    if error is None or len(error.encode()) <= MAX_KEPT:
        return reply
    return Reply(
        error=error.model_copy(update={"message": error.message[:MAX_KEPT], "details": {}})
    )


def _unpack(reply: Reply) -> Result:
    if reply.result is not None:
        return reply.result
    error = reply.error or Error(code=ErrorCode.INTERNAL, message="an empty answer was kept")
    raise ContractError(error.code, error.message, error.hint, **error.details)
