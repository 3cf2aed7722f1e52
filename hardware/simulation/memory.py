"""The simulated culture's file: whole or not at all, whenever the power goes."""

import json
import logging
import math
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

from hardware.files import replace_file, set_aside
from hardware.simulation.culture import Culture

log = logging.getLogger(__name__)

_SCHEMA: Final = 1


def save(path: Path, culture: Culture, at: datetime) -> None:
    """Write the culture; durable when it returns, a crash leaves the previous one.

    Raises:
        OSError: It could not be written; the previous one stands.
    """
    data = {"schema": _SCHEMA, "at": at.isoformat(), "culture": asdict(culture)}
    replace_file(path, json.dumps(data))


def load(path: Path) -> tuple[Culture, datetime] | None:
    """Return the saved culture and when it was saved; None if there is no sound one.

    A file that cannot be understood is kept beside it, as ``.damaged``.
    """
    try:
        return _parse(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is damaged (%s): a fresh vial is put in", path.name, error)
        set_aside(path)
        return None


def _parse(text: str) -> tuple[Culture, datetime]:
    data = json.loads(text)
    if data["schema"] != _SCHEMA:
        raise ValueError(f"unknown schema {data['schema']}")
    fields = {name: float(value) for name, value in data["culture"].items()}
    if not all(math.isfinite(value) for value in fields.values()) or fields["volume"] <= 0:
        raise ValueError("no culture is like that")
    return Culture(**fields), datetime.fromisoformat(data["at"])
