"""One MQTT session, from CONNECT to its end: paho inside, asyncio outside.

This is the only module that knows paho. paho runs on the event loop through its public socket
callbacks, without a thread; each session has a client of its own, so nothing of an ended session
can leak into the next one.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from broker.messages import ContractError, ErrorCode
from broker.settings import BrokerSettings
from broker.streams import Stream

log = logging.getLogger(__name__)

P = ParamSpec("P")

_READS_A_TURN: Final = 64
_UNACKNOWLEDGED: Final = 1000
_UNSENT_BYTES: Final = 4 * 1024 * 1024
_SUBSCRIBE_AT_ONCE: Final = 50


_CREDENTIALS: Final = frozenset({"Bad user name or password", "Not authorized"})


class NotConnectedError(ConnectionError):
    """The broker is not reachable, or the connection ended before the answer came."""


class AckTimeoutError(TimeoutError):
    """The broker did not acknowledge in time. It may have the message, or forbid it silently."""


class RefusedError(ConnectionError):
    """The broker answered CONNECT with a refusal; the message is its reason.

    Attributes:
        credentials: It knows no such user with this password; else it is just not ready.
    """

    def __init__(self, reason: ReasonCode) -> None:
        super().__init__(f"the broker refuses: {reason}")
        self.credentials = reason.getName() in _CREDENTIALS


class SubscriptionRefusedError(ContractError):
    """The broker refuses a subscription, so the service cannot do its work."""

    def __init__(self, topic_filter: str) -> None:
        super().__init__(
            ErrorCode.FORBIDDEN,
            f"the broker refuses the subscription to {topic_filter}: this user may not read it",
            "check the user name in the broker settings and the broker's access list",
            topic=topic_filter,
        )


@dataclass(frozen=True, slots=True)
class Message:
    """An MQTT message.

    Attributes:
        repeated: The broker sent it before and saw no acknowledgement.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    repeated: bool = field(default=False, compare=False)


def _guarded(
    callback: Callable[Concatenate["Session", P], None],
) -> Callable[Concatenate["Session", P], None]:
    """Keep an exception from unwinding through paho; the session ends with it as the reason."""

    @wraps(callback)
    def guard(session: "Session", /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            callback(session, *args, **kwargs)
        except Exception as error:
            log.exception("a callback of the MQTT session failed")
            session.abort(f"internal error: {error!r}")

    return guard


class _Socket:
    """What paho takes for its socket. It must not close it: the session does, in order."""

    def __init__(self, stream: Stream) -> None:
        self.recv = stream.recv
        self.send = stream.send
        self.fileno = stream.fileno
        self.setblocking = stream.setblocking

    def close(self) -> None:
        """Leave the stream open; see `Stream.finish`."""


class _Client(mqtt.Client):
    """paho's client over a stream that is open already."""

    def __init__(self, stream: Stream, client_id: str, *, clean_session: bool) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=clean_session,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._stream = stream

    def _create_socket(self) -> _Socket:
        return _Socket(self._stream)


class Session:
    """One MQTT session over one stream.

    Args:
        stream: Connected; belongs to the session from now on.
        deliver: Called for each message with the number to acknowledge it by; None for QoS 0.

    Attributes:
        ended: Done when the session is over; its result is the reason, for people.
    """

    def __init__(
        self,
        stream: Stream,
        settings: BrokerSettings,
        *,
        client_id: str,
        clean_session: bool,
        will: Message | None,
        deliver: Callable[[Message, int | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._deliver = deliver
        self._watching = self._writing = self._flushing = False
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._acks: dict[int, asyncio.Future[list[int]]] = {}
        self._unsent: dict[int, int] = {}  # sizes of QoS 0 messages
        self._unsent_bytes = 0
        self._room = asyncio.Semaphore(_UNACKNOWLEDGED)
        self._leaving = False
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self._misc: asyncio.TimerHandle | None = None

        client = self._client = _Client(stream, client_id, clean_session=clean_session)
        client.max_inflight_messages_set(0)  # `_room` bounds them
        if settings.username is not None:
            secret = settings.secret()
            client.username_pw_set(
                settings.username, None if secret is None else secret.get_secret_value()
            )
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.on_socket_open = lambda *_: self._opened()
        client.on_socket_close = lambda *_: self._unwatch()
        client.on_socket_register_write = lambda *_: self._want_write()
        client.on_socket_unregister_write = lambda *_: self._unwant_write()
        client.on_connect = lambda _c, _u, _flags, reason, _p: self._on_connect(reason)
        client.on_disconnect = lambda _c, _u, _flags, reason, _p: self._on_disconnect(reason)
        client.on_message = lambda _c, _u, message: self._on_message(message)
        client.on_publish = lambda _c, _u, mid, _r, _p: self._on_ack(mid, [])
        client.on_subscribe = lambda _c, _u, mid, codes, _p: self._on_ack(
            mid, [code.value for code in codes]
        )
        client.connect_async("broker", 1, settings.keepalive)

    async def open(self) -> None:
        """Send CONNECT and wait for the answer.

        Raises:
            RefusedError: The broker refused; the message is its reason.
            NotConnectedError: The stream ended first.
        """
        self._client.reconnect()
        self._every_second()
        await self._connected

    def subscribe(self, filters: Iterable[tuple[str, int]]) -> Coroutine[None, None, None]:
        """Subscribe, ahead of whatever is published afterwards; await it until all are granted.

        Raises:
            SubscriptionRefusedError: When awaited; the message names the topic.
            NotConnectedError: The session ended, now or while awaited.
        """
        wanted = list(filters)
        sent: list[tuple[list[tuple[str, int]], asyncio.Future[list[int]]]] = []
        for start in range(0, len(wanted), _SUBSCRIBE_AT_ONCE):
            some = wanted[start : start + _SUBSCRIBE_AT_ONCE]
            code, mid = self._client.subscribe(list(some))
            sent.append((some, self._expect(code, mid)))

        async def granted() -> None:
            answers = await asyncio.gather(*(answer for _, answer in sent))
            for (some, _), codes in zip(sent, answers, strict=True):
                for (topic_filter, _), code in zip(some, codes, strict=True):
                    if code >= 0x80:  # noqa: PLR2004  MQTT's failure code
                        raise SubscriptionRefusedError(topic_filter)

        return granted()

    def unsubscribe(self, topic_filter: str) -> None:
        """Unsubscribe; messages under way may still arrive."""
        if not self.ended.done():
            self._client.unsubscribe(topic_filter)

    async def publish(self, message: Message) -> None:
        """Publish; with QoS 1 return when the broker has acknowledged.

        A message of QoS 0 is dropped if more than 4 MiB wait to be sent.

        Raises:
            NotConnectedError: The session ended; with QoS 1 the broker may have the message.
        """
        if self.ended.done() or self._leaving:
            raise NotConnectedError("the connection to the broker is gone")
        if message.qos == 0:
            if self._unsent_bytes < _UNSENT_BYTES:
                info = self._client.publish(message.topic, message.payload, 0, message.retain)
                self._unsent[info.mid] = len(message.payload)
                self._unsent_bytes += len(message.payload)
            return
        async with self._room:
            info = self._client.publish(message.topic, message.payload, 1, message.retain)
            await self._expect(info.rc, info.mid)

    def acknowledge(self, mid: int) -> None:
        """Tell the broker that a message with QoS 1 has been dealt with."""
        if not self.ended.done():
            self._client.ack(mid, 1)

    async def close(self) -> None:
        """Say goodbye, so that the broker does not publish the last will; at most 2 s."""
        self._leaving = True
        try:
            async with asyncio.timeout(2.0):
                if not self.ended.done():
                    self._client.disconnect()
                    await asyncio.shield(self.ended)
                await self._stream.finish()
        except TimeoutError:
            log.debug("the broker did not take the goodbye in time")
        finally:
            self.abort("closed")

    def abort(self, reason: str) -> None:
        """End the session at once."""
        self._end(reason)
        self._stream.close()

    def _expect(self, code: MQTTErrorCode, mid: int | None) -> asyncio.Future[list[int]]:
        """Return the future acknowledgement of a packet that was just sent."""
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None or self.ended.done():
            raise NotConnectedError(f"not sent: {mqtt.error_string(code)}")
        future: asyncio.Future[list[int]] = self._loop.create_future()
        self._acks[mid] = future
        future.add_done_callback(lambda _: self._acks.pop(mid, None))
        return future

    @_guarded
    def _every_second(self) -> None:
        if self.ended.done():
            return
        self._misc = self._loop.call_later(1.0, self._every_second)
        self._client.loop_misc()

    @_guarded
    def _readable(self) -> None:
        for _ in range(_READS_A_TURN):
            self._client.loop_read()
            if self.ended.done() or not self._stream.pending:
                return
        self._loop.call_soon(self._read_on)  # let others have a turn; the selector knows nothing

    def _read_on(self) -> None:
        if self._watching:
            self._readable()

    @_guarded
    def _opened(self) -> None:
        self._watching = True
        self._loop.add_reader(self._stream.fileno(), self._readable)

    @_guarded
    def _want_write(self) -> None:
        """Write in this turn of the loop; ask the selector only about what does not fit."""
        if self._watching and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    @_guarded
    def _flush(self) -> None:
        self._flushing = False
        if not self._watching:
            return
        self._client.loop_write()
        if not self.ended.done() and not self._writing and self._client.want_write():
            self._writing = True
            self._loop.add_writer(self._stream.fileno(), self._flush)

    @_guarded
    def _unwant_write(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._stream.fileno())

    @_guarded
    def _unwatch(self) -> None:
        self._unwant_write()
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._stream.fileno())

    @_guarded
    def _on_connect(self, reason: ReasonCode) -> None:
        if self._connected.done():
            return
        if reason.is_failure:
            self._connected.set_exception(RefusedError(reason))
        else:
            self._connected.set_result(None)

    @_guarded
    def _on_disconnect(self, reason: ReasonCode) -> None:
        if not self._connected.done():
            self._stream.listen_for_refusal()
        self._end("closed" if self._leaving else f"connection lost ({reason})")
        if not self._leaving:
            self._stream.close()

    @_guarded
    def _on_message(self, message: mqtt.MQTTMessage) -> None:
        mid = message.mid if message.qos else None
        try:
            topic = message.topic
        except UnicodeDecodeError:
            log.warning("ignored a message whose topic is not UTF-8")
            if mid is not None:
                self.acknowledge(mid)
            return
        self._deliver(
            Message(topic, bytes(message.payload), message.qos, message.retain, message.dup), mid
        )

    @_guarded
    def _on_ack(self, mid: int, codes: list[int]) -> None:
        self._unsent_bytes -= self._unsent.pop(mid, 0)
        future = self._acks.get(mid)
        if future is not None and not future.done():
            future.set_result(codes)

    def _end(self, reason: str) -> None:
        if self.ended.done():
            return
        self._unwatch()
        if self._misc is not None:
            self._misc.cancel()
        self.ended.set_result(reason)
        lost = f"the connection to the broker ended: {reason}"
        futures: list[asyncio.Future[Any]] = [self._connected, *self._acks.values()]
        for future in futures:
            if not future.done():
                error = NotConnectedError(lost)
                error.__cause__ = self._stream.refused
                future.set_exception(error)
        if not self._connected.cancelled():
            self._connected.exception()  # it was told, or nobody waits for it
