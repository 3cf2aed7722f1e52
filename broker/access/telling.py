"""Tells the broker of a change and looks whether it obeys."""

import asyncio
import time
from enum import StrEnum
from typing import Final

from broker.access.register import Target
from broker.access.reloading import reload
from broker.messages import ContractError, ErrorCode
from broker.probing import OpenBrokerError, enforces_access_lists
from broker.refusals import explain
from broker.session import NotConnectedError, RefusedError
from broker.settings import BrokerSettings

_OBEYS_WITHIN_S: Final = 10.0
_ASK_AGAIN_S: Final = 0.05


class Told(StrEnum):
    """What became of telling the broker."""

    OBEYS = "obeys"
    """It was asked and does what the register says."""
    TOLD = "told"
    """It was told; nobody asked whether it obeys."""
    NOT_RUNNING = "not running"
    """It reads its files when it starts."""


async def tell(target: Target, client: BrokerSettings | None, *, admitted: bool) -> Told:
    """Have the broker read its files again, and wait until it obeys.

    Args:
        target: The broker.
        client: Whom to connect as, to see it; None: it is only told.
        admitted: Whether that client must be let in, or must not.

    Raises:
        ContractError: UNAVAILABLE: it could not be told, cannot be reached from here, or does not
            obey. FORBIDDEN: it has no access lists.
    """
    if not reload(target):
        return Told.NOT_RUNNING
    if client is None:
        return Told.TOLD
    deadline = time.monotonic() + _OBEYS_WITHIN_S
    while True:
        try:
            if await _let_in(client) is admitted:
                return Told.OBEYS
        except NotConnectedError as error:  # let in, and ended while it read its files
            if time.monotonic() > deadline:
                raise _not_reached(client, str(error)) from error
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(_ASK_AGAIN_S)
    does = "still refuses" if admitted else "still lets in"
    raise ContractError(
        ErrorCode.UNAVAILABLE,
        f"the broker at {target.url} was told to read its files again and {does} {client.username}",
        f"see that it reads the files in {target.files}, and its log",
    )


async def _let_in(client: BrokerSettings) -> bool:
    """Whether the broker accepts the client; it must then keep it to its own topics.

    Raises:
        NotConnectedError: It let the client in and ended the connection before it could tell.
        ContractError: As `tell`.
    """
    try:
        if not await enforces_access_lists(client):
            raise OpenBrokerError(client.url)
    except RefusedError as error:
        if not error.credentials:
            raise _not_reached(client, str(error)) from error
        return False
    except OSError as error:
        refusal = explain(error, client)
        if refusal.lasting:  # of certificates; the word may come after the handshake
            return False
        if isinstance(error, NotConnectedError):
            raise
        raise _not_reached(client, refusal.why) from error
    return True


def _not_reached(client: BrokerSettings, why: str) -> ContractError:
    return ContractError(
        ErrorCode.UNAVAILABLE,
        f"the broker was told, but nobody could ask it at {client.url} whether it obeys: {why}",
        "say --unchecked where the broker cannot be reached from this machine",
    )
