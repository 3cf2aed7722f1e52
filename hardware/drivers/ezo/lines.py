"""What an EZO circuit says, line by line. Pure.

Source: HARDWARE.md 1 (datasheets EZO-DO 4.1, EZO-CO2 1.4, EZO-PMP; feastorg/ezo-driver). The
protocol has no check sum: what does not have exactly the form of an answer is noise.
"""

import re
from dataclasses import dataclass
from typing import Final

_CODE: Final = re.compile(
    r"\*(OK|ER|OV|UV|RS|RE|SL|WA|WARM|DONE|MINVOL|TOOFAST)((?:,[A-Z0-9.+-]+)*)"
)
_ANSWER: Final = re.compile(r"\?,?([A-Z0-9]+)((?:,[^,?*]*)*)", re.IGNORECASE)
_NUMBER: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
_VALUES: Final = re.compile(rf"{_NUMBER}(?:,{_NUMBER})*")
_NUMBER_ALONE: Final = re.compile(_NUMBER)


@dataclass(frozen=True, slots=True)
class Code:
    """A starred code: ``*OK``, ``*DONE,10.00``."""

    name: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked for: ``?CAL,2``; the name is in capitals whatever the firmware writes."""

    name: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Values:
    """A reading: numbers as they were written."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoOutput:
    """A reading of a circuit all of whose outputs are switched off."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Anything else."""

    raw: bytes


Line = Code | Answer | Values | NoOutput | Noise


def parse(raw: bytes) -> Line:
    """Return what a line means; its end is not part of it."""
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return Noise(raw)
    if (match := _CODE.fullmatch(text)) is not None:
        return Code(match[1], _fields(match[2]))
    if (match := _ANSWER.fullmatch(text)) is not None and text.isprintable():
        return Answer(match[1].upper(), _fields(match[2]))
    if _VALUES.fullmatch(text) is not None:
        return Values(tuple(text.split(",")))
    if text == "no output":
        return NoOutput()
    return Noise(raw)


def number(text: str) -> float | None:
    """Return a field as a number; None if it is none."""
    return float(text) if _NUMBER_ALONE.fullmatch(text) is not None else None


def _fields(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")[1:])
