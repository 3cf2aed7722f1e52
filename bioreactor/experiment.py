"""This experiment: its clock, its parameters, and what it leaves behind.

    from bioreactor import experiment, reactor

    for _ in experiment.every(seconds=60, duration=4 * 3600):
        od = reactor.read("od")
        experiment.record(od=od)
    experiment.save("summary.json", {"final_od": od})

Times are seconds of the reactor's clock, which stands still while the experiment is paused and
runs faster than real time in a simulation. When the experiment is stopped, SystemExit is raised
in the script, so that ``finally`` blocks still run; they have a few seconds.
"""

import io
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from bioreactor._gateway import (
    BioreactorError,
    EmergencyStop,
    LeaseEnded,
    LimitError,
    NoReactorError,
    UnavailableError,
    gateway,
)

__all__ = [
    "BioreactorError", "Clock", "EmergencyStop", "Info", "LeaseEnded", "LimitError", "Message",
    "NoReactorError", "Parameters", "SavedFile", "UnavailableError", "clock", "elapsed", "every",
    "info", "log", "messages", "parameters", "record", "save", "sleep",
]  # fmt: skip

_LONGEST_NAP: Final = 10.0
_SHORTEST_NAP: Final = 0.0005
_FRESH: Final = 0.5
_LOG_PIECE: Final = 16_000


@dataclass(frozen=True)
class Info:
    """What the experiment is: its id, which attempt this is, and its name."""

    experiment_id: str
    attempt: int
    name: str


@dataclass(frozen=True)
class Clock:
    """The time.

    Attributes:
        elapsed: Seconds of the reactor's clock since the script began, pauses left out.
        speed: Seconds of the reactor's clock in one real second; 1 on a real reactor.
        now: Wall time.
    """

    elapsed: float
    speed: float
    now: datetime


@dataclass(frozen=True)
class Message:
    """Something that was sent to the running experiment: a text, or changed parameters."""

    t: datetime
    text: str | None
    parameters: Mapping[str, Any] | None


@dataclass(frozen=True)
class SavedFile:
    """A file in the results; `size` in bytes."""

    name: str
    size: int
    sha256: str


class Parameters(Mapping[str, Any]):
    """The experiment's parameters, as they are now.

    They can be changed while the experiment runs; what is read here is at most half a second old.
    """

    def __init__(self) -> None:
        self._known: Mapping[str, Any] = {}
        self._read_at = -math.inf
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Any:
        known = self._current()
        if name not in known:
            raise KeyError(f"there is no parameter {name!r}; there are: {', '.join(known) or '-'}")
        return known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())

    def __repr__(self) -> str:
        return f"Parameters({dict(self._current())!r})"

    def _current(self) -> Mapping[str, Any]:
        with self._lock:
            if time.monotonic() - self._read_at >= _FRESH:
                self._known = gateway().get("/parameters")["parameters"]
                self._read_at = time.monotonic()
            return self._known


parameters: Final = Parameters()
"""The experiment's parameters: ``experiment.parameters["target_od"]``."""


def info() -> Info:
    """Return what the experiment is."""
    answer = gateway().get("/experiment")
    return Info(answer["experiment_id"], answer["attempt"], answer.get("name") or "")


def clock() -> Clock:
    """Return the time."""
    answer = gateway().get("/clock")
    return Clock(answer["elapsed"], answer["speed"], _time(answer["now"]))


def elapsed() -> float:
    """Return the seconds of the reactor's clock since the script began, pauses left out."""
    return clock().elapsed


def sleep(seconds: float) -> None:
    """Return when so many seconds of the reactor's clock have passed."""
    if seconds > 0:
        _sleep_until(elapsed() + seconds)


def every(*, seconds: float, duration: float | None = None) -> Iterator[float]:
    """Go through a loop in a steady rhythm of the reactor's clock.

    The first round comes at once, the others `seconds` apart, without drift: how long a round
    takes does not delay the next. Rounds that a long one has overslept are left out.

    Args:
        seconds: Between two rounds, above 0.
        duration: Seconds after which the loop ends; None: it ends with the experiment.

    Yields:
        The seconds since the script began.
    """
    if not seconds > 0:
        raise ValueError(f"every() needs more than 0 seconds, not {seconds}")
    try:
        now = start = elapsed()
        rounds = 0
        while duration is None or rounds * seconds <= duration:
            now = _sleep_until(start + rounds * seconds)
            yield now
            rounds = max(rounds + 1, math.ceil((elapsed() - start) / seconds))
    except LeaseEnded:
        return


def record(**values: float | None) -> None:
    """Record values of your own; they appear live on the experiment's page and in its results.

    For example ``experiment.record(growth_rate=0.41, target=0.5)``. What is None or ``nan`` is
    recorded as missing. On the node's disk when this returns.
    """
    body = {name: _value(name, value) for name, value in values.items()}
    if body:
        gateway().post("/record", {"values": body})


def log(text: object, *, level: Literal["debug", "info", "warning", "error"] = "info") -> None:
    """Write into the experiment's log, as print does; on the node's disk when this returns."""
    line = str(text)
    for start in range(0, max(len(line), 1), _LOG_PIECE):
        gateway().post("/log", {"text": line[start : start + _LOG_PIECE], "level": level})


_messages_seen = 0


def messages() -> list[Message]:
    """Return what was sent to the experiment since the last call, oldest first."""
    global _messages_seen  # noqa: PLW0603 - one script, one inbox
    answer = gateway().get("/messages", after=_messages_seen)["messages"]
    for item in answer:
        _messages_seen = max(_messages_seen, item["n"])
    return [Message(_time(item["t"]), item.get("text"), item.get("parameters")) for item in answer]


def save(name: str, content: object) -> SavedFile:
    """Save a file into the results; it replaces one of the same name.

    Args:
        name: For example ``summary.json`` or ``plots/od.png``.
        content: One of: bytes; str, saved as text; a `pathlib.Path`, whose file is saved; a
            pandas DataFrame or Series, saved as CSV; a matplotlib figure, saved in the format
            that the name's ending says; anything that JSON can express, numpy included.

    Returns:
        What was saved. It is on the node's disk.

    Raises:
        TypeError: The content is none of these.
        LimitError: The results would become too large.
        BioreactorError: The name leads out of the results, or the node's disk is full.
    """
    opener, size = _opener(name, content)
    answer = gateway().put(f"/results/{name}", opener, size)
    return SavedFile(answer["name"], answer["size"], answer["sha256"])


def _sleep_until(target: float) -> float:
    while True:
        now = clock()
        left = (target - now.elapsed) / now.speed
        if left <= 0:
            return now.elapsed
        time.sleep(max(min(left, _LONGEST_NAP), _SHORTEST_NAP))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _value(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"record() wants a number for {name}, not {value!r}") from None
    return number if math.isfinite(number) else None


def _opener(name: str, content: object) -> tuple[Callable[[], BinaryIO], int]:
    if isinstance(content, os.PathLike):
        path = Path(content)
        return (lambda: path.open("rb")), path.stat().st_size
    data = _bytes(name, content)
    return (lambda: io.BytesIO(data)), len(data)


def _bytes(name: str, content: Any) -> bytes:
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if isinstance(content, str):
        return content.encode()
    if hasattr(content, "savefig"):
        buffer = io.BytesIO()
        content.savefig(buffer, format=name.rpartition(".")[2] if "." in name else "png")
        return buffer.getvalue()
    if hasattr(content, "to_csv"):
        counted = type(getattr(content, "index", None)).__name__ == "RangeIndex"
        return str(content.to_csv(index=not counted)).encode()
    try:
        return json.dumps(_plain(content), indent=2, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise TypeError(f"save() cannot save a {type(content).__name__}: {error}") from error


def _plain(value: Any) -> Any:
    """Return the value as JSON knows it: numpy's numbers and arrays, dates, no NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value.isoformat() if hasattr(value, "isoformat") else value
