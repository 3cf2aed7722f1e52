"""What the node says of itself when it is asked: what runs, how it is, why nothing may start."""

from broker.journal import Journal
from broker.messages import Channels, Error, ErrorCode, LedgerEntry, NodeReport
from hardware.reactor import Reactor
from node_service import storage
from node_service.alarms import Alarms
from node_service.company import Company
from node_service.duties import Duties
from node_service.endings import emergency
from node_service.engine import Engine
from node_service.identity import Identity
from node_service.ledger import Ledger
from node_service.manual import Hands
from node_service.reports import LEDGER_ENTRIES
from node_service.runs import RunKey


class Statement:
    """Of one node.

    Args:
        simulated: Whether no real reactor stands behind it.
    """

    def __init__(  # noqa: PLR0917 - it looks at everything there is
        self,
        identity: Identity,
        ledger: Ledger,
        journal: Journal,
        reactor: Reactor,
        alarms: Alarms,
        hands: Hands,
        engine: Engine,
        company: Company,
        *,
        simulated: bool,
    ) -> None:
        self._identity = identity
        self._ledger = ledger
        self._journal = journal
        self._reactor = reactor
        self._alarms = alarms
        self._hands = hands
        self._engine = engine
        self._company = company
        self._simulated = simulated

    def refusal(self) -> Error | None:
        """Return why nothing new may start now."""
        estop = self._ledger.estop
        if estop is not None:
            error = emergency(estop).error
            if error is not None:
                return error
        return (
            self._company.refusal
            or storage.refusal(self._journal.fill())
            or self._hands.refusal
            or self._unfit()
            or self._engine.refusal
        )

    def channels(self) -> Channels:
        """Return what the reactor has, and what scripts may import."""
        return Channels(
            node=self._identity.node,
            label=self._identity.label,
            simulated=self._simulated,
            speed=self._reactor.clock.speed,
            channels=tuple(self._reactor.channels.values()),
            images={} if self._engine.info is None else self._engine.info.images,
        )

    async def report(self, duties: Duties) -> NodeReport:
        """Return how things are; it shows the consequences of the revision that it names."""
        async with duties.settled:
            entries = await self._ledger.entries(LEDGER_ENTRIES)
            asked = await self._asked()
            seen = self._ledger.seen_revision
            shown = duties.shown
        if asked is not None and asked not in entries:
            entries = (*entries, asked)
        refusal = self.refusal()
        info = self._engine.info
        return NodeReport(
            node=self._identity.node,
            boot_id=self._identity.boot_id,
            at=self._reactor.clock.now(),
            seen_revision=seen,
            seen_store_id=self._ledger.seen_store_id,
            seen_generation=self._ledger.seen_generation,
            accepts=refusal is None,
            refusal=refusal,
            isolation="unknown" if info is None else info.isolation,
            isolation_note="" if info is None else info.note,
            activity=None if shown is None else shown.activity,
            container=None if shown is None else shown.container,
            ledger=entries,
            safe=self._reactor.safe,
            manual=self._hands.current,
            estop=self._ledger.estop,
            alarms=(*self._reactor.alarms, *self._alarms.current),
            backlog=self._journal.backlog(),
        )

    def _unfit(self) -> Error | None:
        why = self._reactor.unfit
        if why is None:
            return None
        return Error(
            code=ErrorCode.HARDWARE,
            message=f"no experiment is started: {why}",
            hint="look at the device, its power and its cable",
        )

    async def _asked(self) -> LedgerEntry | None:
        """Return what became of the attempt that the hub last spoke of."""
        assignment = self._ledger.assignment
        key = None if assignment is None else RunKey.of(assignment)
        run = None if key is None else await self._ledger.find(key)
        return None if run is None else run.entry
