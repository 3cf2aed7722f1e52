"""How the laboratory is, in sentences for who looks after it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from broker import VERSION
from broker.messages import NodeReport, Queue, ServiceStatus, Storage
from portal.known import NodeView
from portal.markup import size
from portal.state import State

_GB: Final = 1024**3
_FEW_BYTES: Final = 5 * _GB
_FEW: Final = 0.1
_OLD_ENTRY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is well or not.

    Attributes:
        todo: What to do about it; empty if it is well.
    """

    mood: Literal["ok", "warn", "bad"]
    title: str
    text: str
    todo: str = ""


def findings(
    state: State, storage: Storage | None, now: datetime, versions: Mapping[str, str]
) -> list[Finding]:
    """Return what there is to say, the worst first."""
    nodes = state.nodes()
    told = [
        _services(state),
        _storage(storage),
        _nodes(nodes),
        _lag(nodes, now),
        _versions(versions),
        _queue(state.queue),
    ]
    order = ("bad", "warn", "ok")
    return sorted((f for f in told if f is not None), key=lambda f: order.index(f.mood))


def versions_of(state: State) -> dict[str, str]:
    """Return the versions of what is online, by name."""
    found = {"portal": VERSION}
    for name, topic in (
        ("hub", "hub/status"),
        *((node.label, f"nodes/{node.id}/status") for node in state.nodes()),
    ):
        entry = state.entry(topic)
        value = entry.value if entry is not None else None
        if isinstance(value, ServiceStatus) and value.state == "online":
            found[name] = value.version
    return found


def _services(state: State) -> Finding:
    link = state.link
    if not link.broker:
        return Finding(
            "bad", "Broker and hub", f"The broker is away since {link.since:%Y-%m-%d %H:%M} UTC.",
            "Look at its log; everything else waits for it, and what runs goes on.",
        )  # fmt: skip
    if link.hub != "online":
        return Finding(
            "bad", "Broker and hub",
            f"The hub is {link.hub} since {link.since:%Y-%m-%d %H:%M} UTC.",
            "Start it again, or look at its log; what runs goes on.",
        )  # fmt: skip
    return Finding("ok", "Broker and hub", "Both are there and answer.")


def _storage(storage: Storage | None) -> Finding | None:
    if storage is None:
        return None
    share = storage.free / max(1, storage.total)
    text = (
        f"{size(storage.free)} of {size(storage.total)} are free on the hub's disk. "
        f"{storage.finished} finished experiments take {size(storage.database)} in the database "
        f"and {size(storage.files)} in result files."
    )
    if storage.low:
        return Finding(
            "bad", "Disk", f"The hub's disk is full: nothing new is queued. {text}",
            "Free space on it, or have old experiments deleted.",
        )  # fmt: skip
    if share < _FEW and storage.free < _FEW_BYTES:
        return Finding("warn", "Disk", text, "Free space soon, or keep experiments for less long.")
    return Finding("ok", "Disk", text)


def _nodes(nodes: Sequence[NodeView]) -> Finding:
    if not nodes:
        return Finding(
            "warn", "Reactors", "No reactor has been heard of.", "Start one: `bioreactor node`."
        )
    away = [node.label for node in nodes if not node.online]
    stopped = [node.label for node in nodes if node.report and node.report.estop]
    alarms = sum(len(node.report.alarms) for node in nodes if node.report)
    online = f"{len(nodes) - len(away)} of {len(nodes)} are online"
    worries = [
        *([f"away: {', '.join(away)}"] if away else []),
        *([f"in emergency stop: {', '.join(stopped)}"] if stopped else []),
        *([f"{alarms} alarm{'s' if alarms > 1 else ''}"] if alarms else []),
    ]
    if not worries:
        return Finding("ok", "Reactors", f"{online}, without alarms.")
    return Finding(
        "bad" if stopped else "warn", "Reactors", f"{online}; {'; '.join(worries)}.",
        "See the reactors below.",
    )  # fmt: skip


def _lag(nodes: Iterable[NodeView], now: datetime) -> Finding:
    waiting = [lag for node in nodes if node.report for lag in _lags(node.report, now)]
    if not waiting:
        return Finding("ok", "Record", "The hub has everything that the reactors recorded.")
    entries, held = sum(n for n, _, _ in waiting), sum(b for _, b, _ in waiting)
    oldest = max(age for _, _, age in waiting)
    text = (
        f"{entries} entries ({size(held)}) are not yet at the hub, the oldest for {oldest:.0f} s."
    )
    if oldest < _OLD_ENTRY_S:
        return Finding("ok", "Record", text)
    return Finding(
        "warn", "Record", text,
        "Nothing is lost: a reactor keeps it until the hub has it. Look whether broker, hub and "
        "network are well.",
    )  # fmt: skip


def _lags(report: NodeReport, now: datetime) -> Iterable[tuple[int, int, float]]:
    for backlog in report.backlog.values():
        if backlog.entries:
            age = (now - backlog.oldest).total_seconds() if backlog.oldest else 0.0
            yield backlog.entries, backlog.bytes, max(0.0, age)


def _versions(versions: Mapping[str, str]) -> Finding:
    if len(set(versions.values())) == 1:
        return Finding("ok", "Versions", f"All that is online is version {VERSION}.")
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Finding(
        "warn", "Versions", f"They differ: {told}.",
        "Different versions understand each other within one contract; bring all to the newest.",
    )  # fmt: skip


def _queue(queue: Queue | None) -> Finding | None:
    if queue is None or queue.posture == "running":
        return None
    reason = f": {queue.posture_reason}" if queue.posture_reason else ""
    return Finding("warn", "Queue", f"It is {queue.posture}{reason}.", "Resume it in the queue.")
