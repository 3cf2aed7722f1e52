"""A dated calibration and its file."""

import json
import math
from collections.abc import Hashable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from broker.messages import CalibrationInfo
from hardware.calibration.curve import Curve, Point, residuals
from hardware.files import parse_json, replace_file

SCHEMA: Final = 1
MAX_NOTE: Final = 200
"""Characters of a note that are told with the channel; the file keeps all of it."""
Way = Literal["curve", "volume", "device"]


class CalibrationFileError(ValueError):
    """A calibration's file cannot be understood; one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """One calibration of one channel.

    Attributes:
        channel: Whose.
        at: When it was made, UTC.
        way: ``curve``: readings are brought onto it; ``volume``: a pump moves `factor` times what
            it believes; ``device``: the device keeps it itself, this is the record of it.
        unit: Of the points.
        points: What it was made of.
        curve: For a curve.
        factor: For a pump.
        note: Who, with which standards.
    """

    channel: str
    at: datetime
    way: Way
    unit: str
    points: tuple[Point, ...]
    curve: Curve | None = None
    factor: float | None = None
    note: str = ""

    @property
    def id(self) -> str:
        """The channel and the second, as the file is called."""
        return f"{self.channel}-{self.at:%Y%m%dT%H%M%SZ}"

    @property
    def residuals(self) -> tuple[float, ...]:
        """How far each point is off, in its unit."""
        if self.curve is not None:
            return residuals(self.curve, self.points)
        if self.factor is not None:
            return tuple(p.true - self.factor * p.read for p in self.points)
        return tuple(p.true - p.read for p in self.points)

    @property
    def info(self) -> CalibrationInfo:
        """What is told of it with the channel.

        What a device was off by before it calibrated itself says nothing of how good it is now.
        """
        known = () if self.way == "device" else self.residuals
        return CalibrationInfo(
            way=self.way,
            unit=self.unit,
            points=len(self.points),
            error=max((abs(error) for error in known), default=None),
            note=self.note[:MAX_NOTE],
        )


class CalibrationBook:
    """All calibrations of a reactor; the newest of each channel is in force.

    Args:
        directory: One file each.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, calibration: Calibration) -> Path:
        """Keep one and return its file; durable when it returns.

        Raises:
            OSError: It could not be written.
        """
        path = self._directory / f"{calibration.id}.json"
        replace_file(path, _encode(calibration))
        return path

    def history(self, channel: str) -> tuple[Calibration, ...]:
        """Return a channel's calibrations, newest first.

        Raises:
            CalibrationFileError: A file is damaged. None is passed over silently: readings would
                be brought onto another curve than people believe.
        """
        pattern = f"{channel}-????????T??????Z.json"
        found = [_read(path) for path in self._directory.glob(pattern)]
        return tuple(sorted((c for c in found if c.channel == channel), key=lambda c: c.at))[::-1]

    def current(self, channel: str) -> Calibration | None:
        """Return what is in force.

        Raises:
            CalibrationFileError: As `history`.
        """
        return next(iter(self.history(channel)), None)

    def stamp(self) -> Hashable:
        """Return what is another when a calibration came, went or changed."""
        found = []
        for path in self._directory.glob("*.json"):
            try:
                status = path.stat()
            except FileNotFoundError:  # it went just now
                continue
            found.append((path.name, status.st_mtime_ns, status.st_size))
        return tuple(sorted(found))

    def revert(self, channel: str) -> Calibration | None:
        """Set the newest aside, as ``.reverted``; return what is in force then.

        Raises:
            CalibrationFileError: As `history`.
            OSError: The file cannot be renamed.
        """
        newest = self.current(channel)
        if newest is not None:
            path = self._directory / f"{newest.id}.json"
            path.replace(path.with_suffix(".json.reverted"))
        return self.current(channel)


def _encode(calibration: Calibration) -> str:
    data = asdict(calibration)
    data["at"] = calibration.at.isoformat()
    data["residuals"] = calibration.residuals
    if calibration.curve is not None:
        data["curve"] = {
            "coefficients": calibration.curve.coefficients,
            "low": _finite(calibration.curve.low),
            "high": _finite(calibration.curve.high),
        }
    return json.dumps({"schema": SCHEMA, **data}, indent=1)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read(path: Path) -> Calibration:
    try:
        return _parse(parse_json(path.read_text("utf-8")))
    except OSError as error:
        raise CalibrationFileError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CalibrationFileError(
            f"{path} is damaged ({error}): restore it, or move it away and calibrate again"
        ) from error


def _parse(data: dict[str, Any]) -> Calibration:
    if data["schema"] != SCHEMA:
        raise ValueError(f"its schema {data['schema']} is not known here")
    curve = data["curve"]
    return Calibration(
        channel=str(data["channel"]),
        at=datetime.fromisoformat(data["at"]),
        way=_way(data["way"]),
        unit=str(data["unit"]),
        points=tuple(Point(_number(p["read"]), _number(p["true"])) for p in data["points"]),
        curve=None
        if curve is None
        else Curve(
            tuple(_number(c) for c in curve["coefficients"]),
            -math.inf if curve["low"] is None else _number(curve["low"]),
            math.inf if curve["high"] is None else _number(curve["high"]),
        ),
        factor=None if data["factor"] is None else _number(data["factor"]),
        note=str(data["note"]),
    )


def _way(text: object) -> Way:
    for way in ("curve", "volume", "device"):
        if text == way:
            return way
    raise ValueError(f"there is no calibration by {text!r}")


def _number(value: object) -> float:
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no number")
    return number
