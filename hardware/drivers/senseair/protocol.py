"""Requests to a Senseair sensor and what its answers mean; frames by pymodbus. Pure.

Sources: HARDWARE.md 3 (Senseair S8 and Sunrise Modbus documents, K-series' read of RAM).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, Literal

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
    WriteSingleRegisterRequest,
    WriteSingleRegisterResponse,
)

ANY: Final = 0xFE
"""The address that every sensor answers to; one sensor a line."""
ACKNOWLEDGEMENT: Final = 0
"""Holding register HR1: what was done …"""
BACKGROUND_DONE: Final = 1 << 5
COMMAND: Final = 1
"""… and HR2: what to do."""
BACKGROUND: Final = 0x7C06
_STATUS_AND_CO2: Final = (0, 4)
_RAM_CO2: Final = 0x0008


class SenseairReplyError(ValueError):
    """An answer that does not fit the question, came damaged, or is a refusal."""


class Trouble(IntFlag):
    """Input register IR1: what is wrong."""

    FATAL = 1 << 0
    OFFSET = 1 << 1
    ALGORITHM = 1 << 2
    OUTPUT = 1 << 3
    SELF_TEST = 1 << 4
    OUT_OF_RANGE = 1 << 5
    MEMORY = 1 << 6


_NONE: Final = Trouble(0)
_SENTENCES: Final = {
    Trouble.FATAL: "a fatal error: power it off and on, else replace it",
    Trouble.OFFSET: "its offset is beyond correction: calibrate it in fresh air",
    Trouble.ALGORITHM: "its algorithm found the measurement unsound",
    Trouble.OUTPUT: "its output is faulty",
    Trouble.SELF_TEST: "its self-test failed",
    Trouble.OUT_OF_RANGE: "the CO2 is beyond its range; this goes by itself in fresh air",
    Trouble.MEMORY: "its memory is faulty",
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of sensor.

    Attributes:
        stop_bits: As it sends them.
        ram: Its CO2 is read from RAM (function 44), without a status.
        factor: ppm of one count.
    """

    name: str
    stop_bits: Literal[1, 2] = 1
    ram: bool = False
    factor: int = 1


S8: Final = Variant("S8", stop_bits=2)
SUNRISE: Final = Variant("Sunrise")
K30: Final = Variant("K30", ram=True)
K33: Final = Variant("K33", ram=True, factor=10)
VARIANTS: Final[Mapping[str, Variant]] = {
    "s8": S8,
    "sunrise": SUNRISE,
    "k30": K30,
    "k33": K33,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """CO2 in ppm, None while the sensor warms up, and what is wrong with it."""

    ppm: int | None
    trouble: Trouble = _NONE


class ReadRamRequest(ModbusPDU):
    """Function 44: bytes of the RAM of a K-series sensor."""

    function_code = 0x44
    rtu_frame_size = 7

    def encode(self) -> bytes:
        """Return address and count of bytes."""
        return struct.pack(">HB", self.address, self.count)


class ReadRamResponse(ModbusPDU):
    """The bytes, as big-endian words."""

    function_code = 0x44
    rtu_byte_count_pos = 2

    def decode(self, data: bytes) -> None:
        """Take the words."""
        count = data[0] // 2
        self.registers = list(struct.unpack(f">{count}H", data[1 : 1 + 2 * count]))


def measure(variant: Variant) -> ModbusPDU:
    """Return the request for a reading."""
    if variant.ram:
        return ReadRamRequest(dev_id=ANY, address=_RAM_CO2, count=2)
    address, count = _STATUS_AND_CO2
    return ReadInputRegistersRequest(dev_id=ANY, address=address, count=count)


def reading(variant: Variant, registers: tuple[int, ...]) -> Reading:
    """Understand the registers that `measure` asked for."""
    if variant.ram:
        (count,) = registers
        return Reading(_ppm(variant, count))
    status, _, _, count = registers
    return Reading(_ppm(variant, count), Trouble(status & 0x7F))


def acknowledged() -> ModbusPDU:
    """Return the request for what was done."""
    return ReadHoldingRegistersRequest(dev_id=ANY, address=ACKNOWLEDGEMENT, count=1)


def write(register: int, value: int) -> ModbusPDU:
    """Return the request to write a holding register."""
    return WriteSingleRegisterRequest(dev_id=ANY, address=register, registers=[value])


def sentences(trouble: Trouble) -> Iterator[str]:
    """Yield a sentence for people for each error."""
    for bit, sentence in _SENTENCES.items():
        if bit in trouble:
            yield sentence


class Frames:
    """Requests as bytes, and answers out of bytes."""

    def __init__(self) -> None:
        decoder = DecodePDU(is_server=False)
        # What these sensors can say and nothing else: noise is not taken for a strange function.
        decoder.pdu_table = {
            ReadHoldingRegistersResponse.function_code: (
                ReadHoldingRegistersRequest,
                ReadHoldingRegistersResponse,
            ),
            ReadInputRegistersResponse.function_code: (
                ReadInputRegistersRequest,
                ReadInputRegistersResponse,
            ),
            WriteSingleRegisterResponse.function_code: (
                WriteSingleRegisterRequest,
                WriteSingleRegisterResponse,
            ),
            ReadRamResponse.function_code: (ReadRamRequest, ReadRamResponse),
        }
        self._framer = FramerRTU(decoder)

    def request(self, pdu: ModbusPDU) -> bytes:
        """Return a request that is ready to be sent."""
        return bytes(self._framer.buildFrame(pdu))

    def answer(self, asked: ModbusPDU, data: bytes) -> tuple[int, ...] | None:
        """Return the registers that an answer carries; None if it is not complete.

        Args:
            asked: The request.
            data: Everything that came since.

        Raises:
            SenseairReplyError: It is damaged, answers something else, or refuses.
        """
        start = data.find(ANY)
        if start < 0 or len(data) - start < self._framer.MIN_SIZE:
            return None
        frame = data[start:]
        pdu = self._framer.decoder.lookupPduClass(frame)
        size = 0 if pdu is None else pdu.calculateRtuFrameSize(frame)
        if size > len(frame):
            return None
        try:
            _, reply = self._framer.handleFrame(frame, ANY, 0)
        except (ModbusException, struct.error) as error:
            raise SenseairReplyError("its answer cannot be understood") from error
        if reply is None or size != len(frame):
            raise SenseairReplyError("its answer came damaged")
        if isinstance(reply, ExceptionResponse):
            raise SenseairReplyError(f"it refuses the request (exception {reply.exception_code})")
        registers = tuple(reply.registers)
        fits = reply.function_code == asked.function_code and len(registers) == _words(asked)
        if isinstance(asked, WriteSingleRegisterRequest):
            fits = fits and (reply.address, registers) == (asked.address, tuple(asked.registers))
        if not fits:
            raise SenseairReplyError("it answers something else")
        return registers


def _words(asked: ModbusPDU) -> int:
    return asked.count // 2 if isinstance(asked, ReadRamRequest) else asked.count


def _ppm(variant: Variant, count: int) -> int | None:
    return count * variant.factor or None
