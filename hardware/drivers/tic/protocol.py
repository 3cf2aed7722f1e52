"""The Pololu Tic's serial protocol, compact form with CRC-7: bytes in, meaning out. Pure.

Commands, variables and settings are those of the Tic user's guide (Pololu document 0J71,
sections 6 to 9). A velocity is in microsteps per 10 000 s, as the device counts.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

VELOCITY_UNIT: Final = 10_000
"""A velocity of 1 microstep a second."""
FASTEST: Final = 500_000_000
LONGEST_BLOCK: Final = 14
"""Bytes of the longest answer that still gets a CRC; without one it may be 15."""

_SEVEN_BITS: Final = 0x7F


class Command(IntEnum):
    """What the Tic can be told; `FEEDING` ones also feed its command timeout."""

    SET_TARGET_POSITION = 0xE0
    SET_TARGET_VELOCITY = 0xE3
    HALT_AND_SET_POSITION = 0xEC
    SET_MAX_SPEED = 0xE6
    HALT_AND_HOLD = 0x89
    RESET_COMMAND_TIMEOUT = 0x8C
    ENERGIZE = 0x85
    DEENERGIZE = 0x86
    EXIT_SAFE_START = 0x83
    ENTER_SAFE_START = 0x8F
    RESET = 0xB0
    CLEAR_DRIVER_ERROR = 0x8A
    GET_VARIABLE = 0xA1
    GET_VARIABLE_AND_CLEAR = 0xA2
    GET_SETTING = 0xA8


FEEDING: Final = frozenset(
    {
        Command.SET_TARGET_POSITION,
        Command.SET_TARGET_VELOCITY,
        Command.HALT_AND_SET_POSITION,
        Command.HALT_AND_HOLD,
        Command.ENERGIZE,
        Command.EXIT_SAFE_START,
        Command.RESET,
        Command.RESET_COMMAND_TIMEOUT,
    }
)
"""The commands that feed the command timeout; reading variables does not."""


class State(IntEnum):
    """What the Tic is doing."""

    RESET = 0
    DEENERGIZED = 2
    SOFT_ERROR = 4
    WAITING_FOR_ERR_LINE = 6
    STARTING_UP = 8
    NORMAL = 10


class Fault(IntFlag):
    """Errors: the low half stops the motor while it stands, the high half is only counted."""

    DEENERGIZED = 1 << 0
    MOTOR_DRIVER = 1 << 1
    LOW_VIN = 1 << 2
    KILL_SWITCH = 1 << 3
    INPUT = 1 << 4
    SERIAL = 1 << 5
    COMMAND_TIMEOUT = 1 << 6
    SAFE_START = 1 << 7
    ERR_LINE = 1 << 8
    SERIAL_FRAMING = 1 << 16
    SERIAL_OVERRUN = 1 << 17
    SERIAL_FORMAT = 1 << 18
    SERIAL_CRC = 1 << 19


_SENTENCES: Final = {
    Fault.DEENERGIZED: "the motor is de-energized",
    Fault.MOTOR_DRIVER: "the motor driver reports a fault: too hot, or a coil is short",
    Fault.LOW_VIN: "the motor's supply is too low: look at its power supply",
    Fault.KILL_SWITCH: "the kill switch is pressed",
    Fault.INPUT: "a required input is invalid",
    Fault.SERIAL: "the serial line was disturbed",
    Fault.COMMAND_TIMEOUT: "no command came in time",
    Fault.SAFE_START: "safe start waits for a deliberate start",
    Fault.ERR_LINE: "another device holds the ERR line",
    Fault.SERIAL_FRAMING: "a byte came with a wrong stop bit: look at baud rate and cable",
    Fault.SERIAL_OVERRUN: "bytes came faster than they were taken",
    Fault.SERIAL_FORMAT: "a command was malformed",
    Fault.SERIAL_CRC: "a command came damaged",
}


class TicReplyError(ValueError):
    """An answer that cannot be right."""


@dataclass(frozen=True, slots=True)
class Status:
    """The variables 0x00 to 0x07: state, flags, errors that stand, errors that occurred."""

    state: State
    energized: bool
    position_uncertain: bool
    errors: Fault
    occurred: Fault


@dataclass(frozen=True, slots=True)
class Motion:
    """The variables 0x22 to 0x29: position in microsteps, velocity in microsteps/10 000 s."""

    position: int
    velocity: int


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings 0x01 to 0x0B and 0x53, as much of them as safety depends on.

    Attributes:
        serial_control: Whether it obeys serial commands at all.
        safe_start: Whether it waits for a deliberate start after every error.
        timeout_ms: Of the command timeout; 0 if it is disabled.
        crc_for_commands: Whether damaged commands are recognised.
        crc_for_responses: Whether its answers carry a CRC.
    """

    serial_control: bool
    safe_start: bool
    timeout_ms: int
    crc_for_commands: bool
    crc_for_responses: bool


STATUS: Final = (0x00, 8)
MOTION: Final = (0x22, 8)
VIN: Final = (0x33, 2)
UPTIME: Final = (0x35, 4)
SETTINGS: Final = (0x01, 11)
"""Offset and length of what `parse_…` takes."""


def crc7(data: bytes) -> int:
    """Return the CRC-7 of a packet: polynomial 0x91 reflected, from 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            if crc & 1:
                crc ^= 0x91
            crc >>= 1
    return crc


def quick(command: Command) -> bytes:
    """Return a command without data."""
    return _sealed(bytes([command]))


def write_32(command: Command, value: int) -> bytes:
    """Return a command with a 32-bit number, signed or not.

    Raises:
        ValueError: The number has more than 32 bits.
    """
    if not -(2**31) <= value < 2**32:
        raise ValueError(f"{value} does not fit into 32 bits")
    data = (value & 0xFFFF_FFFF).to_bytes(4, "little")
    high = sum((byte >> 7) << index for index, byte in enumerate(data))
    return _sealed(bytes([command, high, *(byte & _SEVEN_BITS for byte in data)]))


def read_block(command: Command, block: tuple[int, int]) -> bytes:
    """Return the command that reads variables or settings."""
    offset, length = block
    return _sealed(bytes([command, offset, length]))


def answer(data: bytes, length: int, *, crc: bool) -> bytes:
    """Return what an answer of so many bytes carries.

    Args:
        data: Everything that came for it.
        length: How many bytes were asked for.
        crc: Whether the device seals its answers.

    Raises:
        TicReplyError: It is too short, too long or damaged.
    """
    if len(data) != length + crc:
        raise TicReplyError(f"the answer has {len(data)} bytes instead of {length + crc}")
    if crc and crc7(data[:length]) != data[length]:
        raise TicReplyError("the answer came damaged")
    return data[:length]


def parse_status(data: bytes) -> Status:
    """Understand the variables of `STATUS`.

    Raises:
        TicReplyError: No Tic is in such a state.
    """
    state, flags, errors, occurred = struct.unpack("<BBHI", data)
    try:
        known = State(state)
    except ValueError:
        raise TicReplyError(f"there is no state {state}") from None
    return Status(known, bool(flags & 1), bool(flags & 2), Fault(errors), Fault(occurred))


def parse_motion(data: bytes) -> Motion:
    """Understand the variables of `MOTION`.

    Raises:
        TicReplyError: No Tic moves so fast.
    """
    position, velocity = struct.unpack("<ii", data)
    if abs(velocity) > FASTEST:
        raise TicReplyError(f"a velocity of {velocity} is impossible")
    return Motion(position, velocity)


def parse_settings(data: bytes) -> Settings:
    """Understand the settings of `SETTINGS`."""
    control_mode, safe_start, options = data[0], data[2], data[10]
    return Settings(
        serial_control=control_mode == 0,
        safe_start=not safe_start & 1,
        timeout_ms=int.from_bytes(data[8:10], "little"),
        crc_for_commands=bool(options & 1),
        crc_for_responses=bool(options & 2),
    )


def sentences(faults: Fault) -> Iterator[str]:
    """Yield a sentence for people for each error; bits that nobody knows by their number."""
    for bit in range(32):
        fault = faults & (1 << bit)
        if fault:
            yield _SENTENCES.get(Fault(fault), f"error {bit}")


def moved(before: int, after: int) -> int:
    """Return the microsteps from one position to another; the counter wraps around."""
    return (after - before + 2**31) % 2**32 - 2**31


def ahead(position: int, steps: int) -> int:
    """Return the position so many microsteps further, wrapped around as the device does."""
    return moved(0, position + steps)


def _sealed(packet: bytes) -> bytes:
    return packet + bytes([crc7(packet)])
