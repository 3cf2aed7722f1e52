"""A Pololu Tic on its TTL serial line: safe start, command timeout, a motor that ramps.

Sources: Tic user's guide (Pololu document 0J71, sections 5 to 9). Where it errs it does so as the
guide says: an error stops the motor, and in serial mode safe start then waits for a deliberate
start.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from hardware.emulators.emulator import Constant, EmulatedDevice, Source
from hardware.emulators.faults import ANYWHERE, Fault
from hardware.emulators.stepper import Stepper

_POLOLU: Final = 0xAA
_QUICK: Final = frozenset({0x89, 0x8C, 0x85, 0x86, 0x83, 0x8F, 0xB0, 0x8A})
_SEVEN: Final = frozenset({0x94, 0x91, 0x92, 0x97, 0x98})
_LONG: Final = frozenset({0xE0, 0xE3, 0xEC, 0xE6, 0xE5, 0xEA, 0xE9})
_READ, _READ_AND_CLEAR, _READ_SETTING = 0xA1, 0xA2, 0xA8
_BLOCK: Final = frozenset({_READ, _READ_AND_CLEAR, _READ_SETTING})
_FEEDING: Final = frozenset({0xE0, 0xE3, 0xEC, 0x89, 0x85, 0x83, 0xB0, 0x8C})

_DEENERGIZED, _LOW_VIN, _KILL, _TIMEOUT, _SAFE_START = 1 << 0, 1 << 2, 1 << 3, 1 << 6, 1 << 7
_FORMAT, _CRC = 1 << 18, 1 << 19
_CUTTING: Final = _DEENERGIZED | _LOW_VIN
"""Errors that take the current from the coils; the others let the motor hold."""

_STEP: Final = 0.001
_DELIBERATE: Final = 0.2
"""Seconds that exit safe start holds."""
_WAKING: Final = 0.01
"""Seconds after power-up or reset during which nothing is heard."""
_UNIT: Final = 10_000.0
_LOWEST_VIN: Final = 8.5
_LONGEST_BLOCK, _SEALED_MOST = 15, 14
_HEADER: Final = 2
"""Bytes before the command in the Pololu protocol."""


@dataclass(slots=True)
class TicSettings:
    """What is kept in the Tic; set over USB, only read over serial.

    Attributes:
        timeout_ms: Of the command timeout, 0 disables it.
        max_speed: Microsteps a 10 000 s.
        max_acceleration: Microsteps a second, a 100 s.
        device_number: For the Pololu protocol.
        crc_for_commands: Whether each command must carry a CRC.
        crc_for_responses: Whether answers of up to 14 bytes carry one.
        control_mode: 0 obeys serial commands.
    """

    timeout_ms: int = 1000
    max_speed: int = 2_000_000
    max_acceleration: int = 40_000
    device_number: int = 0x0E
    crc_for_commands: bool = False
    crc_for_responses: bool = False
    safe_start: bool = True
    control_mode: int = 0

    def image(self) -> bytearray:
        """Return the settings as they lie in the device."""
        image = bytearray(256)
        image[0x01] = self.control_mode
        image[0x03] = not self.safe_start
        image[0x07] = self.device_number
        struct.pack_into("<H", image, 0x09, self.timeout_ms)
        image[0x0B] = self.crc_for_commands | self.crc_for_responses << 1
        struct.pack_into("<I", image, 0x47, self.max_speed)
        struct.pack_into("<II", image, 0x4B, self.max_acceleration, self.max_acceleration)
        image[0x53] = 2  # decelerate to hold
        return image


@dataclass(slots=True)
class _Packet:
    """A command as far as it has come."""

    command: int | None = None
    wanted: int = 0
    addressed: bool = True
    raw: bytearray = field(default_factory=bytearray)
    data: bytearray = field(default_factory=bytearray)


class EmulatedTic(EmulatedDevice):
    """The controller with its motor.

    Args:
        settings: What is kept in it.
        vin: Volts of the motor's supply.
        kill_switch: Whether it is pressed.
        turning: Told the microsteps that the motor made, when time is looked at.
    """

    known_faults: ClassVar[frozenset[Fault]] = ANYWHERE | {Fault.CORRUPT}

    def __init__(
        self,
        settings: TicSettings | None = None,
        *,
        vin: Source | None = None,
        kill_switch: Callable[[], bool] = lambda: False,
        turning: Callable[[float], None] = lambda _steps: None,
    ) -> None:
        self.settings = TicSettings() if settings is None else settings
        self._vin = Constant(12.0) if vin is None else vin
        self._kill_switch = kill_switch
        self._turning = turning
        self._motor = Stepper()
        self._packet = _Packet()
        self._errors = 0
        self._occurred = 0
        self._energized = False
        self._started = False
        self._deliberate_until = -math.inf
        self._fed_at = self._time = self._woken_at = 0.0

    def power_up(self) -> None:
        """Start: nothing moves before somebody says so."""
        self._time = self._woken_at = self._fed_at = self.line.now()
        self._motor = Stepper(
            max_speed=self.settings.max_speed / _UNIT,
            acceleration=self.settings.max_acceleration / 100.0,
        )
        self._packet = _Packet()
        self._energized = self._started = False
        self._occurred = 0
        self._errors = _SAFE_START if self.settings.safe_start else 0

    def steps(self) -> float:
        """Return the motor's true position in microsteps."""
        self._advance()
        return self._motor.position

    def energized(self) -> bool:
        """Return whether current flows through the coils."""
        self._advance()
        return self._energized

    def receive(self, data: bytes) -> None:
        """Hear commands."""
        self._advance()
        for byte in data:
            if self.line.now() - self._woken_at >= _WAKING:
                self._hear(byte)

    # The line.

    def _hear(self, byte: int) -> None:
        packet = self._packet
        if byte & 0x80:
            if packet.command is not None or packet.raw:
                self._occur(_FORMAT)
            self._packet = packet = _Packet(raw=bytearray([byte]))
            if byte != _POLOLU:
                self._begin(packet, byte)
        elif packet.command is None and not packet.raw:
            self._occur(_FORMAT)
            return
        else:
            packet.raw.append(byte)
            if packet.command is None:
                if len(packet.raw) == _HEADER:
                    packet.addressed = byte == self.settings.device_number
                else:
                    self._begin(packet, byte | 0x80)
            else:
                packet.data.append(byte)
        if packet.command is not None and len(packet.data) == packet.wanted:
            self._packet = _Packet()
            self._complete(packet)

    def _begin(self, packet: _Packet, command: int) -> None:
        sizes = ((_QUICK, 0), (_SEVEN, 1), (_LONG, 5), (_BLOCK, 2))
        for commands, size in sizes:
            if command in commands:
                packet.command = command
                packet.wanted = size + self.settings.crc_for_commands
                return
        self._occur(_FORMAT)
        self._packet = _Packet()

    def _complete(self, packet: _Packet) -> None:
        command, data = packet.command, bytes(packet.data)
        assert command is not None  # noqa: S101 - a complete packet has one
        if self.settings.crc_for_commands:
            if _crc7(bytes(packet.raw[:-1])) != data[-1]:
                self._occur(_CRC)
                return
            data = data[:-1]
        if not packet.addressed:
            return
        if command in _FEEDING:
            self._fed_at = self._time
            self._errors &= ~_TIMEOUT
        if command in _BLOCK:
            self._answer(command, data[0] | (data[1] & 0x40) << 1, data[1] & 0x3F)
        elif command in _LONG:
            self._set(command, _number(data))
        else:
            self._do(command)
        self._judge()

    def _do(self, command: int) -> None:
        match command:
            case 0x89:
                self._motor.halt()
            case 0x85:
                self._errors &= ~_DEENERGIZED
            case 0x86:
                self._raise(_DEENERGIZED)
            case 0x83:
                self._errors &= ~_SAFE_START
                self._deliberate_until = self._time + _DELIBERATE
            case 0x8F:
                self._raise(_SAFE_START)
            case 0xB0:
                self.power_up()
            case _:  # 8C has fed the timeout; the rest sets what nobody looks at
                pass

    def _set(self, command: int, value: int) -> None:
        motor = self._motor
        match command:
            case 0xE0:
                motor.target_position = value
            case 0xE3:
                motor.target_position, motor.target_velocity = None, value / _UNIT
            case 0xEC:
                motor.halt()
                motor.position = float(value)
            case 0xE6:
                motor.max_speed = (value % 2**32) / _UNIT
            case 0xEA:
                motor.acceleration = (value % 2**32) / 100.0
            case _:
                pass

    def _answer(self, command: int, offset: int, length: int) -> None:
        if not 1 <= length <= _LONGEST_BLOCK:
            self._occur(_FORMAT)
            return
        image = self.settings.image() if command == _READ_SETTING else self._variables()
        data = bytes(image[offset : offset + length])
        if self.settings.crc_for_responses and length <= _SEALED_MOST:
            data += bytes([_crc7(data)])
        if command == _READ_AND_CLEAR:
            self._occurred = 0
        self.line.send(data)

    def _variables(self) -> bytearray:
        image = bytearray(256)
        flags = int(self._energized) | (not self._started) << 1
        struct.pack_into(
            "<BBHI", image, 0, self._state(), flags, self._errors & 0xFFFF, self._occurred
        )
        motor = self._motor
        image[0x09] = 0 if motor.still() else 1 if motor.target_position is not None else 2
        struct.pack_into("<i", image, 0x0A, motor.target_position or 0)
        struct.pack_into("<i", image, 0x0E, round(motor.target_velocity * _UNIT))
        struct.pack_into("<I", image, 0x16, round(motor.max_speed * _UNIT))
        position = self.line.sense(self._position)
        struct.pack_into("<i", image, 0x22, int(position))
        struct.pack_into("<i", image, 0x26, round(motor.velocity * _UNIT))
        uptime = round((self._time - self._woken_at) * 1000) % 2**32
        struct.pack_into("<HI", image, 0x33, round(self.line.sense(self._vin) * 1000), uptime)
        return image

    def _position(self) -> float:
        return (round(self._motor.position) + 2**31) % 2**32 - 2**31

    # What the device does by itself.

    def _state(self) -> int:
        if self.line.now() - self._woken_at < _WAKING:
            return 0
        if self._errors & _CUTTING or not self._energized:
            return 2
        return 4 if self._errors else 10

    def _occur(self, error: int) -> None:
        self._occurred |= error

    def _raise(self, error: int) -> None:
        """An error stands: in serial mode safe start follows."""
        self._errors |= error
        if self.settings.safe_start:
            self._errors |= _SAFE_START
        self._occurred |= self._errors

    def _judge(self) -> None:
        """Bring motor and coils to what the errors allow."""
        if self._errors & _CUTTING:
            self._energized = False
            self._motor.halt()
        elif self._errors:
            self._motor.slow_down()
        else:
            self._energized = self._started = True

    def _advance(self) -> None:
        """Let the time pass that has passed."""
        now = self.line.now()
        while self._time < now:
            self._guard()
            if self._motor.still():
                self._time = min(now, max(self._next_instant(), self._time + _STEP))
                continue
            seconds = min(_STEP, now - self._time)
            before = self._motor.position
            self._motor.step(seconds)
            self._turning(self._motor.position - before)
            self._time += seconds
        self._guard()

    def _next_instant(self) -> float:
        """Return when something may happen although nothing moves."""
        instants = [self._deliberate_until]
        if self.settings.timeout_ms:
            instants.append(self._fed_at + self.settings.timeout_ms / 1000.0)
        return min((at for at in instants if at > self._time), default=math.inf)

    def _guard(self) -> None:
        before = self._errors
        timeout = self.settings.timeout_ms / 1000.0
        if timeout and self._time - self._fed_at >= timeout and not self._errors & _TIMEOUT:
            self._raise(_TIMEOUT)
        for error, stands in (
            (_LOW_VIN, self._vin() < _LOWEST_VIN),
            (_KILL, self._kill_switch()),
        ):
            if stands and not self._errors & error:
                self._raise(error)
            elif not stands:
                self._errors &= ~error
        over = 0 <= self._time - self._deliberate_until < 1.0
        if over and self.settings.safe_start and not self._started_by_now():
            self._errors |= _SAFE_START
        if self._errors != before:
            self._judge()

    def _started_by_now(self) -> bool:
        """Whether the deliberate start led to anything; it counts no longer after its time."""
        started = not self._errors
        if started:
            self._deliberate_until = -math.inf
        return started


def _number(data: bytes) -> int:
    raw = bytes(low | (data[0] >> index & 1) << 7 for index, low in enumerate(data[1:]))
    return int.from_bytes(raw, "little", signed=True)


def _crc7(data: bytes) -> int:
    """Return the CRC as the guide reckons it, bit by bit; not the driver's, to check that."""
    crc = 0
    for bit in (byte >> index & 1 for byte in data for index in range(8)):
        crc ^= bit
        crc = (crc ^ 0x91) >> 1 if crc & 1 else crc >> 1
    return crc
