"""The simulated culture's file: whole or not at all, whenever the power goes."""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from hardware.files import parse_json, replace_file, set_aside
from hardware.simulation.culture import Culture
from hardware.simulation.wear import Wear

log = logging.getLogger(__name__)

_SCHEMA: Final = 2
_OLDEST: Final = 1
"""Without product, CO2 and wear: they begin as new."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What is kept of a vial, and when it was."""

    culture: Culture
    wear: Wear
    at: datetime


def save(path: Path, saved: Saved) -> None:
    """Write the vial; durable when it returns, a crash leaves the previous one.

    Raises:
        OSError: It could not be written; the previous one stands.
    """
    data = {
        "schema": _SCHEMA,
        "at": saved.at.isoformat(),
        "culture": asdict(saved.culture),
        "wear": asdict(saved.wear),
    }
    replace_file(path, json.dumps(data))


def load(path: Path) -> Saved | None:
    """Return what was saved; None if there is no sound vial.

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


def _parse(text: str) -> Saved:
    data = parse_json(text)
    if data["schema"] not in {_OLDEST, _SCHEMA}:
        raise ValueError(f"unknown schema {data['schema']}")
    fields = _finite(data["culture"])
    if fields["volume"] <= 0:
        raise ValueError("no culture is like that")
    kept = data.get("wear", {})
    wear = Wear(_finite(kept.get("pumped", {})), _finite(kept.get("drift", {})))
    return Saved(Culture(**fields), wear, datetime.fromisoformat(data["at"]))


def _finite(values: Mapping[str, object]) -> dict[str, float]:
    """Return numbers that are some.

    Raises:
        ValueError: One is none, or not finite.
    """
    fields = {name: float(str(value)) for name, value in values.items()}
    if not all(math.isfinite(value) for value in fields.values()):
        raise ValueError("no culture is like that")
    return fields
