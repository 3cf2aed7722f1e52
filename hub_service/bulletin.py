"""What the hub publishes of its state: the queue, each experiment, each node's assignment."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.connection import Connection, Message
from broker.messages import Experiment, Posture, RunLimits, StartForecast, Tokens
from broker.topics import ANY, Topic, Topics
from hub_service.archive.finished import Kept
from hub_service.dispatch import assignment, script_of
from hub_service.queue import Entry, QueueState, views
from hub_service.queue.durations import Durations
from hub_service.queue.estimates import forecasts
from hub_service.queue.reasons import detail
from hub_service.retained import Retained

log = logging.getLogger(__name__)

SHOWN_FOR: Final = timedelta(hours=24)
"""How long a finished experiment's topic stays, from when the hub archived it."""
MAX_FINISHED: Final = 5000
"""How many finished experiments have their topic; it takes memory here and at the broker."""
_SCRIPTS_KEPT: Final = 16


@dataclass(frozen=True, slots=True)
class _Shown:
    """What an experiment's payload was made of; the same again needs no new payload."""

    entry: Entry
    position: int | None
    forecast: StartForecast | None
    detail: str


class Bulletin:
    """Keeps the hub's retained topics as its state is.

    Args:
        connection: The hub's own.
        state: Returns the durable state; what is not durable is never shown.
        script: Returns a script by its hash, None if there is none.
        limits: Of runs.
        durations: Of earlier runs.
        everybody: Whether everybody may see all of an experiment.
        clock: The wall clock, in UTC.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        state: Callable[[], QueueState],
        script: Callable[[str], Awaitable[str | None]],
        limits: RunLimits,
        durations: Durations,
        everybody: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._topics: Topics = connection.topics
        self._state = state
        self._script = script
        self._limits = limits
        self._durations = durations
        self._everybody = everybody
        self._clock = clock
        self._retained = Retained(connection)
        self._changed = asyncio.Event()
        self._shown: dict[str, _Shown] = {}
        self._finished: dict[str, datetime] = {}
        self._scripts: dict[str, str] = {}
        connection.subscribe(self._topic(ANY), self._look)

    def changed(self) -> None:
        """Have what is shown brought up to date soon."""
        self._changed.set()

    def show_finished(self, kept: Iterable[Kept]) -> None:
        """Show experiments that finished lately, as the archive has them."""
        now = self._clock()
        for experiment, archived_at in kept:
            if now - archived_at < SHOWN_FOR:
                self._finished[experiment.experiment_id] = min(archived_at, now)
                self._publish(experiment)

    def show_tokens(self, tokens: Tokens) -> None:
        """Show which tokens for scripts are admitted."""
        self._retained.put(self._topics.build(Topic.HUB_TOKENS), tokens.encode())

    def forget(self, experiment_id: str) -> None:
        """Show an experiment no more: it was deleted."""
        self._finished.pop(experiment_id, None)
        self._shown.pop(experiment_id, None)
        self._retained.clear(self._topic(experiment_id))

    def remind(self) -> None:
        """Say its assignment once more to each node whose report does not show it.

        A node that came back may have read an older one: where a server of a cluster died, another
        may no longer hear what is retained anew.
        """
        for name, node in self._state().nodes.items():
            if node.online and node.report and node.report.seen_revision < node.revision:
                self._retained.again(self._topics.build(Topic.NODE_ASSIGNMENT, node=name))

    def expire(self) -> None:
        """Clear the topics of experiments that were archived a day ago, earlier of too many."""
        oldest = self._clock() - SHOWN_FOR
        past = [i for i, at in self._finished.items() if at <= oldest]
        left = [i for i, at in self._finished.items() if at > oldest]
        for experiment_id in past + left[:-MAX_FINISHED]:
            self.forget(experiment_id)

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._retained.run(), name="retained")
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self.refresh()

    async def finish(self, within: float) -> None:
        """Show the last state; return when the broker has it, or after so many seconds."""
        try:
            async with asyncio.timeout(within):
                await self.refresh()
                await self._retained.settled()
        except TimeoutError:
            log.warning("the last state was not published within %g s", within)

    async def refresh(self) -> None:
        """Bring what is wanted at the broker up to date with the state."""
        state, now = self._state(), self._clock()
        starts, places = forecasts(state, now, self._durations), views.positions(state)
        # The assignments first: a reactor may be waiting for its word.
        await self._assign(state)
        for entry in state.entries.values():
            self._show(state, entry, places.get(entry.id), starts.get(entry.id))
        for experiment_id in [i for i in self._shown if i not in state.entries]:
            self._retire(experiment_id, now)
        queue = views.queue(state, starts, places, everybody=self._everybody)
        self._retained.put(self._topics.build(Topic.QUEUE), queue.encode())

    async def _assign(self, state: QueueState) -> None:
        for name in state.nodes:
            sha256 = script_of(state, name)
            script = None if sha256 is None else await self._read_script(sha256)
            if sha256 is not None and script is None:
                log.error("the script %s for %s is missing in the archive", sha256, name)
            desired = assignment(state, name, self._limits, script)
            if desired is not None:
                topic = self._topics.build(Topic.NODE_ASSIGNMENT, node=name)
                self._retained.put(topic, desired.encode())

    async def _read_script(self, sha256: str) -> str | None:
        known = self._scripts.get(sha256)
        if known is None:
            known = await self._script(sha256)
            if known is not None:
                self._scripts[sha256] = known
                for oldest in list(self._scripts)[:-_SCRIPTS_KEPT]:
                    del self._scripts[oldest]
        return known

    def _show(
        self, state: QueueState, entry: Entry, position: int | None, forecast: StartForecast | None
    ) -> None:
        shown = _Shown(entry, position, forecast, detail(state, entry))
        before = self._shown.get(entry.id)
        if before is not None and before.entry is entry and before == shown:
            return
        self._shown[entry.id] = shown
        self._publish(views.experiment(state, entry, position, forecast))

    def _publish(self, experiment: Experiment) -> None:
        """Show an experiment to everybody: all of it, or what the queue says of it."""
        told = experiment if self._everybody else views.outline(experiment)
        self._retained.put(self._topic(experiment.experiment_id), told.encode())

    def _retire(self, experiment_id: str, now: datetime) -> None:
        """Note when an experiment that left the queue is to be cleared.

        Its own end is a word of its node, whose clock may be years behind.
        """
        if self._shown.pop(experiment_id).entry.completed_at is None:
            self.forget(experiment_id)
        else:
            self._finished[experiment_id] = now

    async def _look(self, message: Message) -> None:
        """Clear what an earlier life of the hub left retained; our own messages come live."""
        leftover = message.retain and message.payload and message.topic not in self._retained
        if leftover and self._state().posture is not Posture.RECOVERY:
            self._retained.clear(message.topic)

    def _topic(self, experiment: str) -> str:
        return self._topics.build(Topic.EXPERIMENT, experiment=experiment)
