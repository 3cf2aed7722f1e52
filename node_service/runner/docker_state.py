"""What the engine says about a container, in our words. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from node_service.runner.interface import Attempt, ContainerStatus, Exit, Found, State
from node_service.runner.options import LABEL_ATTEMPT, LABEL_EXPERIMENT

Inspected = Mapping[str, Any]

_SIGNAL_BASE: Final = 128
_SIGNALS: Final = 64


def state_of(inspected: Inspected) -> State:
    """Return the state; ``created`` means that it was never started."""
    state = inspected["State"]
    if state["Paused"]:
        return "paused"
    if state["Running"] or state["Status"] in {"running", "restarting"}:
        return "running"
    if started_at(inspected) is None:
        return "created"
    return "exited"


def started_at(inspected: Inspected) -> datetime | None:
    """Return when it was started; None if never."""
    return _time(inspected["State"]["StartedAt"])


def exit_of(inspected: Inspected) -> Exit | None:
    """Return how it ended; None if it has not."""
    if state_of(inspected) != "exited":
        return None
    state = inspected["State"]
    code, signal = split_exit_code(state["ExitCode"])
    return Exit(
        exit_code=code,
        signal=signal,
        oom_killed=bool(state["OOMKilled"]),
        error=state["Error"],
        finished_at=_time(state["FinishedAt"]) or datetime.now(UTC),
    )


def split_exit_code(code: int) -> tuple[int, int | None]:
    """Return exit code and signal from the code of a program that an init process reaped."""
    if _SIGNAL_BASE < code <= _SIGNAL_BASE + _SIGNALS:
        return _SIGNAL_BASE - code, code - _SIGNAL_BASE
    return code, None


def run_of(inspected: Inspected) -> Attempt:
    """Return which attempt it is.

    Raises:
        KeyError, ValueError: It is none of ours.
    """
    labels = inspected["Config"]["Labels"]
    return Attempt(labels[LABEL_EXPERIMENT], int(labels[LABEL_ATTEMPT]))


def found(inspected: Inspected) -> Found:
    """Return the container as `Runner.find` tells of it."""
    return Found(
        run=run_of(inspected),
        container_id=inspected["Id"],
        image=inspected["Image"],
        state=state_of(inspected),
        started_at=started_at(inspected),
        exit=exit_of(inspected),
    )


def status(
    inspected: Inspected, stats: Mapping[str, Any], now: datetime, previous: "Usage | None"
) -> tuple[ContainerStatus, "Usage"]:
    """Return what it uses, and what to compare with next time.

    Args:
        inspected: The container.
        stats: One reading of the engine; empty if it does not run.
        now: Wall time.
        previous: The second value of the call before.
    """
    usage = Usage.of(stats)
    begun = started_at(inspected)
    ended = exit_of(inspected)
    until = ended.finished_at if ended else now
    memory = stats.get("memory_stats", {})
    details = memory.get("stats", {})
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    return ContainerStatus(
        container_id=inspected["Id"],
        image=inspected["Image"],
        state=state_of(inspected),
        cpu_percent=usage.percent_since(previous),
        memory=max(0, memory.get("usage", 0) - cache),
        memory_limit=inspected["HostConfig"]["Memory"],
        pids=stats.get("pids_stats", {}).get("current") or 0,
        results_bytes=0,
        log_bytes=0,
        uptime=max(0.0, (until - begun).total_seconds()) if begun else 0.0,
    ), usage


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time in nanoseconds at one moment."""

    processor: int
    read: datetime | None

    @classmethod
    def of(cls, stats: Mapping[str, Any]) -> "Usage":
        """Take it from a reading of the engine."""
        processor = stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0)
        return cls(processor, _time(stats.get("read", "")))

    def percent_since(self, previous: "Usage | None") -> float:
        """Return the load since then; 100 is one core."""
        if previous is None or previous.read is None or self.read is None:
            return 0.0
        seconds = (self.read - previous.read).total_seconds()
        if seconds <= 0:
            return 0.0
        return max(0.0, (self.processor - previous.processor) / 1e7 / seconds)


def _time(text: str) -> datetime | None:
    """Parse the engine's time; its zero, the year 1, means never."""
    if not text or text.startswith("0001-"):
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6].ljust(6, '0')}+00:00")
