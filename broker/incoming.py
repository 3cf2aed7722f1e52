"""What a request's message says before it is a request: where its answer goes, which one it is."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import orjson

from broker.connection import Delivery, Message
from broker.messages import ContractError, ErrorCode, Request
from broker.topics import NAME, Address

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(eq=False, slots=True)
class Open:
    """A request that waits or runs, and what is to be acknowledged when it is answered."""

    key: tuple[str, bytes]
    deliveries: list[Delivery] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Back:
    """Where the answer goes, as far as it can be told from a message that may be malformed."""

    principal: str
    topic: str
    id: str | None
    client: str | None

    @classmethod
    def of(cls, address: Address, message: Message) -> "Back":
        """Return where the answer to a message goes."""
        try:
            body = orjson.loads(message.payload) if message.payload else {}
        except orjson.JSONDecodeError:
            body = {}
        fields = body if isinstance(body, dict) else {}
        identity, client = fields.get("id"), fields.get("client")
        return cls(
            address["principal"],
            message.topic,
            identity if isinstance(identity, str) and _REQUEST_ID.fullmatch(identity) else None,
            client if isinstance(client, str) and NAME.fullmatch(client) else None,
        )


def demand_current(request: Request, now: datetime) -> None:
    """Return if a request may still be carried out.

    Raises:
        ContractError: EXPIRED.
    """
    if request.expires_at is not None and request.expires_at < now:
        raise ContractError(
            ErrorCode.EXPIRED,
            f"the request expired at {request.expires_at:%H:%M:%S} UTC, "
            f"the hub's clock says {now:%H:%M:%S} UTC",
            "ask again; if this happens always, the clocks of the two machines disagree",
        )


def fingerprint(address: Address, request: Request) -> str:
    """Return the SHA-256 of what is asked, whoever asks and when."""
    body = request.model_dump(mode="json", exclude={"id", "client", "expires_at", "actor"})
    canonical = orjson.dumps(
        [address.topic.value, address["verb"], body], option=orjson.OPT_SORT_KEYS
    )
    return hashlib.sha256(canonical).hexdigest()
