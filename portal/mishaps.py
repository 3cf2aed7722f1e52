"""What somebody commanded by hand, was answered "accepted", and failed later: told to who sent it.

Kept in memory until it was read, the same command was given again, or a day has passed: the
record of the reactor has it for good.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.connection import Connection, Message
from broker.messages import Error, ErrorReport, decode, utc_now
from broker.topics import Topic
from portal.live import Live
from portal.state import State

KEPT: Final = timedelta(days=1)
MOST: Final = 200
"""Kept of all people together; beyond it the oldest are forgotten."""
LONGEST: Final = 500
"""Characters of what a node says that are kept: it stands on every page of who sent the command."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """A command that failed after it was accepted.

    Attributes:
        id: Of the command.
        channel: Which one it set or dosed; empty for the end of manual control.
        what: The same for people, with the reactor.
    """

    id: str
    user: str
    node: str
    channel: str
    what: str
    error: Error
    at: datetime


class Mishaps:
    """Hears the nodes' complaints to this portal.

    Args:
        principal: The portal's own name at the broker.
        live: Tells the sender's open pages.
        clock: Wall time in UTC.
    """

    def __init__(
        self,
        connection: Connection,
        state: State,
        live: Live,
        principal: str,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._topics = connection.topics
        self._state = state
        self._live = live
        self._clock = clock
        self._kept: dict[tuple[str, str], Mishap] = {}
        topic = connection.topics.build(Topic.ERRORS, principal=principal)
        connection.subscribe(topic, self._hear)

    def of(self, user: str) -> Sequence[Mishap]:
        """Return what a user has not read yet, the oldest first."""
        oldest = self._clock() - KEPT
        return [one for one in self._kept.values() if one.user == user and one.at >= oldest]

    def dismiss(self, user: str, command_id: str) -> None:
        """Forget what a user has read."""
        self._kept.pop((user, command_id), None)

    def again(self, user: str, node: str, channel: str) -> None:
        """Forget what is tried again."""
        for key, one in list(self._kept.items()):
            if (one.user, one.node, one.channel) == (user, node, channel):
                del self._kept[key]

    async def _hear(self, message: Message) -> None:
        report = decode(ErrorReport, message.payload)
        address = self._topics.parse(report.topic)
        if report.user is None or report.id is None or address is None:
            return
        if len(report.id) > LONGEST:
            return  # no portal sends such an id
        if address.topic not in {Topic.NODE_COMMAND, Topic.NODE_MANUAL_END}:
            return
        node, channel = address["node"], address.levels.get("channel", "")
        what = self._describe(node, channel)
        said = report.error
        error = Error(code=said.code, message=said.message[:LONGEST], hint=said.hint[:LONGEST])
        one = Mishap(report.id, report.user, node, channel, what, error, self._clock())
        self._kept.pop((one.user, one.id), None)
        self._kept[one.user, one.id] = one
        while len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]
        told = error.model_dump(mode="json")
        self._live.tell(
            one.user, type="failed", id=one.id, node=node, channel=channel, what=what, error=told
        )

    def _describe(self, node: str, channel: str) -> str:
        view = self._state.node(node)
        label = view.label if view is not None else node
        if not channel:
            return f"Making {label} safe"
        channels = view.channels.channels if view is not None and view.channels else ()
        return f"{next((c.label for c in channels if c.name == channel), channel)} on {label}"
