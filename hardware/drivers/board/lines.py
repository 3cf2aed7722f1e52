"""The board's lines, host side: requests are sealed, replies are checked and taken apart. Pure.

Specification: docs/reference/board-protocol.md. Nothing of this is shared with the firmware, so
that either checks the other.
"""

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PROTOCOL: Final = 1
BAUDRATE: Final = 115200
NUMBERS: Final = 65536
"""Requests are numbered from 0 up to here, then from 0 again."""

_REPLY: Final = re.compile(
    rb"<(-|[0-9]{1,5}) (ok|error)((?: [\x21-\x29\x2b-\x7e]+)*)\*([0-9A-F]{4})"
)
_QUANTITY: Final = re.compile(r"(-?[0-9]{1,6}(?:\.[0-9]{1,3})?)([A-Za-z%]*)")
_UNKNOWN: Final = "-"


class BoardReplyError(ValueError):
    """A reply whose seal is right says what no board of this version says."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply.

    Attributes:
        number: The request's; None where the board could not read it.
        ok: Whether the request was obeyed.
        reason: Why not.
        fields: What it says, by name.
    """

    number: int | None
    ok: bool
    reason: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


def request(number: int, text: str) -> bytes:
    """Return a request that is ready to be sent."""
    body = f">{number} {text}".encode("ascii")
    return b"%s*%04X\n" % (body, _seal(body))


def parse(line: bytes) -> Reply | None:
    """Understand a line without its end; None if it is no reply, or a damaged one.

    What comes before the last ``<`` is noise.
    """
    start = line.rfind(b"<")
    match = _REPLY.fullmatch(line, max(start, 0))
    if match is None or int(match[4], 16) != _seal(line[match.start() : match.start(4) - 1]):
        return None
    number = None if match[1] == b"-" else int(match[1])
    words = match[3].decode("ascii").split()
    ok = match[2] == b"ok"
    reason = "" if ok or not words else words.pop(0)
    pairs = (word.partition("=") for word in words)
    return Reply(number, ok, reason, {name: value for name, _, value in pairs})


def quantity(fields: Mapping[str, str], name: str, unit: str) -> float | None:
    """Return a field's number; None if the board does not know it.

    Raises:
        BoardReplyError: The field is missing, is no number or has another unit.
    """
    text = fields.get(name)
    if text == _UNKNOWN:
        return None
    match = None if text is None else _QUANTITY.fullmatch(text)
    if match is None or match[2] != unit:
        raise BoardReplyError(f"it says {name}={text} where a number in {unit or '1'} is expected")
    return float(match[1])


def known(fields: Mapping[str, str], name: str, unit: str) -> float:
    """Return a field's number, which the board must know.

    Raises:
        BoardReplyError: It does not.
    """
    value = quantity(fields, name, unit)
    if value is None:
        raise BoardReplyError(f"it does not know {name}")
    return value


def _seal(body: bytes) -> int:
    return binascii.crc_hqx(body, 0xFFFF)
