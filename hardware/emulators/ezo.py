"""What all EZO circuits have in common: commands, codes, streaming, sleep. See HARDWARE.md 1.

One command is done after another, each in its own time; settings survive a reboot as they do a
loss of power, compensation does not.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from hardware.emulators.emulator import EmulatedDevice, Timer
from hardware.emulators.faults import ANYWHERE, Fault

SHORT = 0.3


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command does and how it is answered.

    Attributes:
        lines: Said when it is done …
        code: … followed by this code; "" for none.
        seconds: Until it is done.
        after: Done after all was said.
        code_first: The code is said before the lines.
    """

    lines: tuple[str, ...] = ()
    code: str = "*OK"
    seconds: float = SHORT
    after: Callable[[], None] | None = None
    code_first: bool = False


REFUSED = Reply(code="*ER")


@dataclass(slots=True)
class Firmware:
    """How firmwares differ.

    Attributes:
        version: As told by `i`.
        shouting: Names in answers are in capitals: ``?I,``, ``?CAL,``.
        compensates_at_once: Knows ``RT,t``.
        slope_offset: ``?Slope`` ends with the offset.
        acknowledges_first: Answers ``RT,t`` by ``*OK``, reading and not the other way round; so
            ezo-driver expects it of pH.
    """

    version: str = "2.12"
    shouting: bool = False
    compensates_at_once: bool = True
    slope_offset: bool = True
    acknowledges_first: bool = False


@dataclass(slots=True)
class Settings:
    """What survives a loss of power."""

    continuous: int = 1
    codes: bool = True
    calibration: dict[str, float] = field(default_factory=dict)


class EzoCircuit(EmulatedDevice):
    """A circuit; subclasses have their readings and the commands of their own.

    Args:
        firmware: Which one.
    """

    known_faults: ClassVar[frozenset[Fault]] = ANYWHERE | {Fault.UNSOLICITED}
    chatter: ClassVar[bytes] = b"*UV\r"
    name: ClassVar[str]

    def __init__(self, firmware: Firmware | None = None) -> None:
        self.firmware = Firmware() if firmware is None else firmware
        self.settings = Settings()
        self.asleep = False
        self._heard = b""
        self._waiting: deque[str] = deque()
        self._busy = False
        self._streaming: Timer | None = None

    @abstractmethod
    def reading(self) -> str:
        """Return a reading as it is written; a code where it has none."""

    @abstractmethod
    def perform(self, words: list[str]) -> Reply | None:
        """Do a command of this circuit's own, in capitals; None if it does not know it."""

    def volatile(self) -> None:
        """Forget what does not survive a loss of power."""

    def streamed(self) -> str:
        """Return what is said each second."""
        return self.reading()

    def power_up(self) -> None:
        """Boot."""
        self.asleep = False
        self._heard = b""
        self._waiting.clear()
        self._busy = False
        self.volatile()
        self.say("*RS")
        self.say("*RE")
        self._stream()

    def receive(self, data: bytes) -> None:
        """Hear bytes; the first ones only wake it."""
        if self.asleep:
            self.asleep = False
            self._heard = b""
            self.say("*WA")
            self._stream()
            return
        self._heard += data
        while b"\r" in self._heard:
            line, _, self._heard = self._heard.partition(b"\r")
            self._waiting.append(line.decode("latin-1"))
        self._heard = self._heard[-64:]
        self._next()

    def say(self, line: str) -> None:
        """Say a line."""
        self.line.send(line.encode("latin-1") + b"\r")

    def answer(self, name: str, *fields: str) -> str:
        """Return an answer as this firmware writes it."""
        return ",".join((f"?{name.upper() if self.firmware.shouting else name}", *fields))

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        words = self._waiting.popleft().upper().split(",")
        reply = self._common(words)
        if reply is None:
            reply = self.perform(words)
        done = REFUSED if reply is None else reply
        self.line.later(done.seconds, lambda: self._done(done))

    def _done(self, reply: Reply) -> None:
        said = reply.code and (reply.code != "*OK" or self.settings.codes)
        codes = (reply.code,) if said else ()
        for line in (*codes, *reply.lines) if reply.code_first else (*reply.lines, *codes):
            self.say(line)
        self._busy = False
        if reply.after is not None:
            reply.after()
        self._next()

    def _common(self, words: list[str]) -> Reply | None:
        match words:
            case ["I"]:
                return Reply((self.answer("i", self.name, self.firmware.version),))
            case ["STATUS"]:
                return Reply((self.answer("Status", "P", "5.038"),))
            case ["C", "?"]:
                return Reply((f"?C,{self.settings.continuous}",))
            case ["C", seconds] if seconds.isascii() and seconds.isdigit() and int(seconds) < 100:  # noqa: PLR2004
                self.settings.continuous = int(seconds)
                self._stream()
                return Reply()
            case ["*OK", "?"]:
                return Reply((f"?*OK,{int(self.settings.codes)}",), code="")
            case ["*OK", "0" | "1" as on]:
                self.settings.codes = on == "1"
                return Reply()
            case ["SLEEP"]:
                return Reply(after=self._sleep)
            case ["FACTORY"]:
                return Reply(after=self._factory)
            case ["BAUD" | "I2C", _]:
                return Reply(after=self._leave)
            case _:
                return None

    def _sleep(self) -> None:
        self.asleep = True
        self._waiting.clear()
        self._stream()
        self.say("*SL")

    def _factory(self) -> None:
        self.settings = Settings()
        self.power_up()

    def _leave(self) -> None:
        """Speak another protocol or rate: nothing more is understood on this line."""
        self.asleep = True
        self._stream()

    def _stream(self) -> None:
        if self._streaming is not None:
            self._streaming.cancel()
            self._streaming = None
        if self.settings.continuous and not self.asleep:
            self._streaming = self.line.later(float(self.settings.continuous), self._say_reading)

    def _say_reading(self) -> None:
        self.say(self.streamed())
        self._stream()
