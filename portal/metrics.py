"""Figures for Prometheus, in its text format."""

import logging
import resource
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as Event

from broker import VERSION
from broker.connection import Connection, Message
from broker.messages import ContractError, HubMetrics, decode
from broker.topics import Topic
from portal.live import Live
from portal.state import State

_log = logging.getLogger(__name__)

_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "PATCH", "POST"})
"""What routes take; all else is counted as one, so that odd methods make no new series."""
_FRESH_S: Final = 60.0
_PAGE_BYTES: Final = resource.getpagesize()


class RequestFigures:
    """Counts and times HTTP requests by route, so that odd paths make no new series."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[str, float] = defaultdict(float)
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_BUCKETS) + 1))

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests[method, route, status] += 1
        self._seconds[route] += seconds
        self._buckets[route][bisect_left(_BUCKETS, seconds)] += 1

    def lines(self) -> list[str]:
        """Return the series."""
        out = ["# TYPE bioreactor_portal_requests_total counter"]
        out += [
            f'bioreactor_portal_requests_total{{method="{m}",route="{r}",status="{s}"}} {n}'
            for (m, r, s), n in sorted(self._requests.items())
        ]
        out.append("# TYPE bioreactor_portal_request_seconds histogram")
        name = "bioreactor_portal_request_seconds"
        for route, counts in sorted(self._buckets.items()):
            total = 0
            for bound, count in zip((*_BUCKETS, "+Inf"), counts, strict=True):
                total += count
                out.append(f'{name}_bucket{{route="{route}",le="{bound}"}} {total}')
            out.append(f'{name}_sum{{route="{route}"}} {self._seconds[route]:.6f}')
            out.append(f'{name}_count{{route="{route}"}} {total}')
        return out


class Measured:
    """Times every request up to the first byte of its answer."""

    def __init__(self, app: ASGIApp, figures: RequestFigures) -> None:
        self._app = app
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def send_measured(message: Event) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in _METHODS else "other"
                seconds = time.perf_counter() - began
                self._figures.add(method, route, message["status"], seconds)
            await send(message)

        await self._app(scope, receive, send_measured)


def resident_bytes() -> int:
    """Return the memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


class HubFigures:
    """The hub's figures as it last published them; old ones are worth less than none.

    Args:
        connection: The portal's; not entered yet.
    """

    def __init__(self, connection: Connection, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last: tuple[float, str] | None = None
        connection.subscribe(connection.topics.build(Topic.HUB_METRICS), self._receive)

    @property
    def text(self) -> str:
        """What the hub said, in Prometheus' format; empty if that is too long ago."""
        if self._last is None or self._now() - self._last[0] > _FRESH_S:
            return ""
        return self._last[1]

    async def _receive(self, message: Message) -> None:
        if message.retain:
            return  # of an earlier time, perhaps of a hub that is gone
        try:
            self._last = (self._now(), decode(HubMetrics, message.payload).text)
        except ContractError as error:
            _log.warning("ignored what stands at %s: %s", message.topic, error)


def exposition(state: State, live: Live, figures: RequestFigures, hub: HubFigures) -> str:
    """Return all figures as Prometheus reads them."""
    queue = state.queue
    nodes = state.nodes()
    gauges = {
        "broker_connected": int(state.link.broker),
        "hub_online": int(state.link.hub == "online"),
        "viewers": live.viewers,
        "nodes_online": sum(node.online for node in nodes),
        "nodes": len(nodes),
        "resident_bytes": resident_bytes(),
    }
    if queue is not None:
        gauges["queue_queued"] = queue.total_queued
        gauges["queue_running"] = queue.total_running
        gauges["queue_paused"] = queue.total_paused
    counters = {
        "viewers_dropped_total": live.viewers_dropped,
        "frames_sent_total": live.frames_sent,
        "characters_sent_total": live.characters_sent,
    }
    lines = [
        "# TYPE bioreactor_portal_info gauge",
        f'bioreactor_portal_info{{version="{VERSION}"}} 1',
    ]
    for kind, values in (("gauge", gauges), ("counter", counters)):
        for name, value in values.items():
            lines += [
                f"# TYPE bioreactor_portal_{name} {kind}",
                f"bioreactor_portal_{name} {value}",
            ]
    return "\n".join([*lines, *figures.lines(), hub.text])
