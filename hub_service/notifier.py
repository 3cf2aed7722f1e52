"""Tells people what happened: over MQTT always, and through Apprise where it is configured.

What is to be told waits in the archive's outbox. MQTT is told first and never waits for a slow
target; whatever was not taken is tried again, later each time, for a day.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from broker.connection import Connection, Message, NotConnectedError
from broker.messages import ContractError, Experiment, Notification
from broker.topics import Topic
from hub_service.archive import Archive, Audit
from hub_service.archive.outbox import MAX_ROWS, Waiting, named, outline
from hub_service.settings import NotifyTarget
from hub_service.targets import Letter, tell

log = logging.getLogger(__name__)

EXPIRES_AFTER: Final = timedelta(days=1)
FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(hours=1)
AT_ONCE: Final = 20
"""Notifications in one letter; more wait for the next one."""
LOOK_S: Final = 10.0
HUB: Final = "hub"

Tell = Callable[[Sequence[Letter]], Awaitable[Mapping[str, str]]]
Find = Callable[[str], Awaitable[Experiment | None]]


class Notifier:
    """Empties the outbox.

    Args:
        connection: The hub's own.
        archive: Has the outbox.
        targets: Whom to tell besides MQTT.
        find: Returns an experiment by its id, if it is known.
        everybody: Whether everybody may see all of an experiment: MQTT tells everybody.
        clock: The wall clock, in UTC.
        send: Tells targets, returns why some failed.
        first_pause: After the first failure; doubled at each.
        look_s: How often the outbox is looked at where nothing tells that it was filled.
    """

    def __init__(
        self,
        connection: Connection,
        archive: Archive,
        targets: Sequence[NotifyTarget],
        *,
        find: Find,
        everybody: bool,
        clock: Callable[[], datetime],
        send: Tell = tell,
        first_pause: timedelta = FIRST_PAUSE,
        look_s: float = LOOK_S,
    ) -> None:
        self._connection = connection
        self._archive = archive
        self._targets = targets
        self._find = find
        self._everybody = everybody
        self._clock = clock
        self._send = send
        self._first_pause = first_pause
        self._look_s = look_s
        self._filled = asyncio.Event()
        self._published = asyncio.Event()
        loop = asyncio.get_running_loop()
        archive.when_notable(lambda: loop.call_soon_threadsafe(self.wake))

    def wake(self) -> None:
        """Have the outbox looked at soon."""
        self._filled.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        self._connection.on_connect(self._again)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self._filled, self._publish_all), name="tell by MQTT")
            tasks.create_task(self._repeat(self._published, self._deliver), name="tell targets")
            self.wake()

    async def _again(self) -> None:
        self.wake()

    async def _repeat(self, event: asyncio.Event, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                async with asyncio.timeout(self._look_s):
                    await event.wait()
            except TimeoutError:
                pass
            event.clear()
            try:
                await work()
            except ContractError as error:
                log.error("notifications wait: %s", error)  # noqa: TRY400  a full disk needs no trace

    async def _publish_all(self) -> None:
        rows = await self._archive.outbox.waiting(MAX_ROWS + 100)
        rows = await self._give_up(rows)
        for row in rows:
            if not row.published and not await self._publish(row):
                break
        if rows:
            self._published.set()

    async def _publish(self, row: Waiting) -> bool:
        """Publish one; False if the broker is away."""
        notification = await self._complete(row.notification)
        topic = self._connection.topics.build(Topic.NOTIFICATION, kind=notification.kind)
        told = notification if self._everybody else outline(notification)
        try:
            await self._connection.publish_message(Message(topic, told.encode(), 1, False))
        except (NotConnectedError, TimeoutError) as error:
            log.debug("a notification waits: %s", error)
            return False
        # A crash here has it published once more, with the same id.
        if self._left(row):
            await self._archive.outbox.published(row.seq)
        else:
            await self._archive.outbox.done([row.seq])
        return True

    def _left(self, row: Waiting) -> list[NotifyTarget]:
        """Return who is to be told yet."""
        return [
            target
            for target in self._targets
            if row.notification.kind in target.on and target.name not in row.told
        ]

    async def _deliver(self) -> None:
        """Tell each target in one letter what it is to know."""
        now = self._clock()
        rows = [r for r in await self._archive.outbox.waiting() if r.published]
        over = [row.seq for row in rows if not self._left(row)]
        if over:
            await self._archive.outbox.done(over)
        due = [row for row in rows if row.due <= now and self._left(row)][:AT_ONCE]
        if not due:
            return
        letters = []
        for target in self._targets:
            news = [await self._complete(r.notification) for r in due if target in self._left(r)]
            if news:
                letters.append(_letter(target, news))
        failed = await self._send(letters)
        for name, why in failed.items():
            log.warning("%s was not told: %s", name, why)
        for row in due:
            names = {target.name for target in self._left(row)}
            if names.isdisjoint(failed):
                await self._archive.outbox.done([row.seq])
            else:
                told = row.told | names.difference(failed)
                pause = min(self._first_pause * 2 ** min(row.tries, 20), LONGEST_PAUSE)
                await self._archive.outbox.tried(row.seq, told, row.tries + 1, now + pause)
        self._published.set()  # there may be more than one letter's worth

    async def _give_up(self, rows: list[Waiting]) -> list[Waiting]:
        """Let go of what is too old or too much, and put that on record."""
        oldest = self._clock() - EXPIRES_AFTER
        crowded = rows[: max(0, len(rows) - MAX_ROWS)]
        lost = [row for row in rows if row.noticed <= oldest or row in crowded]
        for row in lost:
            names = [target.name for target in self._left(row)] + ["MQTT"] * (not row.published)
            detail = f"{row.notification.title}: not told to {', '.join(names)}"
            log.error("given up: %s", detail)
            noted = Audit(
                *(HUB, HUB, "notify", row.notification.experiment_id, "expired"),
                {"id": row.notification.id, "detail": detail},
            )
            await asyncio.wrap_future(self._archive.record(noted))
        if lost:
            await self._archive.outbox.done([row.seq for row in lost])
        return [row for row in rows if row not in lost]

    async def _complete(self, notification: Notification) -> Notification:
        """Add what a node's record does not know: what the experiment is called and whose it is."""
        if notification.name is not None or notification.experiment_id is None:
            return notification
        experiment = await self._find(notification.experiment_id)
        return notification if experiment is None else named(notification, experiment)


def _letter(target: NotifyTarget, news: Sequence[Notification]) -> Letter:
    title = news[0].title if len(news) == 1 else f"{news[0].title}, and {len(news) - 1} more"
    body = "\n\n".join(f"{n.at:%Y-%m-%d %H:%M} UTC: {n.title}\n{n.message}" for n in news)
    return Letter(target, title, body)
