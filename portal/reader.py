"""What people read of the hub: experiments, their data, and files made of them."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from broker.messages import (
    Audited,
    Due,
    DueOf,
    Export,
    Exported,
    ExportKind,
    Fetch,
    Fetched,
    Got,
    History,
    HistoryOf,
    List,
    Listed,
    LogPage,
    Logs,
    LogSource,
    OnExperiment,
    Plain,
    ReadAudit,
    Storage,
    Users,
    UsersOf,
    utc_now,
)
from portal.alarmlog import KINDS, PastAlarm, past_alarms
from portal.asking import READ_PATIENCE, Line, build, expect, known_form, need_admin
from portal.known import NodeView
from portal.sessions import Session

READ_TIMEOUT: Final = 3.0
"""Seconds for what a page shows; it then falls back to what the portal knows."""
HISTORY_TIMEOUT: Final = 15.0
DUE_TIMEOUT: Final = 30.0
EXPORT_TIMEOUT: Final = 600.0
FETCH_TIMEOUT: Final = 60.0


class Reader:
    """Reads from the hub on behalf of sessions; raises `ContractError` with what it said."""

    def __init__(self, line: Line) -> None:
        self._ask = partial(line.ask, patience=READ_PATIENCE)

    async def get(self, session: Session, experiment_id: str) -> Got:
        """Return an experiment, with its script if the session may see it."""
        request = build(OnExperiment, actor=session.actor, experiment_id=known_form(experiment_id))
        return expect(Got, await self._ask("get", request, seconds=READ_TIMEOUT))

    async def list(
        self,
        session: Session,
        **wanted: object,
    ) -> Listed:
        """Return a page of experiments; the fields of `List` say which, and in what order."""
        request = build(List, actor=session.actor, **wanted)
        return expect(Listed, await self._ask("list", request, seconds=READ_TIMEOUT))

    async def audit(
        self,
        session: Session,
        *,
        experiment_id: str | None = None,
        verb: str | None = None,
        who: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> Audited:
        """Return who did what, newest first, as much of it as the session may see."""
        request = build(
            ReadAudit,
            actor=session.actor,
            experiment_id=None if experiment_id is None else known_form(experiment_id),
            verb=verb,
            who=who,
            before=before,
            limit=limit,
        )
        return expect(Audited, await self._ask("audit", request, seconds=READ_TIMEOUT))

    async def users(self, session: Session, after: str | None = None, limit: int = 100) -> UsersOf:
        """Return a page of users with what they have and had; an administrator's right."""
        need_admin(session, "see who has what")
        request = build(Users, actor=session.actor, after=after, limit=limit)
        return expect(UsersOf, await self._ask("users", request, seconds=READ_TIMEOUT, admin=True))

    async def due(self, session: Session, days: int) -> DueOf:
        """Return what a retention of so many days would delete now; an administrator's right."""
        need_admin(session, "see what would be deleted")
        request = build(Due, actor=session.actor, days=days)
        return expect(DueOf, await self._ask("due", request, seconds=DUE_TIMEOUT, admin=True))

    async def storage(self, session: Session) -> Storage:
        """Return how full the hub's disk is; an administrator's right."""
        need_admin(session, "see the hub's disk")
        request = build(Plain, actor=session.actor)
        return expect(
            Storage, await self._ask("storage", request, seconds=READ_TIMEOUT, admin=True)
        )

    async def history(
        self,
        session: Session,
        *,
        experiment_id: str | None = None,
        node: str | None = None,
        channels: Sequence[str] | None = None,
        start: float | None = None,
        end: float | None = None,
        points: int,
        events: Sequence[str] | None = None,
        seconds: float = HISTORY_TIMEOUT,
    ) -> HistoryOf:
        """Return downsampled samples and series of an experiment or a node, and its events."""
        request = build(
            History,
            actor=session.actor,
            experiment_id=None if experiment_id is None else known_form(experiment_id),
            node=node,
            channels=None if channels is None else tuple(channels),
            start=start,
            end=end,
            points=points,
            events=None if events is None else tuple(events),
        )
        return expect(HistoryOf, await self._ask("history", request, seconds=seconds))

    async def alarms(self, session: Session, node: NodeView, *, days: float) -> Sequence[PastAlarm]:
        """Return the alarms and emergency stops of a node's last days, the newest first."""
        history = await self.history(
            session,
            node=node.id,
            channels=(),
            start=(utc_now() - timedelta(days=days)).timestamp(),
            points=2,
            events=KINDS,
            seconds=READ_TIMEOUT,
        )
        said = node.report
        return past_alarms(
            history.events, said.alarms if said else (), said.estop if said else None
        )

    async def logs(
        self,
        session: Session,
        experiment_id: str,
        *,
        after: int | None = None,
        limit: int = 500,
        search: str = "",
        sources: Sequence[LogSource] = (),
    ) -> LogPage:
        """Return log lines after a number, or the last ones."""
        request = build(
            Logs,
            actor=session.actor,
            experiment_id=known_form(experiment_id),
            after=after,
            limit=limit,
            search=search,
            sources=tuple(sources),
        )
        return expect(LogPage, await self._ask("logs", request, seconds=READ_TIMEOUT))

    async def export(
        self,
        session: Session,
        experiment_id: str,
        kind: ExportKind,
        file: str | None = None,
        *,
        channels: Sequence[str] | None = None,
        start: float | None = None,
        end: float | None = None,
    ) -> Exported:
        """Have a file made ready to be fetched; large ones take the hub a while."""
        request = build(
            Export,
            actor=session.actor,
            experiment_id=known_form(experiment_id),
            kind=kind,
            file=file,
            channels=None if channels is None else tuple(channels),
            start=start,
            end=end,
        )
        return expect(Exported, await self._ask("export", request, seconds=EXPORT_TIMEOUT))

    async def fetch(self, session: Session, ref: str, offset: int, length: int) -> Fetched:
        """Return a piece of an exported file."""
        request = build(Fetch, actor=session.actor, ref=ref, offset=offset, length=length)
        return expect(Fetched, await self._ask("fetch", request, seconds=FETCH_TIMEOUT))
