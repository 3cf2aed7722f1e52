"""Ask the hub and answer for it, over topics.

A request is published to `hub/request/{principal}/{verb}` or `hub/admin/…`; the reply comes to
`reply/{principal}/{client}` with the request's id, which makes a repeat harmless. What is wrong
with a request that names no client is told on `errors/{principal}`.

No request is lost: the broker keeps each until it is answered, so on a connection with
``clean_session=False`` it outlives the hub's death, and waits for a hub that is away. It may come
again; the handler knows a request with an id again, and the other verbs say what shall be, not what
shall be done.
"""

import asyncio
import difflib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from broker.asking import Asker
from broker.connection import Connection, Delivery, Message, NotConnectedError
from broker.doorbook import Doorbook
from broker.incoming import Back, Open, demand_current, fingerprint
from broker.lanes import Lanes, Rate, RateLimiter
from broker.logs import about
from broker.messages import (
    ADMIN_REQUESTS,
    ID_REQUIRED,
    MAX_PAYLOAD_BYTES,
    REQUESTS,
    ContractError,
    Error,
    ErrorCode,
    ErrorReport,
    Reply,
    Request,
    Result,
    decode,
    utc_now,
)
from broker.topics import ANY, Address, Topic

__all__ = ["Asked", "Asker", "Rate", "RequestServer"]

log = logging.getLogger(__name__)

READS: Final = frozenset(
    {
        "check",
        "get",
        "list",
        "history",
        "logs",
        "audit",
        "export",
        "fetch",
        "users",
        "due",
        "storage",
    }
)
"""Verbs that change nothing: a slow one holds nothing up but its like."""

_UNSENT_REPLIES: Final = 200
_LARGE_ERROR: Final = 64 * 1024
_DEADLY: Final = Error(
    code=ErrorCode.INTERNAL,
    message="the hub ended each time that it began to carry this out; it does not try again",
    hint="tell the administrator: the hub's log says how it ended",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was checked at the door.

    Attributes:
        principal: Who sent it, authenticated by the broker.
        admin: It came by the administrators' topic (and the portal vouches for its session).
        request: With `actor` only if a portal sent it.
        fingerprint: SHA-256 of verb and request without id, client, expires_at and actor: the same
            id with another fingerprint is another request.
    """

    principal: str
    admin: bool
    verb: str
    request: Request
    fingerprint: str
    received_at: datetime

    @property
    def user(self) -> str:
        """Who asks: ``web:…`` behind a portal, else ``mqtt:`` and the principal."""
        actor = self.request.actor
        return actor.user if actor is not None else f"mqtt:{self.principal}"


class RequestServer:
    """Answers requests for the hub.

    Requests of one user that change something are handled in order, one at a time; others
    concurrently. Whatever is wrong with a request is told to its sender and goes no further.

    Args:
        connection: Of a principal with the role hub, for this alone: a request is acknowledged
            after its reply was sent, on the same stream. Not entered yet, so that the hub hears
            requests before it says that it is online.
        portals: Principals that are believed when they say who acts.
        handle: Does the work; its `ContractError` becomes the reply, any other exception is logged
            and becomes INTERNAL.
        rate: For each principal but portals, which limit their own sessions.
        book: Remembers what must outlive the process; absent: in memory alone.
        clock: The wall clock, in UTC.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        portals: frozenset[str],
        handle: Callable[[Asked], Awaitable[Result]],
        rate: Rate | None = None,
        book: Doorbook | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._connection = connection
        self._portals = portals
        self._handle = handle
        self._limiter = RateLimiter(rate or Rate())
        self._clock = clock
        self._book = book or Doorbook()
        self._lanes: asyncio.Future[Lanes] = asyncio.get_running_loop().create_future()
        self._group = asyncio.TaskGroup()
        self._room = asyncio.Semaphore(_UNSENT_REPLIES)
        self._over = False
        self._open: dict[tuple[str, bytes], list[Open]] = {}
        for topic in (Topic.HUB_REQUEST, Topic.HUB_ADMIN):
            connection.take(connection.topics.build(topic, principal=ANY, verb=ANY), self._receive)

    async def run(self, *, limit: int = 1000, size_limit: int = 16 * 1024 * 1024) -> None:
        """Serve until cancelled; once. What came before waits for it.

        What comes after it, or is not answered by then, stays at the broker.

        Args:
            limit: The most requests of one principal that wait or run.
            size_limit: The most bytes of these.
        """
        try:
            async with self._group:
                self._lanes.set_result(Lanes(self._group, limit=limit, size_limit=size_limit))
                await asyncio.get_running_loop().create_future()
        finally:
            self._over = True

    async def finish(self, within: float) -> None:
        """Take no more requests; return when what was asked is answered, or after so many seconds.

        What is not answered stays at the broker.
        """
        self._over = True
        try:
            async with asyncio.timeout(within):
                await (await asyncio.shield(self._lanes)).idle()
                for _ in range(_UNSENT_REPLIES):  # all of the room is free: every reply is sent
                    await self._room.acquire()
        except TimeoutError:
            log.warning("some requests were not answered within %g s", within)

    async def _receive(self, delivery: Delivery) -> None:
        lanes = await asyncio.shield(self._lanes)
        if self._over or self._is_under_way(delivery):
            return
        message = delivery.message
        address = self._connection.topics.parse(message.topic)
        if message.retain:
            await self._clear(message.topic)
        elif await self._book.is_echo(message):
            delivery.done()
            return
        if address is None:
            log.warning("ignored a request on %s: no name of a principal or verb", message.topic)
            delivery.done()
            return
        try:
            self._admit(lanes, address, delivery)
        except _FloodError:
            log.debug("dropped a request of %s, which floods", address["principal"])
            delivery.done()
        except ContractError as error:
            await self._refuse(Back.of(address, message), error.error)
            self._acknowledge(delivery)
        except Exception as error:  # noqa: BLE001  told to who asked, and logged
            await self._refuse(Back.of(address, message), _incident(message.topic, error))
            self._acknowledge(delivery)

    def _is_under_way(self, delivery: Delivery) -> bool:
        """Whether the broker, connected anew, repeats what waits or runs here already.

        Its acknowledgement then goes by the new connection.
        """
        message = delivery.message
        same = self._open.get((message.topic, message.payload), ())
        if not message.repeated or not same:
            return False
        min(same, key=lambda open_: len(open_.deliveries)).deliveries.append(delivery)
        return True

    def _admit(self, lanes: Lanes, address: Address, delivery: Delivery) -> None:
        principal, message = address["principal"], delivery.message
        if principal not in self._portals:
            self._charge(principal)
        if message.retain:
            raise ContractError(
                ErrorCode.RETAINED_COMMAND,
                "a request must not be retained: it would be executed again and again",
                "publish it without the retain flag; the retained one was removed",
            )
        asked = self._check(address, message)
        back = Back(principal, message.topic, asked.request.id, asked.request.client)
        lane = (asked.user, asked.verb if asked.verb in READS else None)
        open_ = Open((message.topic, message.payload), [delivery])
        work = partial(self._serve, asked, back, open_)
        if not lanes.put(principal, lane, work, len(message.payload)):
            raise ContractError(
                ErrorCode.RATE_LIMIT,
                f"too many requests of {principal} wait already",
                "wait for replies before sending more",
            )
        self._open.setdefault(open_.key, []).append(open_)

    def _charge(self, principal: str) -> None:
        left = self._limiter.take(principal)
        if left <= -self._limiter.burst:
            raise _FloodError
        if left < 0:
            raise ContractError(
                ErrorCode.RATE_LIMIT, f"{principal} sends too many requests", "send them slower"
            )

    def _check(self, address: Address, message: Message) -> Asked:
        admin = address.topic is Topic.HUB_ADMIN
        verb, principal, now = address["verb"], address["principal"], self._clock()
        known = ADMIN_REQUESTS if admin else REQUESTS
        model = known.get(verb)
        if model is None:
            near = difflib.get_close_matches(verb, known, n=1)
            raise ContractError(
                ErrorCode.UNKNOWN_VERB,
                f"the hub knows no request {verb!r}" + (" of administrators" if admin else ""),
                f"did you mean {near[0]}?" if near else f"it knows {', '.join(sorted(known))}",
            )
        request = decode(model, message.payload)
        demand_current(request, now)
        if verb in ID_REQUIRED and request.id is None:
            raise ContractError(
                ErrorCode.ID_REQUIRED,
                f"{verb} needs an id, so that a repeat is not executed twice",
                "add a random id, the same for each try",
            )
        if principal not in self._portals:
            request = request.model_copy(update={"actor": None})
        elif admin and request.actor is not None and not request.actor.admin:
            raise ContractError(
                ErrorCode.FORBIDDEN, "only administrators may do this", "log in as administrator"
            )
        return Asked(principal, admin, verb, request, fingerprint(address, request), now)

    async def _serve(self, asked: Asked, back: Back, open_: Open) -> None:
        """Answer one request; left to the broker where this is cancelled."""
        request = asked.request
        with about(
            request_id=request.id,
            experiment_id=getattr(request, "experiment_id", None),
            node=getattr(request, "node", None),
        ):
            await self._answer_once(asked, back, open_.deliveries[0].message)
        same = self._open[open_.key]
        same.remove(open_)
        if not same:
            del self._open[open_.key]
        for delivery in open_.deliveries:
            self._acknowledge(delivery)

    async def _answer_once(self, asked: Asked, back: Back, message: Message) -> None:
        """Answer, unless the process ended too often when it began to."""
        if await self._book.begin(message):
            await self._answer(asked, back)
            self._book.end(message)
        else:
            log.error("%s of %s is given up: the hub ended each time", asked.verb, asked.user)
            await self._refuse(back, _DEADLY)

    async def _answer(self, asked: Asked, back: Back) -> None:
        try:
            demand_current(asked.request, self._clock())  # it may have waited long
            reply = Reply(id=back.id, result=await self._handle(asked)).encode()
            if len(reply) > MAX_PAYLOAD_BYTES:
                raise ContractError(  # noqa: TRY301  told like any other refusal
                    ErrorCode.TOO_LARGE,
                    f"the reply would have {len(reply)} bytes, at most {MAX_PAYLOAD_BYTES} fit",
                    "ask for less at once",
                )
            if back.client is not None:
                await self._say(self._reply_topic(back), reply)
        except ContractError as error:
            await self._refuse(back, error.error)
        except Exception as error:  # noqa: BLE001  told to who asked, and logged
            await self._refuse(back, _incident(f"{asked.verb} of {asked.user}", error))

    async def _refuse(self, back: Back, error: Error) -> None:
        if len(error.encode()) > _LARGE_ERROR:  # it quotes the sender, who may have sent megabytes
            error = Error(code=error.code, message=error.message[:500], hint=error.hint[:500])
        if back.client is not None:
            await self._say(self._reply_topic(back), Reply(id=back.id, error=error).encode())
            return
        topic = self._connection.topics.build(Topic.ERRORS, principal=back.principal)
        report = ErrorReport(id=back.id, topic=back.topic, error=error)
        await self._say(topic, report.encode())

    def _reply_topic(self, back: Back) -> str:
        client = back.client or ""
        return self._connection.topics.build(Topic.REPLY, principal=back.principal, client=client)

    async def _say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send, without waiting for the broker to acknowledge; in order."""
        await self._room.acquire()
        self._group.create_task(self._publish(topic, payload, retain), name=f"say {topic}")

    def _acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker that a request is done with, behind the answers that were said."""
        asyncio.get_running_loop().call_soon(delivery.done)

    async def _publish(self, topic: str, payload: bytes, retain: bool) -> None:
        try:
            await self._connection.publish(topic, payload, retain=retain)
        except (NotConnectedError, TimeoutError) as error:
            # Whoever waits asks again with the same id when the connection is back.
            log.info("a message on %s was not sent: %s", topic, error)
        finally:
            self._room.release()

    async def _clear(self, topic: str) -> None:
        """Remove a retained command.

        The broker also sends the empty message that removes it to us, not retained, where it would
        be taken for a request without fields. So one such message is expected and ignored, also
        after the link was lost, and by the next life of this process.
        """
        await self._book.expect_echo(topic)
        await self._say(topic, b"", retain=True)


def _incident(what: str, why: Exception) -> Error:
    """Log what went wrong through a mistake of ours; return what is told of it."""
    incident = secrets.token_hex(4)
    log.error("%s failed, incident %s", what, incident, exc_info=why)
    return Error(
        code=ErrorCode.INTERNAL,
        message="the hub failed at this request, through no fault of yours",
        hint=f"tell the administrator: the hub's log says more under incident {incident}",
    )


class _FloodError(Exception):
    """So many requests too many that not even an error is sent."""
