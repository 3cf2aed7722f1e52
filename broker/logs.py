"""Logs of all services: for people, or one JSON object a line; each line says what it is about.

What a task works on is told once, with `about`; every line that it and the tasks it starts write
until then carries it. Known secrets are struck out of whatever is written.
"""

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Literal, TextIO

import orjson
from pydantic import SecretStr

Format = Literal["human", "json"]
Level = Literal["debug", "info", "warning", "error"]

SHORTEST_SECRET: Final = 6
"""A shorter one would strike out words."""
_STRUCK: Final = "***"

_CONTEXT: Final[ContextVar[Mapping[str, str]]] = ContextVar("what a log line is about")


@contextmanager
def about(
    *,
    request_id: str | None = None,
    experiment_id: str | None = None,
    node: str | None = None,
) -> Iterator[None]:
    """Have every line that is written within name these; what is None stays as it was."""
    told = {"request_id": request_id, "experiment_id": experiment_id, "node": node}
    known = {key: value for key, value in told.items() if value is not None}
    token = _CONTEXT.set({**_CONTEXT.get({}), **known})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


class _Formatter(logging.Formatter):
    """Strikes secrets out of the whole line, traces included."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.converter = time.gmtime
        self.default_time_format = "%Y-%m-%dT%H:%M:%S"
        self.default_msec_format = "%s.%03dZ"
        self._secrets = sorted(
            (s for s in set(secrets) if len(s) >= SHORTEST_SECRET), key=len, reverse=True
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = self.line(record)
        for secret in self._secrets:
            line = line.replace(secret, _STRUCK)
        return line

    def line(self, record: logging.LogRecord) -> str:
        """Return the line as it would be without secrets."""
        raise NotImplementedError


class HumanFormatter(_Formatter):
    """``2026-03-01T12:00:00.000Z INFO hub_service.desk: adopted [experiment_id=01…]``."""

    def line(self, record: logging.LogRecord) -> str:
        """Return the line; a trace follows on lines of its own."""
        message, *trace = super(_Formatter, self).format(record).split("\n", 1)
        told = " ".join(f"{key}={value}" for key, value in _CONTEXT.get({}).items())
        return "\n".join([f"{message} [{told}]" if told else message, *trace])


class JsonFormatter(_Formatter):
    """One object a line: time, level, logger, message, what it is about, and a trace if any."""

    def line(self, record: logging.LogRecord) -> str:
        """Return the object."""
        told: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_CONTEXT.get({}),
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(told).decode()


def handler(
    form: Format, secrets: Iterable[SecretStr | None] = (), stream: TextIO | None = None
) -> logging.Handler:
    """Return a handler that writes such lines.

    Args:
        form: For people, or JSON.
        secrets: Struck out wherever they would be written.
        stream: Standard error if left out.
    """
    known = [s.get_secret_value() for s in secrets if s is not None]
    # inside JSON a secret may be written with escapes
    escaped = [orjson.dumps(s).decode()[1:-1] for s in known]
    writer = logging.StreamHandler(stream or sys.stderr)
    formatter = JsonFormatter if form == "json" else HumanFormatter
    writer.setFormatter(formatter([*known, *escaped]))
    return writer


def set_up(form: Format, level: Level = "info", secrets: Iterable[SecretStr | None] = ()) -> None:
    """Have this process write its logs to standard error; to be called once, in `main`."""
    logging.basicConfig(level=level.upper(), handlers=[handler(form, secrets)])
