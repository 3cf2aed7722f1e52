"""A lasting connection to the broker: it reconnects, subscribes again, tells who is there.

Nothing is kept for later: while the broker is away, `Connection.publish` fails at once, and whoever
owns a durable state publishes it again from an `on_connect` hook.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from broker.identity import stable_client_id
from broker.messages import MAX_PAYLOAD_BYTES, ContractError, ErrorCode, utc_now
from broker.presence import Presence
from broker.refusals import AccessRefusedError, explain
from broker.servers import Servers
from broker.session import (
    AckTimeoutError,
    Message,
    NotConnectedError,
    RefusedError,
    Session,
    SubscriptionRefusedError,
)
from broker.settings import BrokerSettings
from broker.streams import Stream, open_stream
from broker.subscriptions import (
    Delivery,
    Handler,
    Subscription,
    Subscriptions,
    TakenSubscription,
    Taker,
)
from broker.topics import Topics

__all__ = [
    "AccessRefusedError",
    "AckTimeoutError",
    "Connection",
    "Delivery",
    "Handler",
    "Message",
    "NotConnectedError",
    "NotReachedError",
    "Presence",
    "RefusedError",
    "SubscriptionRefusedError",
    "Taker",
    "stable_client_id",
]

log = logging.getLogger(__name__)

_OPEN_TIMEOUT: Final = 10.0
_TURN_TIMEOUT: Final = 4.0
"""Where another server waits: one whose machine is gone does not even refuse."""
_GRANT_TIMEOUT: Final = 120.0
"""A cluster takes a tenth of a second for each subscription, more when one of its servers died."""
_STEADY_AFTER: Final = 10.0


class NotReachedError(NotConnectedError, TimeoutError):
    """The broker could not be reached in the time given; the message says what was the matter."""


class Connection:
    """One MQTT connection that comes back by itself.

    Enter it to start it; entering does not wait for the broker. If the broker refuses a
    subscription, the task that entered is cancelled and `SubscriptionRefusedError` leaves the
    ``async with`` block. A cluster that has just lost a server refuses what it cannot store, too:
    there it counts when each server has refused again and again.

    Args:
        client_id: Unique at the broker; see `stable_client_id`.
        will: Published by the broker when the connection is lost; `set_will` may change it.
        clean_session: False: the broker keeps subscriptions and QoS 1 messages while away.
        stop_if_refused: Should the broker refuse our password or either side the other's
            certificate before there was any connection, the task that entered is cancelled and
            `AccessRefusedError` leaves the ``async with`` block. Else it is tried for ever, for
            who has something to do without a broker.

    Attributes:
        topics: Builds and parses topics below the site's root.
        disconnected_since: None while connected.
        last_error: Why the broker cannot be reached, for people; None while connected.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        will: Message | None = None,
        clean_session: bool = True,
        stop_if_refused: bool = False,
    ) -> None:
        self.topics = Topics(settings.root)
        self.disconnected_since: datetime | None = utc_now()
        self.last_error: str | None = None
        self._settings = settings
        self._servers = Servers(settings.servers, client_id)
        self._client_id = client_id
        self._clean_session = clean_session
        self._stop_if_refused = stop_if_refused
        self._will: Callable[[], Message | None] = lambda: will
        self._subscriptions = Subscriptions()
        self._connect_hooks: list[Callable[[], Awaitable[None]]] = []
        self._disconnect_hooks: list[Callable[[], None]] = []
        self._session: Session | None = None
        self._connected = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._to_start: list[Subscription] | None = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._owner: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._interrupted = self._leaving = False
        self._failure: Exception | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker is there and has granted all subscriptions."""
        session = self._session
        return self._connected and session is not None and not session.ended.done()

    @property
    def username(self) -> str | None:
        """As whom it connects."""
        return self._settings.username

    @property
    def several(self) -> bool:
        """Whether the broker is several servers.

        Each hears what is retained at the others; where one died, another may not for as long as
        it is away, and gives those who connect to it what was retained before. Who is connected
        hears everything that is said: so whoever retains anything says it again now and again.
        """
        return len(self._settings.servers) > 1

    def set_will(self, will: Callable[[], Message | None]) -> None:
        """Have the last will made anew at each connect."""
        self._will = will

    async def __aenter__(self) -> Self:
        """Start connecting in the background."""
        self._owner = asyncio.current_task()
        self._cancelling = self._owner.cancelling() if self._owner else 0
        waiting, self._to_start = self._to_start or [], None
        for subscription in waiting:
            self._start(subscription.run(), f"mqtt {subscription.topic_filter}")
        self._main = self._start(self._run(), "mqtt connection")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the handlers, disconnect cleanly; raise what ended the connection for good."""
        self._leaving = True
        ours = not self._interrupted  # as asyncio.timeout tells its own cancellation from others'
        if self._interrupted and self._owner is not None:
            ours = self._owner.uncancel() <= self._cancelling
        for task in self._tasks - {self._main}:
            task.cancel()
        try:
            if self._session is not None:
                await self._session.close()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failure is not None and (
            error is None or (isinstance(error, asyncio.CancelledError) and ours)
        ):
            raise self._failure

    def subscribe(self, topic_filter: str, handler: Handler, *, qos: int = 1) -> Callable[[], None]:
        """Have a handler called for each message that the filter covers; returns how to stop.

        Remembered and made again at every connect. Messages of one subscription are handled one
        after another, in order, each acknowledged to the broker after its handler returned. What
        the handler raises is logged and the message acknowledged, so that poison never blocks.
        Filters of one connection may be equal but must not overlap otherwise: brokers differ in
        how often they then deliver. A handler must not wait for a message of another subscription
        of the same connection.
        """
        return self._subscribe(Subscription(topic_filter, qos, handler))

    def take(self, topic_filter: str, taker: Taker) -> Callable[[], None]:
        """Have a taker called for each message, which says itself when one is done with.

        Until then the broker keeps the message; on a connection with ``clean_session=False`` it
        brings it again, marked as repeated, whatever became of this process. The taker is called
        for one message after another, in order, and may return long before a message is done.
        What it raises is logged and the message acknowledged. Otherwise as `subscribe`, QoS 1.
        """
        return self._subscribe(TakenSubscription(topic_filter, 1, taker))

    def _subscribe(self, subscription: Subscription) -> Callable[[], None]:
        topic_filter, qos = subscription.topic_filter, subscription.qos
        self._subscriptions.add(subscription)
        if self._to_start is not None:
            self._to_start.append(subscription)
        else:
            self._start(subscription.run(), f"mqtt {topic_filter}")
        if self._session is not None:
            with suppress(NotConnectedError):  # the next connect subscribes it
                granted = self._session.subscribe([(topic_filter, qos)])
                self._start(self._granted(self._session, granted), "mqtt subscribe")

        def unsubscribe() -> None:
            last = self._subscriptions.remove(subscription)
            if last and self._session is not None:
                self._session.unsubscribe(topic_filter)

        return unsubscribe

    def on_connect(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Have a hook called at every connect, after all subscriptions were granted.

        Hooks are called in the order of their registration; called at once if connected already.
        """
        self._connect_hooks.append(hook)
        if self._connected:
            self._start(self._call(hook), "mqtt hook")

    def on_disconnect(self, hook: Callable[[], None]) -> None:
        """Have a hook called whenever the connection is lost or closed."""
        self._disconnect_hooks.append(hook)

    async def wait_connected(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  its error says more
        """Wait until connected.

        Raises:
            NotReachedError: Not within `timeout` seconds; the message says why.
            SubscriptionRefusedError: The broker refuses a subscription.
        """
        if self._failure is not None:
            raise self._failure
        if self.connected:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError as error:
            why = self.last_error or "it does not answer"
            raise NotReachedError(f"no connection to {self._settings.url}: {why}") from error
        finally:
            self._waiters.discard(waiter)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        timeout: float = 10.0,  # noqa: ASYNC109  its error says more
    ) -> None:
        """Publish; with QoS 1 return when the broker has acknowledged.

        QoS 0 returns at once, and the message is dropped when too much waits to be sent. Both
        brokers acknowledge a message that the sender may not publish, and drop it silently.

        Raises:
            NotConnectedError: Not connected, or the connection ended before the acknowledgement
                (the broker may then have the message).
            AckTimeoutError: No acknowledgement within `timeout` seconds.
            ContractError: TOO_LARGE; above 768 KiB brokers would disconnect the sender.
        """
        await self.publish_message(Message(topic, payload, qos, retain), timeout=timeout)

    async def publish_message(self, message: Message, *, timeout: float = 10.0) -> None:  # noqa: ASYNC109  its error says more
        """Publish a message, as `publish` does."""
        if len(message.payload) > MAX_PAYLOAD_BYTES:
            raise ContractError(
                ErrorCode.TOO_LARGE,
                f"the message has {len(message.payload)} bytes, at most {MAX_PAYLOAD_BYTES} "
                "are allowed",
                "send less in one message",
                bytes=len(message.payload),
                limit=MAX_PAYLOAD_BYTES,
            )
        session = self._session  # there before all subscriptions are granted: a handler may answer
        if session is None or session.ended.done():
            why = self.last_error or "it does not answer"
            raise NotConnectedError(f"no connection to the broker: {why}")
        try:
            async with asyncio.timeout(timeout):
                await session.publish(message)
        except TimeoutError as error:
            raise AckTimeoutError(
                f"the broker did not acknowledge a message on {message.topic} within {timeout:g} s"
            ) from error

    def _start(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the connection for good: the error leaves the ``async with`` block."""
        if self._failure is not None:
            return
        self._failure = error
        log.error("the connection to the broker ends: %s", error)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
        if self._owner is not None and not self._owner.done() and not self._leaving:
            self._interrupted = True
            self._owner.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            server = self._servers.current
            began = loop.time()
            lasting = False
            try:
                reason = await self._live(server)
                self._stop_if_refused = False
            except OSError as error:
                refusal = explain(error, server)
                reason, lasting = str(refusal), refusal.lasting
                if lasting and self._stop_if_refused and not self._leaving:
                    raise AccessRefusedError(refusal, server.url) from error
            if self._leaving:
                return
            level = logging.ERROR if lasting else logging.WARNING
            level = logging.DEBUG if reason == self.last_error else level
            log.log(level, "no connection to %s: %s", server.url, reason)
            self.last_error = reason
            steady = loop.time() - began > _STEADY_AFTER
            await asyncio.sleep(self._servers.lost(steady=steady))

    async def _live(self, server: BrokerSettings) -> str:
        """Connect, subscribe, stay until the session ends; return why it ended."""
        session: Session | None = None
        alone = server.url == self._settings.url
        try:
            try:
                async with asyncio.timeout(_OPEN_TIMEOUT):
                    async with asyncio.timeout(None if alone else _TURN_TIMEOUT):
                        stream = await open_stream(server)
                    session = self._make_session(stream)
                    await session.open()
                self._session = session
                async with asyncio.timeout(_GRANT_TIMEOUT):
                    await session.subscribe(self._subscriptions)
            except TimeoutError as error:
                raise ConnectionError("no answer in time") from error
            except SubscriptionRefusedError as error:
                if self._servers.refused():
                    raise
                raise ConnectionError(error.error.message) from error
            self._servers.granted()
            self._went_up(server)
            hooks = self._start(self._call(*self._connect_hooks), "mqtt hooks")
            try:
                return await asyncio.shield(session.ended)
            finally:
                hooks.cancel()
        finally:
            self._session = None
            if session is not None:
                session.abort("given up")
            self._went_down()

    def _make_session(self, stream: Stream) -> Session:
        session: Session

        def deliver(message: Message, mid: int | None) -> None:
            self._subscriptions.deliver(
                message, lambda: None if mid is None else session.acknowledge(mid)
            )

        try:
            session = Session(
                stream,
                self._settings,
                client_id=self._client_id,
                clean_session=self._clean_session,
                will=self._will(),
                deliver=deliver,
            )
        except BaseException:  # no password can be read
            stream.close()
            raise
        return session

    def _went_up(self, server: BrokerSettings) -> None:
        log.info("connected to %s", server.url)
        self._connected = True
        self.disconnected_since = self.last_error = None
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _went_down(self) -> None:
        if not self._connected:
            return
        self._connected = False
        self.disconnected_since = utc_now()
        for hook in self._disconnect_hooks:
            try:
                hook()
            except Exception:
                log.exception("a hook for the lost connection failed")

    async def _call(self, *hooks: Callable[[], Awaitable[None]]) -> None:
        for hook in hooks:
            try:
                await hook()
            except NotConnectedError as error:
                log.debug("a hook at connect was cut short: %s", error)
            except Exception:
                log.exception("a hook at connect failed")

    async def _granted(self, session: Session, granted: Awaitable[None]) -> None:
        try:
            await granted
        except NotConnectedError:
            pass  # the next connect subscribes it again
        except SubscriptionRefusedError as error:
            if self._servers.refused():
                raise
            session.abort(error.error.message)
