"""Tables and lines for people."""

from datetime import datetime

from rich.table import Column, Table
from rich.text import Text

from bioreactor.lab import Node
from broker.messages import (
    AuditEntry,
    Experiment,
    LogLine,
    Queue,
    QueueEntry,
    StartForecast,
    Status,
    utc_now,
)

COLOURS = {
    Status.QUEUED: "cyan",
    Status.RUNNING: "green",
    Status.COMPLETED: "blue",
    Status.FAILED: "red",
    Status.CANCELLED: "yellow",
    Status.PAUSED: "magenta",
}


def _whole(header: str, width: int) -> Column:
    """Return a column that is never shortened."""
    return Column(header, no_wrap=True, min_width=width)


def folding_table(*columns: Column | str) -> Table:
    """Return a table whose cells are folded where they are too long: nothing is left out."""
    table = Table(*columns, box=None)
    for column in table.columns:
        column.overflow = "fold"
    return table


def duration(seconds: float) -> str:
    """Return a duration as people say it, for example ``2 h 05 min``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def when(time: datetime | None, *, exact: bool = True) -> str:
    """Return a time on the local clock: the day only if it is not today, seconds where wanted."""
    if time is None:
        return ""
    local, now = time.astimezone(), utc_now().astimezone()
    if local.date() != now.date():
        return local.strftime("%Y-%m-%d %H:%M")
    return local.strftime("%H:%M:%S" if exact else "%H:%M")


def status(value: Status) -> Text:
    """Return a state in its colour."""
    return Text(value.value, style=COLOURS[value])


def experiments(rows: tuple[Experiment, ...]) -> Table:
    """Return a table of experiments."""
    table = folding_table(
        _whole("id", 26),
        "name",
        "owner",
        _whole("state", 9),
        "place",
        "reactor",
        "created",
        "took",
    )
    for row in rows:
        took = ""
        if row.started_at:
            took = duration(((row.completed_at or utc_now()) - row.started_at).total_seconds())
        place = "" if row.queue_position is None else str(row.queue_position)
        table.add_row(
            row.experiment_id, row.name, row.owner, status(row.status), place, row.node or "",
            when(row.created_at), took,
        )  # fmt: skip
    return table


def queue(value: Queue) -> Table:
    """Return the queue as a table, what runs first."""
    table = folding_table(
        "place",
        _whole("id", 26),
        "name",
        "owner",
        _whole("state", 9),
        "reactor",
        Column("expected start", min_width=16),
    )
    table.title = f"The queue is {value.posture.value}" + (
        f": {value.posture_reason}" if value.posture_reason else ""
    )
    for entry in (*value.running, *value.waiting):
        table.add_row(*_entry(entry))
    if not value.running and not value.waiting:
        table.caption = "Nothing runs, nothing waits."
    return table


def _entry(entry: QueueEntry) -> tuple[str | Text, ...]:
    place, told = "", ""
    if entry.unreachable_since is not None:
        told = f"unreachable since {when(entry.unreachable_since)}"
    elif entry.position is not None:
        place, told = str(entry.position), start(entry.forecast)
        if entry.detail:
            told = entry.detail if entry.forecast is None else f"{told}; {entry.detail}"
    return (
        place, entry.experiment_id, entry.name, entry.owner, status(entry.status),
        entry.node or "", told,
    )  # fmt: skip


def start(forecast: StartForecast | None) -> str:
    """Return when something starts, as far as it is known: ``14:05 (13:50 to 14:40)``."""
    if forecast is None:
        return "unknown"
    likely, last = when(forecast.likely, exact=False), when(forecast.latest, exact=False)
    soon = forecast.earliest is not None and forecast.earliest <= utc_now()
    first = "now" if soon else when(forecast.earliest, exact=False)
    if first and last:
        spread = f"{first} to {last}"
    else:
        spread = f"from {first}" if first else f"by {last}" if last else ""
    if not likely:
        return spread
    return f"{likely} ({spread})" if spread else f"about {likely}"


def _number(value: float | None) -> str:
    return "--" if value is None else f"{value:.4g}"


def nodes(values: list[Node]) -> Table:
    """Return the nodes with what they do and measure."""
    table = folding_table("reactor", "state", "runs", "isolation", "readings", "alarms")
    for node in values:
        report = node.report
        activity = report.activity if report else None
        units = {c.name: c.unit for c in node.channels.channels} if node.channels else {}
        readings = "  ".join(
            f"{name} {_number(value)} {units.get(name, '')}".rstrip()
            for name, value in node.readings.items()
        )
        runs = f"{activity.experiment_id} {activity.phase.value}" if activity else "idle"
        alarms = "; ".join(alarm.message for alarm in report.alarms) if report else ""
        if report and report.estop:
            alarms = f"EMERGENCY STOP by {report.estop.by}  {alarms}"
        table.add_row(
            node.name, node.status.state if node.status else "unknown", runs,
            report.isolation if report else "", readings, alarms,
        )  # fmt: skip
    if not values:
        table.caption = "No node has ever reported."
    return table


def change(value: Experiment) -> Text:
    """Return one line about an experiment's state."""
    line = Text.assemble("● ", status(value.status))
    if value.queue_position is not None:
        line.append(f", place {value.queue_position} in the queue")
    if value.forecast is not None:
        line.append(f", expected to start {start(value.forecast)}")
    if value.phase is not None:
        line.append(f" ({value.phase.value}{' on ' + value.node if value.node else ''})")
    if value.phase_detail:
        line.append(f" {value.phase_detail}")
    if value.error is not None:
        line.append(f"\n  {value.error.code}: {value.error.message}")
        if value.error.hint:
            line.append(f"\n  → {value.error.hint}")
    return line


def log_line(value: LogLine) -> Text:
    """Return a log line; what the system says is dim, stderr is red."""
    style = {"stdout": "", "stderr": "red", "system": "dim"}[value.source]
    return Text(value.text, style=style)


def audit(entries: tuple[AuditEntry, ...]) -> Table:
    """Return a table of who did what."""
    table = folding_table("when", "who", "what", _whole("experiment", 26), "outcome")
    for entry in entries:
        outcome = entry.outcome + (f": {entry.message}" if entry.message else "")
        cells = (when(entry.at), entry.by, entry.verb, entry.experiment_id or "", outcome)
        table.add_row(*(Text(cell) for cell in cells))
    return table
