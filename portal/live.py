"""Live data for browsers: who watches what, and one frame for all who watch the same.

A viewer subscribes to topics of the contract. It gets the last value of each retained one, then
changes; readings and log lines come gathered, at most ten frames a second for each topic. Nobody
is waited for: a viewer that does not read falls behind in its own outbox and is then dropped.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

import orjson

from broker.messages import Console, ContractError, ErrorCode
from broker.topics import Topics
from portal.contract import check_filter, matches
from portal.feeds import ConsoleFeed, RetainedFeed, TelemetryFeed
from portal.known import Entry, Link
from portal.outbox import Outbox, OverflowedError, StreamFrame
from portal.state import State

_log = logging.getLogger(__name__)

INTERVAL: Final = 0.1
"""Seconds between two frames of one topic."""
MAX_FILTERS: Final = 64
MAX_WINDOWS: Final = 50
"""Open WebSockets of one session; an address may have half of all."""

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Viewer:
    """One open WebSocket.

    Attributes:
        owners: Whose it is, for the count of each.
        admin: Whether an administrator watches.
        filters: What it subscribed to, below the root.
        dropped: Set when it is to be closed because it does not keep up.
        sending_since: Loop time at which the frame now on its way was begun.
    """

    def __init__(self, owners: tuple[str, ...] = (), *, admin: bool = False) -> None:
        self.owners = owners
        self.admin = admin
        self.outbox = Outbox()
        self.filters: dict[str, None] = {}
        self.dropped = asyncio.Event()
        self.sending_since: float | None = None

    def tell(self, **fields: object) -> None:
        """Send this viewer alone a small frame."""
        try:
            self.outbox.reply(orjson.dumps(fields).decode())
        except OverflowedError:
            self.dropped.set()

    async def pump(self, send: Send, sent: Callable[[int], None]) -> None:
        """Send what is in the outbox, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            frame = self.outbox.take()
            if frame is None:
                await self.outbox.filled.wait()
                self.outbox.filled.clear()
                continue
            self.sending_since = loop.time()
            await send({"type": "websocket.send", "text": frame})
            self.sending_since = None
            sent(len(frame))


class Live:
    """Every viewer of this portal.

    Args:
        stall_seconds: How long a viewer's connection may take nothing before it is dropped.
        interval: Seconds between two frames of one topic.
    """

    def __init__(
        self,
        state: State,
        topics: Topics,
        *,
        max_viewers: int,
        stall_seconds: float,
        interval: float = INTERVAL,
    ) -> None:
        self._state = state
        self._topics = topics
        self._max_viewers = max_viewers
        self._interval = interval
        self._stall_seconds = stall_seconds
        self._viewers: set[Viewer] = set()
        self._windows: Counter[str] = Counter()
        self._retained: dict[str, RetainedFeed] = {}
        self._telemetry: dict[str, TelemetryFeed] = {}
        self._consoles: dict[str, ConsoleFeed] = {}
        self._audiences: dict[str, tuple[Viewer, ...]] = {}
        self.frames_sent = 0
        self.characters_sent = 0
        self.viewers_dropped = 0
        state.listen(self)

    @property
    def viewers(self) -> int:
        """How many watch."""
        return len(self._viewers)

    async def run(self) -> None:
        """Drop who stalls; runs until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(min(1.0, self._stall_seconds / 2))
                late = loop.time() - self._stall_seconds
                for viewer in self._viewers:
                    if viewer.sending_since is not None and viewer.sending_since < late:
                        viewer.dropped.set()
        finally:
            for feed in (
                *self._retained.values(),
                *self._telemetry.values(),
                *self._consoles.values(),
            ):
                feed.close()

    def join(self, user: str = "", address: str = "", *, admin: bool = False) -> Viewer:
        """Return a new viewer, told of the link.

        Args:
            user: Whose session it has; empty if none.
            address: That it comes from.
            admin: Whether it may see what others' experiments measure and write.

        Raises:
            ContractError: UNAVAILABLE, too many watch already; RATE_LIMIT, too many of them are
                of this user or this address.
        """
        if len(self._viewers) >= self._max_viewers:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"{self._max_viewers} windows watch already",
                "close windows that nobody looks at, or raise max_viewers",
            )
        shares = {user: MAX_WINDOWS, address: max(1, self._max_viewers // 2)}
        owners = tuple(owner for owner in shares if owner)
        if any(self._windows[owner] >= shares[owner] for owner in owners):
            raise ContractError(
                ErrorCode.RATE_LIMIT,
                "too many windows of one browser or address watch already",
                "close windows that nobody looks at; one can watch everything",
            )
        viewer = Viewer(owners, admin=admin)
        self._windows.update(owners)
        self._viewers.add(viewer)
        viewer.tell(**_link_frame(self._state.link))
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        if viewer not in self._viewers:
            return
        self._viewers.discard(viewer)
        self._windows.subtract(viewer.owners)
        self._windows += Counter()  # forgets who has none left
        self._audiences.clear()
        if viewer.dropped.is_set():
            self.viewers_dropped += 1
            _log.info("dropped a viewer that did not keep up")

    def tell(self, user: str, **fields: object) -> None:
        """Send a user's windows, and nobody else's, a small frame."""
        for viewer in self._viewers:
            if user in viewer.owners:
                viewer.tell(**fields)

    def count(self, characters: int) -> None:
        """Count a frame that was sent."""
        self.frames_sent += 1
        self.characters_sent += characters

    def subscribe(self, viewer: Viewer, filters: Iterable[str]) -> None:
        """Send the viewer what these filters match: the last values now, changes from now on.

        Raises:
            ContractError: A filter is no topic for eyes, or there are too many; nothing changed.
        """
        wanted = dict.fromkeys(check_filter(self._topics, text) for text in filters)
        if len(viewer.filters | wanted) > MAX_FILTERS:
            raise ContractError(
                ErrorCode.TOO_LARGE,
                f"more than {MAX_FILTERS} subscriptions",
                "use '+' in place of single names, or unsubscribe",
                limit=MAX_FILTERS,
            )
        viewer.filters |= wanted
        self._audiences.clear()
        for entry in self._state.entries:
            if any(matches(text, entry.topic) for text in wanted):
                viewer.outbox.retain(entry, first=True)

    def unsubscribe(self, viewer: Viewer, filters: Iterable[str]) -> None:
        """Send the viewer no more of these; unknown ones are ignored."""
        for text in filters:
            viewer.filters.pop(text, None)
        self._audiences.clear()
        for entry in self._state.entries:
            if not any(matches(text, entry.topic) for text in viewer.filters):
                viewer.outbox.forget(entry.topic)

    def changed(self, entry: Entry) -> None:
        """Pass a retained topic's new value on."""
        feed = self._retained.get(entry.topic)
        if feed is None:
            if not self._audience(entry.topic):
                return
            feed = self._retained[entry.topic] = RetainedFeed(self._interval, self._send_retained)
        feed.put(entry)

    def telemetry(self, topic: str, seq: int, payload: bytes, experiment_id: str | None) -> None:
        """Pass a reading on."""
        if not self._audience(topic):
            return
        feed = self._telemetry.get(topic)
        if feed is None:
            feed = TelemetryFeed(topic, self._interval, self._send_stream)
            self._telemetry[topic] = feed
        feed.put(seq, payload, self._state.private_to(experiment_id))

    def console(self, topic: str, seq: int, console: Console) -> None:
        """Pass log lines on."""
        if not self._audience(topic):
            return
        feed = self._consoles.get(topic)
        if feed is None:
            feed = ConsoleFeed(topic, self._interval, self._send_stream)
            self._consoles[topic] = feed
        feed.put(seq, console, self._state.private_to(console.experiment_id))

    def link_changed(self, link: Link) -> None:
        """Tell everybody that broker or hub came or went."""
        frame = _link_frame(link)
        for viewer in self._viewers:
            viewer.tell(**frame)

    def _audience(self, topic: str) -> tuple[Viewer, ...]:
        audience = self._audiences.get(topic)
        if audience is None:
            audience = self._audiences[topic] = tuple(
                viewer
                for viewer in self._viewers
                if any(matches(text, topic) for text in viewer.filters)
            )
        return audience

    def _send_retained(self, entry: Entry) -> None:
        for viewer in self._audience(entry.topic):
            viewer.outbox.retain(entry)
        if entry.value is None:
            del self._retained[entry.topic]

    def _send_stream(self, frame: StreamFrame) -> None:
        owner = frame.private_to
        for viewer in self._audience(frame.topic):
            if owner is None or viewer.admin or owner in viewer.owners:
                viewer.outbox.stream(frame)


def _link_frame(link: Link) -> dict[str, object]:
    return {"type": "link", "broker": link.broker, "hub": link.hub, "since": link.since}
