"""Ask the hub: send a request, and again when broker or hub came back, until it is answered."""

import asyncio
import logging
import secrets
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from ulid import ULID

from broker.connection import Connection, Message
from broker.logs import about
from broker.messages import (
    ContractError,
    Error,
    ErrorCode,
    HubStatus,
    Reply,
    Request,
    Result,
    decode,
    utc_now,
)
from broker.topics import Topic

log = logging.getLogger(__name__)

_HUB_GRACE: Final = 2.0


class Asker:
    """Asks the hub and waits for the answer.

    Args:
        connection: Entered by the caller, before or after.
        principal: The name that this connection has at the broker.
        client: Tells apart several askers of one principal; absent: random.
    """

    def __init__(
        self, connection: Connection, principal: str, *, client: str | None = None
    ) -> None:
        self._connection = connection
        self._principal = principal
        self._client = client or f"c{secrets.token_hex(10)}"
        self._pending: dict[str, _Pending] = {}
        self._hub: HubStatus | None = None
        self._hub_changed = asyncio.Event()
        topics = connection.topics
        self._unsubscribe = (
            connection.subscribe(
                topics.build(Topic.REPLY, principal=principal, client=self._client), self._on_reply
            ),
            connection.subscribe(topics.build(Topic.HUB_STATUS), self._on_hub),
        )
        connection.on_disconnect(self._send_again)

    async def ask(
        self,
        verb: str,
        request: Request,
        *,
        admin: bool = False,
        timeout: float = 10.0,  # noqa: ASYNC109  it becomes the request's expiry
    ) -> Result:
        """Ask, and ask again with the same id after a reconnect, until answered.

        Args:
            verb: Of `REQUESTS`, or of `ADMIN_REQUESTS` if `admin`.
            request: id, client and expires_at are filled in where absent.
            admin: Ask as an administrator.
            timeout: Seconds; the request is not executed later than that.

        Raises:
            ContractError: The hub's error; or UNAVAILABLE: broker or hub cannot be reached; or
                TIMEOUT: no answer, and the request may have been executed.
        """
        topic = self._connection.topics.build(
            Topic.HUB_ADMIN if admin else Topic.HUB_REQUEST, principal=self._principal, verb=verb
        )
        identity = request.id or str(ULID())
        full = request.model_copy(
            update={
                "id": identity,
                "client": self._client,
                "expires_at": request.expires_at or utc_now() + timedelta(seconds=timeout),
            }
        )
        pending = self._pending.setdefault(identity, _Pending(asyncio.Event()))
        pending.askers += 1
        subject: str | None = getattr(request, "experiment_id", None)
        try:
            with about(request_id=identity, experiment_id=subject):
                log.debug("asking the hub: %s", verb)
                async with asyncio.timeout(timeout):
                    reply = await self._send_until_answered(Message(topic, full.encode()), pending)
        except TimeoutError:
            raise self._silence(verb, identity, timeout) from None
        finally:
            pending.askers -= 1
            if pending.askers == 0:
                del self._pending[identity]
        if reply.result is not None:
            return reply.result
        error = reply.error or Error(code=ErrorCode.INTERNAL, message="the hub's reply is empty")
        raise ContractError(error.code, error.message, error.hint, **error.details)

    def close(self) -> None:
        """Stop listening for replies."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    async def _send_until_answered(self, message: Message, pending: "_Pending") -> Reply:
        while True:
            await self._connection.wait_connected()
            await self._hub_there()
            pending.wake.clear()
            # The reply may come before the broker's acknowledgement, and is worth more.
            sending = asyncio.create_task(self._connection.publish_message(message))
            sending.add_done_callback(partial(self._sent, pending))
            try:
                if pending.reply is None:
                    await pending.wake.wait()
            finally:
                sending.cancel()
            if pending.reply is not None:
                return pending.reply
            if pending.refused is not None:
                raise pending.refused

    def _sent(self, pending: "_Pending", sending: asyncio.Task[None]) -> None:
        if sending.cancelled():
            return
        error = sending.exception()
        if isinstance(error, ContractError):
            pending.refused = error
        if error is not None:
            pending.wake.set()

    async def _hub_there(self) -> None:
        """Give a hub that is known to be away a moment to return."""
        try:
            async with asyncio.timeout(_HUB_GRACE):
                while self._hub is not None and self._hub.state == "offline":
                    self._hub_changed.clear()
                    await self._hub_changed.wait()
        except TimeoutError:
            raise self._hub_away() from None

    def _hub_away(self) -> ContractError:
        if self._hub is None:
            return ContractError(
                ErrorCode.UNAVAILABLE,
                f"no hub has shown itself at this broker below {self._connection.topics.root}",
                "start the hub, and check that both have the same broker and root in the settings",
            )
        return ContractError(
            ErrorCode.UNAVAILABLE,
            f"the hub is offline since {self._hub.since:%Y-%m-%d %H:%M:%S} UTC",
            "running experiments go on; start the hub and ask again",
        )

    def _silence(self, verb: str, identity: str, timeout: float) -> ContractError:
        if not self._connection.connected:
            why = self._connection.last_error or "it does not answer"
            return ContractError(
                ErrorCode.UNAVAILABLE,
                f"the broker cannot be reached: {why}",
                "check that the broker runs and that the broker settings are right",
            )
        if self._hub is None or self._hub.state == "offline":
            return self._hub_away()
        return ContractError(
            ErrorCode.TIMEOUT,
            f"the hub did not answer {verb} within {timeout:g} s",
            "it may have been executed: look before asking again; the broker also drops silently "
            "what this user may not send",
            id=identity,
        )

    async def _on_reply(self, message: Message) -> None:
        reply = decode(Reply, message.payload)
        pending = self._pending.get(reply.id or "")
        if pending is not None:
            pending.reply = reply
            pending.wake.set()

    async def _on_hub(self, message: Message) -> None:
        self._hub = decode(HubStatus, message.payload) if message.payload else None
        self._hub_changed.set()
        if self._hub is not None and self._hub.state == "online" and not message.retain:
            # It came (back) just now, and may not have been there when the request was sent.
            self._send_again()

    def _send_again(self) -> None:
        for pending in self._pending.values():
            pending.wake.set()


@dataclass(slots=True)
class _Pending:
    wake: asyncio.Event
    reply: Reply | None = None
    refused: ContractError | None = None
    askers: int = 0
