"""The hub's figures for Prometheus; `HubService` publishes them at `hub/metrics`."""

from collections import Counter as Tally
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from resource import getpagesize
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from broker.messages import HubMetrics, Status
from hub_service.queue import QueueState
from hub_service.queue.state import Entry, Stage

_WAITS: Final = (1, 10, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400)
_WRITES: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Figures:
    """Counts and times what the hub does.

    Args:
        version: Of the program.
    """

    def __init__(self, version: str) -> None:
        self._registry = registry = CollectorRegistry()
        self._entries: Mapping[str, Entry] | None = None

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"bioreactor_hub_{name}", what, labels, registry=registry)

        def histogram(name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"bioreactor_hub_{name}", what, buckets=buckets, registry=registry)

        gauge("info", "The hub's version.", "version").labels(version).set(1)
        self._queue = gauge("experiments", "Experiments that are not over.", "status")
        self._nodes = gauge("nodes", "Nodes that were heard of.", "state")
        self._memory = gauge("resident_bytes", "Memory that the hub holds.")
        self._lag = gauge(
            "journal_lag_entries", "Entries that a node has and the hub not.", "node", "stream"
        )
        self._lag_bytes = gauge("journal_lag_bytes", "The same, in bytes.", "node", "stream")
        self._lag_age = gauge(
            "journal_lag_seconds", "Age of the oldest such entry.", "node", "stream"
        )
        self._told = gauge("notifications_waiting", "Notifications not told everywhere yet.")
        self._transitions = Counter(
            "bioreactor_hub_transitions", "Changes of state.", ("before", "after"),
            registry=registry,
        )  # fmt: skip
        self._requests = Counter(
            "bioreactor_hub_requests", "Requests by verb, and what came of them.",
            ("verb", "outcome"), registry=registry,
        )  # fmt: skip
        self._waited = histogram("waiting_seconds", "From submission to a reactor.", _WAITS)
        self.store = histogram("store_seconds", "Making a change of the queue durable.", _WRITES)
        self.archive = histogram("archive_seconds", "A commit of the archive.", _WRITES)

    def asked(self, verb: str, outcome: str) -> None:
        """Count a request."""
        self._requests.labels(verb, outcome).inc()

    def watch(self, state: QueueState) -> None:
        """Count what changed since the last look; to be called at each change."""
        known = self._entries
        self._entries = state.entries
        if known is None:
            return
        for experiment_id, entry in state.entries.items():
            before = known.get(experiment_id)
            if before is entry:
                continue
            old = "none" if before is None else str(before.status)
            if old != entry.status:
                self._transitions.labels(old, str(entry.status)).inc()
            waited = before is None or before.stage is Stage.WAITING
            if waited and entry.stage is not Stage.WAITING and entry.attempt == 1:
                self._waited.observe(max(0.0, (entry.since - entry.created_at).total_seconds()))

    def take(self, state: QueueState, notifications: int, now: datetime) -> HubMetrics:
        """Return all figures as they are now."""
        count = Tally(str(entry.status) for entry in state.entries.values())
        for status in Status:
            if not status.finished:
                self._queue.labels(str(status)).set(count[str(status)])
        online = sum(node.online for node in state.nodes.values())
        self._nodes.labels("online").set(online)
        self._nodes.labels("offline").set(len(state.nodes) - online)
        self._memory.set(_resident())
        self._told.set(notifications)
        for figure in (self._lag, self._lag_bytes, self._lag_age):
            figure.clear()
        for name, node in state.nodes.items():
            for stream, backlog in (node.report.backlog if node.report else {}).items():
                self._lag.labels(name, stream).set(backlog.entries)
                self._lag_bytes.labels(name, stream).set(backlog.bytes)
                age = (now - backlog.oldest).total_seconds() if backlog.oldest else 0.0
                self._lag_age.labels(name, stream).set(max(0.0, age))
        return HubMetrics(at=now, text=generate_latest(self._registry).decode())


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()
