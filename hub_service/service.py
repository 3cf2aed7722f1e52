"""The hub: answers requests, takes the journals, tells the nodes what to do."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from broker.connection import Connection, Message, NotConnectedError, Presence
from broker.doorbook import FILE as DOORBOOK
from broker.doorbook import Doorbook
from broker.health import Health
from broker.journal import JournalReceiver
from broker.logs import about
from broker.messages import (
    ContractError,
    Done,
    ErrorCode,
    EstopRequest,
    Experiment,
    HubStatus,
    Posture,
    Result,
    utc_now,
)
from broker.pace import Bucket
from broker.requests import READS, Asked, RequestServer
from broker.topics import STREAMS, Topic
from hub_service.archive import Archive
from hub_service.bulletin import Bulletin
from hub_service.commands import Commands
from hub_service.desk import Desk
from hub_service.exports import Exports
from hub_service.figures import Figures
from hub_service.keeping import Keeping
from hub_service.leaps import Leaps
from hub_service.nodes import NodeWatch
from hub_service.notifier import Notifier
from hub_service.overview import VERBS, Overview
from hub_service.pulse import PATIENCE, Pulse
from hub_service.queue.durations import Durations
from hub_service.queue.events import Listened, Ticked
from hub_service.reading import Reading
from hub_service.refusal import RefusedError
from hub_service.retention import Retention
from hub_service.room import is_low
from hub_service.scripts import Checker
from hub_service.settings import HubSettings
from hub_service.storage import StoreError
from hub_service.store import QueueStore
from hub_service.tokens import TokenBook

log = logging.getLogger(__name__)

TICK_S: Final = 1.0
HOUSEKEEPING_TICKS: Final = 10
LISTEN_S: Final = 3.0
"""After its first connect the hub hears by then whatever the broker has of the nodes."""
REFUSALS_PER_SECOND: Final = 1.0
"""Of reads, in the audit: it is kept for good, and who asks again and again must not fill it."""
REFUSALS_AT_ONCE: Final = 50.0
_HEARING_S: Final = 10.0
FIGURES_S: Final = 10.0
_ANSWERS_S: Final = 10.0
_LAST_WORDS_S: Final = 3.0
_SHOWN_AT_START: Final = 1000


class HubService:
    """One hub.

    Args:
        store: The durable queue.
        archive: Everything recorded.
        exports: Makes files to fetch.
        connection: For what nodes say and everything published; not entered yet.
        request_connection: For requests alone; its session is kept by the broker, so that what
            comes while the hub is away waits for it. Not entered yet.
        journal_connection: For the nodes' journals alone; not entered yet.
        settings: Who is believed, who may what.
        version: Of the program, for the hub's presence.
        boot_id: Fresh at every start.
        new_id: Makes ids of experiments, each greater than the one before.
        clock: The wall clock, in UTC.
    """

    def __init__(
        self,
        store: QueueStore,
        archive: Archive,
        exports: Exports,
        *,
        connection: Connection,
        request_connection: Connection,
        journal_connection: Connection,
        settings: HubSettings,
        version: str,
        boot_id: str,
        new_id: Callable[[], str],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._archive = archive
        self._exports = exports
        self._connection = connection
        self._request_connection = request_connection
        self._journal_connection = journal_connection
        self._version = version
        self._boot_id = boot_id
        self._durations = Durations()
        self._experienced = False
        self._refusals = Bucket(REFUSALS_PER_SECOND, REFUSALS_AT_ONCE)
        self._left_out = 0
        self._desk = Desk(
            store,
            archive,
            clock=clock,
            changed=self._on_change,
            archived=self._on_archived,
            progress=self._on_progress,
            low=partial(is_low, archive.directory),
        )
        self._bulletin = Bulletin(
            connection,
            state=lambda: store.state,
            script=archive.get_script,
            limits=settings.run,
            durations=self._durations,
            everybody=settings.open,
            clock=clock,
        )
        checker = Checker()
        self._keeping = Keeping(
            self._desk,
            archive,
            show=self._bulletin.show_finished,
            forget=self._bulletin.forget,
            everybody=settings.open,
        )
        self._tokens = TokenBook(self._desk, archive, show=self._bulletin.show_tokens, clock=clock)
        self._commands = Commands(
            self._desk,
            archive,
            settings,
            checker=checker,
            durations=self._durations,
            stop_node=self._stop_node,
            keeping=self._keeping,
            tokens=self._tokens,
            new_id=new_id,
        )
        self._retention = Retention(
            archive,
            keep_days=lambda: store.state.limits.keep_days,
            forget=self._bulletin.forget,
            clock=clock,
        )
        self._reading = Reading(
            lambda: store.state,
            archive,
            exports,
            checker=checker,
            durations=self._durations,
            everybody=settings.open,
            clock=clock,
        )
        self._overview = Overview(lambda: store.state, archive, self._retention.due)
        self._notifier = Notifier(
            connection,
            archive,
            settings.notify,
            find=self._reading.known,
            everybody=settings.open,
            clock=clock,
        )
        self._watch = NodeWatch(connection, self._desk.learn, self._acknowledge)
        self._requests = RequestServer(
            request_connection,
            portals=settings.portals,
            handle=self._handle,
            book=Doorbook(settings.data_dir / DOORBOOK),
            clock=clock,
        )
        self._receiver = JournalReceiver(journal_connection, archive, self._on_committed)
        journal_connection.on_connect(self._acknowledge_all)
        connection.on_connect(self._hear)  # before the presence tells anybody to send
        self._presence = Presence(
            connection, connection.topics.build(Topic.HUB_STATUS), self._status()
        )
        self._generation = store.state.generation
        self._listens_since: float | None = None
        self.pulse = Pulse()
        self._figures = Figures(version)
        self._clock = clock
        store.on_written = self._figures.store.observe
        archive.when_committed(self._figures.archive.observe)

    def health(self) -> Health:
        """Return how the hub is."""
        stuck = self.pulse.stuck()
        if stuck is not None:
            return Health(alive=False, ready=False, sentence=stuck)
        for link in (self._connection, self._request_connection, self._journal_connection):
            if not link.connected:
                why = link.last_error or "it is being connected to"
                return Health(alive=True, ready=False, sentence=f"the broker is away: {why}")
        state = self._store.state
        online = sum(node.online for node in state.nodes.values())
        running = len(state.occupants())
        sentence = (
            f"serving: {running} on a reactor, {len(state.order)} waiting, "
            f"{online} of {len(state.nodes)} reactors online"
        )
        if state.posture is not Posture.RUNNING:
            sentence += f"; the queue is {state.posture}"
        return Health(alive=True, ready=True, sentence=sentence)

    async def finish(self) -> None:
        """Answer what was asked and tell the last state, within bounds; take nothing new.

        To be called before `run` is cancelled, which says that the hub leaves.
        """
        await self._requests.finish(_ANSWERS_S)
        if self._connection.connected:
            await self._bulletin.finish(_LAST_WORDS_S)

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            SubscriptionRefusedError: The broker does not let the hub read what it must.
            ExceptionGroup: With a StoreError: the queue's disk can be neither written nor read.
        """
        await self._desk.open()
        for run in await self._archive.taken():
            self._durations.add(run)
        self._experienced = True
        self.pulse.beat(*PATIENCE)
        self._bulletin.show_finished(await self._archive.newest(_SHOWN_AT_START))
        await self._tokens.tell()
        self._bulletin.changed()
        async with (
            self._journal_connection,
            self._request_connection,
            self._connection,
            self._presence,
            asyncio.TaskGroup() as tasks,
        ):
            for name, work in (
                ("bulletin", self._bulletin.run()),
                ("requests", self._requests.run()),
                ("journal", self._receiver.run()),
                ("archivist", self._desk.run()),
                ("clock", self._tick()),
                ("deletions", self._archive.keep_deleting()),
                ("trash", self._keeping.run()),
                ("retention", self._retention.run()),
                ("notifier", self._notifier.run()),
                ("figures", self._tell_figures()),
            ):
                tasks.create_task(work, name=f"hub {name}")

    async def _handle(self, asked: Asked) -> Result:
        reads = asked.verb in READS
        door = self._overview if asked.verb in VERBS else self._reading if reads else self._commands
        outcome = "failed"
        level = logging.DEBUG if reads else logging.INFO
        try:
            result = await door.handle(asked)
            outcome = result.outcome if isinstance(result, Done) else "done"
        except ContractError as error:
            outcome = str(error.error.code)
            if error.error.code is ErrorCode.FORBIDDEN and await self._put_on_record(asked, error):
                level = logging.WARNING
            raise
        except StoreError:
            # The hub ends of it, and does not know what to answer: its next life will.
            outcome = "unknown"
            await asyncio.get_running_loop().create_future()
            raise
        finally:
            self._figures.asked(asked.verb, outcome)
            log.log(level, "%s of %s: %s", asked.verb, asked.user, outcome)
        return result

    async def _put_on_record(self, asked: Asked, error: ContractError) -> bool:
        """Audit that somebody asked for what is not theirs; False if that was too often.

        Commands have done so themselves.
        """
        if isinstance(error, RefusedError):
            return True
        if self._refusals.take(time.monotonic()) > 0:
            self._left_out += 1
            return False
        if self._left_out:
            log.warning("%d refused questions are not on record", self._left_out)
            self._left_out = 0
        experiment_id = getattr(asked.request, "experiment_id", None)
        try:
            await self._desk.audit(asked, str(error.error.code), experiment_id, error=error.error)
        except ContractError as full:
            log.error("a refused question is not on record: %s", full)  # noqa: TRY400  a full disk needs no trace
        return True

    async def _on_committed(self, node: str, stream: str) -> None:
        with about(node=node):
            log.debug("%s: committed", stream)
            await self._desk.catch_up()

    async def _hear(self) -> None:
        """Return when journals and requests are heard: what comes before waits for its repeat."""
        for heard in (self._journal_connection, self._request_connection):
            await heard.wait_connected(_HEARING_S)

    async def _acknowledge(self, node: str) -> None:
        """Tell a node what of its journal is here, even if that is nothing.

        A hub that was emptied or restored has less than the node was told before. It learns that
        from a live acknowledgement, and sends again what it still has.
        """
        for stream in STREAMS:
            await self._receiver.acknowledge(node, stream)

    async def _acknowledge_all(self) -> None:
        for name, node in self._store.state.nodes.items():
            if node.online:
                await self._acknowledge(name)

    async def _on_archived(self, experiment: Experiment) -> None:
        self._notifier.wake()
        if self._experienced:  # what is archived before is read with all others
            for run in await self._archive.taken(experiment.experiment_id):
                self._durations.add(run)

    def _on_progress(self) -> None:
        """Note that queue and archive work; before the hub serves nothing else is due."""
        self.pulse.beat(*(("store", "archive") if self._experienced else PATIENCE))

    def _on_change(self) -> None:
        self._figures.watch(self._store.state)
        self._bulletin.changed()

    async def _tell_figures(self) -> None:
        """Publish the figures; what it takes for that shows that archive and broker work."""
        topic = self._connection.topics.build(Topic.HUB_METRICS)
        while True:
            try:
                await self._archive.probe()
            except ContractError as error:
                log.debug("the archive's disk is full: %s", error)
            self.pulse.beat("archive")
            waiting = len(await self._archive.outbox.waiting())
            figures = self._figures.take(self._store.state, waiting, self._clock())
            if not self._connection.connected:
                self.pulse.beat("broker")  # it is tried again and again: no fault of ours
            else:
                try:
                    message = Message(topic, figures.encode(), qos=1, retain=True)
                    await self._connection.publish_message(message)
                    self.pulse.beat("broker")
                except (NotConnectedError, TimeoutError) as error:
                    log.debug("figures were not published: %s", error)
            await asyncio.sleep(FIGURES_S)

    async def _tick(self) -> None:
        """Let time pass for the queue; make good what a full disk kept back."""
        ticks = 0
        leaps = Leaps(self._clock)
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            self.pulse.beat("store")
            try:
                await self._desk.learn(Ticked(leaps.since_last()))
                if self._store.state.listening and self._listened():
                    await self._desk.learn(Listened())
                await self._tell_generation()
                if ticks % HOUSEKEEPING_TICKS == 0:
                    await self._desk.catch_up()
                    await self._exports.tidy()
                    self._bulletin.expire()
                    self._bulletin.remind()
                    self._bulletin.changed()
            except ContractError as error:
                log.error("the clock's change is not stored: %s", error)  # noqa: TRY400  a full disk needs no trace

    def _listened(self) -> bool:
        now = asyncio.get_running_loop().time()
        if not self._connection.connected:
            self._listens_since = None
        elif self._listens_since is None:
            self._listens_since = now
        return self._listens_since is not None and now - self._listens_since >= LISTEN_S

    async def _tell_generation(self) -> None:
        """Say with our presence that an administrator ended a recovery: it is another history."""
        if self._generation != self._store.state.generation:
            self._generation = self._store.state.generation
            await self._presence.tell(self._status())

    async def _stop_node(self, node: str, request: EstopRequest) -> None:
        """Publish an emergency stop, once: the node clears the topic when it is released.

        Raises:
            ContractError: UNAVAILABLE, the broker did not take it.
        """
        topic = self._connection.topics.build(Topic.NODE_ESTOP, node=node, principal="hub")
        try:
            await self._connection.publish_message(Message(topic, request.encode(), 1, True))
        except (NotConnectedError, TimeoutError) as error:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"the emergency stop did not reach the broker: {error}",
                "stop the reactor at its node: `bioreactor node --estop`, or its power switch",
            ) from error

    def _status(self) -> HubStatus:
        state = self._store.state
        return HubStatus(
            state="online",
            version=self._version,
            boot_id=self._boot_id,
            since=utc_now(),
            store_id=state.store_id,
            generation=state.generation,
        )
