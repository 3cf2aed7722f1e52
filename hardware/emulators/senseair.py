"""A Senseair CO2 sensor on its Modbus RTU line, byte for byte; nothing of it is pymodbus.

Sources: HARDWARE.md 3. K-series sensors are read from RAM, the others from input registers; here
each answers to both.
"""

import math
import struct
from typing import ClassVar, Final

from hardware.emulators.emulator import Constant, EmulatedDevice, Source, Timer
from hardware.emulators.faults import ANYWHERE, Fault

_ANY: Final = 0xFE
_READ_HOLDING, _READ_INPUT, _WRITE, _READ_RAM = 0x03, 0x04, 0x06, 0x44
_SIZES: Final = {_READ_HOLDING: 8, _READ_INPUT: 8, _WRITE: 8, _READ_RAM: 7}
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS = 1, 2
_SILENCE: Final = 0.02
"""Seconds after which what came before is no part of a frame any more."""
_WARM: Final = 30.0
_CALIBRATION: Final = 4.0
_BACKGROUND: Final = 0x7C06
_FRESH_AIR: Final = 400.0
_SHORTEST: Final = 4


class EmulatedSenseair(EmulatedDevice):
    """The sensor.

    Args:
        co2: ppm around it.
        address: Its own address; it answers to FE too.
        factor: ppm of one count.
        period: Seconds between two measurements.
    """

    known_faults: ClassVar[frozenset[Fault]] = ANYWHERE | {Fault.CORRUPT}

    def __init__(
        self,
        co2: Source | None = None,
        *,
        address: int = 0x68,
        factor: int = 1,
        period: float = 2.0,
    ) -> None:
        self._co2 = Constant(_FRESH_AIR) if co2 is None else co2
        self._address = address
        self._factor = factor
        self._period = period
        self._offset = 0.0
        self.status = 0
        self._on_since = 0.0
        self._measured: tuple[float, int] = (0.0, 0)
        self._holding = [0, 0]
        self._buffer = b""
        self._gap: Timer | None = None

    def power_up(self) -> None:
        """Start: it reads 0 until it is warm."""
        self._on_since = self.line.now()
        self._measured = (-math.inf, 0)
        self._holding = [0, 0]
        self._buffer = b""

    def receive(self, data: bytes) -> None:
        """Hear a frame, or a piece of one."""
        if self._gap is not None:
            self._gap.cancel()
        self._buffer += data
        while (frame := self._next_frame()) is not None:
            self._answer(frame)
        self._gap = self.line.later(_SILENCE, self._forget)

    def _forget(self) -> None:
        """Silence: what is there was a frame, or noise."""
        frame, self._buffer = self._buffer, b""
        if len(frame) >= _SHORTEST and _sound(frame) and frame[1] not in _SIZES:
            self._answer(frame)

    def _next_frame(self) -> bytes | None:
        if len(self._buffer) < 2:  # noqa: PLR2004 - address and function
            return None
        size = _SIZES.get(self._buffer[1])
        if size is None or len(self._buffer) < size:
            return None
        frame, self._buffer = self._buffer[:size], self._buffer[size:]
        return frame

    def _answer(self, frame: bytes) -> None:
        address, function = frame[0], frame[1]
        if address not in {_ANY, self._address} or not _sound(frame):
            return
        match function:
            case _ if function not in _SIZES:
                reply = bytes([function | 0x80, _ILLEGAL_FUNCTION])
            case _ if function == _WRITE:
                reply = self._write(frame[1:6])
            case _ if function == _READ_RAM:
                reply = self._read_ram(*struct.unpack(">HB", frame[2:5]))
            case _:
                reply = self._read(function, *struct.unpack(">HH", frame[2:6]))
        self.line.send(_sealed(bytes([address]) + reply))

    def _read(self, function: int, first: int, count: int) -> bytes:
        registers = (
            self._holding if function == _READ_HOLDING else [self.status, 0, 0, self._counts()]
        )
        if not 1 <= count <= len(registers) - first:
            return bytes([function | 0x80, _ILLEGAL_ADDRESS])
        words = registers[first : first + count]
        return struct.pack(f">BB{count}H", function, 2 * count, *words)

    def _write(self, body: bytes) -> bytes:
        function, register, value = struct.unpack(">BHH", body)
        if register >= len(self._holding):
            return bytes([function | 0x80, _ILLEGAL_ADDRESS])
        self._holding[register] = value
        if register == 1 and value == _BACKGROUND:
            self.line.later(_CALIBRATION, self._calibrated)
        return body

    def _calibrated(self) -> None:
        self._offset = _FRESH_AIR - self._co2()
        self._holding[0] |= 1 << 5

    def _read_ram(self, first: int, count: int) -> bytes:
        if (first, count) != (0x0008, 2):
            return bytes([_READ_RAM | 0x80, _ILLEGAL_ADDRESS])
        return struct.pack(">BBH", _READ_RAM, 2, self._counts())

    def _counts(self) -> int:
        now = self.line.now()
        if now - self._on_since < _WARM:
            return 0
        at, counts = self._measured
        if now - at >= self._period:
            ppm = self.line.sense(self._co2) + self._offset
            counts = min(max(round(ppm / self._factor), 0), 0xFFFF)
            self._measured = (now, counts)
        return counts


def _sealed(body: bytes) -> bytes:
    return body + struct.pack("<H", _crc16(body))


def _sound(frame: bytes) -> bool:
    return _sealed(frame[:-2]) == frame


def _crc16(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc
