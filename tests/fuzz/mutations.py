"""Inputs out of sound ones: cut, repeated, mixed, with words that parsers stumble over."""

import random
from collections.abc import Sequence
from typing import Final

WORDS: Final = (
    *(b"null", b"true", b"NaN", b"Infinity", b"-0", b"1e999", b"9" * 400, b"9" * 5000, b"0x1"),
    *(b'"', b"'", b"{", b"}", b"[", b"]", b"[[", b",", b":", b"=", b".", b"\\", b"\\u0000"),
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\xa7\xab", b"\r", b"\n", b"\r\n", b"\t", b" "),
    *(b"# ///\n", b"..", b"/", b"+", b"#", b"-1", b"99999999999999999999", b"0001-01-01T00:00:00Z"),
)
LONGEST: Final = 20_000


def mutated(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """Return a new input."""
    data = bytearray(chance.choice(seeds)) if seeds else bytearray()
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randint(0, len(data))
        to = min(len(data), at + chance.choice((1, 2, 4, 16, 64)))
        match chance.randrange(7):
            case 0:
                data[at:to] = b""
            case 1:
                data[at:at] = chance.choice(WORDS)
            case 2:
                data[at:to] = chance.choice(WORDS)
            case 3:
                data[at:at] = data[at:to] * chance.choice((1, 2, 100))
            case 4 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 5:
                data[at:to] = chance.randbytes(to - at)
            case _ if seeds:
                other = chance.choice(seeds)
                data[at:to] = other[chance.randint(0, len(other)) :][:64]
    return bytes(data[:LONGEST])
