"""Lines: what comes in is cut, checked and taken apart; what goes out is sealed."""

MAX_LINE = 120
"""Bytes of the longest request, with its end."""
_START = 0x3E  # >
_ENDS = b"\r\n"
_FIRST, _LAST = 0x20, 0x7E
_SEALED = 5  # * and four digits
_HIGHEST = 65535


def crc16(data: bytes) -> int:
    """Return the CRC-16 of X.25's polynomial, from FFFF, not reflected (check value 29B1)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def sealed(text: str) -> bytes:
    """Return a line that is ready to be sent."""
    body = text.encode()
    return body + b"*%04X\n" % crc16(body)


def opened(line: bytes) -> "tuple[int, list[str]] | None":
    """Return the number and the words of a request; None if the line is damaged."""
    body, seal = line[:-_SEALED], line[-_SEALED:]
    if seal != b"*%04X" % crc16(body):
        return None
    words = body[1:].decode().split(" ")
    if not words[0].isdigit() or len(words[0]) > len(str(_HIGHEST)):
        return None
    number = int(words[0])
    return (number, words[1:]) if number <= _HIGHEST else None


class Reader:
    """Cuts a stream into requests; finds the next one after anything that is none."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._inside = False
        self.damaged = 0

    def feed(self, data: bytes) -> "list[bytes]":
        """Return the requests that are complete now, without their ends, unchecked."""
        lines: list[bytes] = []
        for byte in data:
            if byte == _START:
                self._lose()
                self._inside = True
                self._line.append(byte)
            elif not self._inside:
                continue
            elif byte in _ENDS:
                lines.append(bytes(self._line))
                self._begin()
            elif _FIRST <= byte <= _LAST and len(self._line) < MAX_LINE - 1:
                self._line.append(byte)
            else:
                self._lose()
        return lines

    def _lose(self) -> None:
        self.damaged += self._inside
        self._begin()

    def _begin(self) -> None:
        self._line = bytearray()
        self._inside = False
