r"""Commands to one EZO circuit and their answers, kept in step.

The protocol numbers nothing, so an answer that comes late would be taken for that of the next
command. The circuit does answer in order, though: after anything that failed the line is brought
back in step by asking for something that nobody else asks for, and forgetting everything that comes
before its answer. Only then is it asked again. Each time it is another question, so that not even
the late answer to an earlier such question passes for that to this one.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hardware.drivers.ezo.lines import Answer, Code, Line, Noise, NoOutput, Values, number, parse
from hardware.drivers.hearing import Hearing
from hardware.drivers.interface import DriverError
from hardware.drivers.transport import Exchange, PortError, PortTimeoutError, SerialPort

log = logging.getLogger(__name__)

SHORT: Final = 0.3
"""Seconds that any command takes which measures nothing."""
_DRAIN: Final = 1.1
"""Seconds until a circuit that streams each second has fallen silent."""
_MARKERS: Final = (("C,?", "C"), ("Status", "STATUS"), ("i", "I"))
"""Questions that mark a place in what the circuit says, and the names of their answers."""
_RESTARTED: Final = frozenset({"RS", "RE", "WA", "SL"})
_ENDS: Final = _RESTARTED | {"ER"}
_SUPPLY: Final = {"OV": "above 5.5 V", "UV": "below 3.1 V"}


class EzoError(DriverError):
    """The circuit did not do what it was asked to."""


class EzoRefusedError(EzoError):
    """The circuit understood the command and refused it (``*ER``): nothing was changed."""

    def __init__(self, message: str, reasons: tuple[Code, ...] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons


class EzoGarbledError(EzoError):
    """The answer could not be made out, or the circuit restarted instead of answering."""


class EzoWrongCircuitError(EzoError):
    """Another circuit than the one that was expected answers on this port."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take.

    Attributes:
        speed: Seconds of the circuit's time in a real one; only an emulator's is not 1.
        grace: Real seconds beyond the circuit's own time until an answer is given up.
        margin: Real seconds beyond the circuit's own time until its answer is overdue: cables,
            adapters and this computer need some.
    """

    speed: float = 1.0
    grace: float = 0.6
    margin: float = 0.2

    def real(self, seconds: float) -> float:
        """Return the deadline for something that takes so many of the circuit's seconds."""
        return seconds / self.speed + self.grace

    def hearing(self, seconds: float, every: float) -> Hearing:
        """Return what knows whether a circuit answers.

        Args:
            seconds: The circuit's, for the longest answer that is usual.
            every: As in `Hearing`.
        """
        return Hearing(seconds / self.speed + self.margin, every)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answered: the circuit as it calls itself, and its firmware."""

    name: str
    firmware: str

    def __str__(self) -> str:
        return f"EZO-{self.name}, firmware {self.firmware}"


class EzoLink:
    """The conversation with one circuit. Every method may raise `PortError` and `EzoError`.

    Args:
        port: The serial port; entered and left by whoever made it.
        names: What the circuit may call itself, in capitals and without dots.
        pace: How long things take.
        heard: Told each starred code that is not an acknowledgement, asked for or not.
    """

    def __init__(
        self,
        port: SerialPort,
        names: frozenset[str],
        pace: Pace,
        heard: Callable[[Code], None] | None = None,
    ) -> None:
        self.port = port
        self.identity: Identity | None = None
        self.pace = pace
        self._names = names
        self._heard = heard
        self._turn = asyncio.Lock()
        self._in_step: int | None = None
        self._starts = 0
        self._reasons: list[Code] = []

    @property
    def in_step(self) -> bool:
        """Whether the next answer will be that of the next command."""
        return self._in_step == self.port.epoch and self.port.connected

    async def query(
        self,
        command: str,
        seconds: float,
        wanted: Callable[[Line], bool],
        *,
        acknowledged_first: bool = False,
    ) -> Line:
        """Ask something that changes nothing; asked a second time if the answer was not understood.

        Args:
            command: Without its end.
            seconds: How long the circuit takes.
            wanted: Whether a line is the answer.
            acknowledged_first: The acknowledgement may also come before the answer.
        """
        either = acknowledged_first
        async with self._turn:
            try:
                return await self._synchronised(command, seconds, wanted, either=either)
            except EzoRefusedError:
                raise
            except (EzoGarbledError, PortError) as error:
                if not self.port.connected:
                    raise
                log.info("%s: %s; asking once more", self.port, error)
            return await self._synchronised(command, seconds, wanted, either=either)

    async def ask(self, command: str, name: str, seconds: float = SHORT) -> Answer:
        """Ask with a command that is answered by ``?NAME,…``."""
        line = await self.query(
            command, seconds, lambda line: isinstance(line, Answer) and line.name == name
        )
        if not isinstance(line, Answer):
            raise EzoGarbledError(f"the answer to {command} was not understood")
        return line

    async def ask_number(self, command: str, name: str) -> float:
        """Ask with a command whose answer ends with a number."""
        answer = await self.ask(command, name)
        value = number(answer.fields[-1]) if answer.fields else None
        if value is None:
            raise EzoGarbledError(f"the answer to {command} has no number")
        return value

    async def order(
        self, command: str, seconds: float = SHORT, *, allowed: Callable[[], bool] | None = None
    ) -> bool:
        """Tell the circuit to do something; never told twice.

        Args:
            command: Without its end.
            seconds: How long the circuit takes.
            allowed: Asked when the line is ours and in step, just before the command is sent.

        Returns:
            Whether it was sent.
        """
        async with self._turn:
            await self._synchronise()
            if allowed is not None and not allowed():
                return False
            await self._command(command, seconds, None)
        return True

    async def say(self, command: str, seconds: float, wanted: Callable[[Line], bool]) -> None:
        """Say something at once, in step or not, and return when a line is what is wanted.

        For commands that have no acknowledgement and cannot do harm.
        """
        async with self._turn, self.port.exchange(self.pace.real(seconds)) as line:
            self._heed(line)
            await line.write(command.encode("ascii") + b"\r")
            while not wanted(got := self._note(parse(await line.read_line()))):
                if isinstance(got, Code) and got.name in _ENDS:
                    self.lost_step()
                    raise EzoGarbledError(f"{command} was not done")

    async def listen(self) -> None:
        """Wait until the circuit says something unasked, and hear it."""
        await self.port.arrival()
        async with self._turn:
            if self.port.waiting:  # if not, who asked something meanwhile has heard it
                async with self.port.exchange(self.pace.grace) as line:
                    self._note(parse(await line.read_line()))

    async def start(self) -> Identity:
        """Bring the line in step and look who is there; tried twice."""
        async with self._turn:
            try:
                return await self._start()
            except (EzoGarbledError, PortTimeoutError) as error:
                log.info("%s: %s; trying once more", self.port, error)
            return await self._start()

    def lost_step(self) -> None:
        """Bring the line in step before the next command."""
        self._in_step = None

    async def _synchronised(
        self, command: str, seconds: float, wanted: Callable[[Line], bool], *, either: bool
    ) -> Line:
        await self._synchronise()
        return await self._command(command, seconds, wanted, either=either)

    async def _synchronise(self) -> None:
        async with self.port.exchange(self.pace.grace) as line:
            self._heed(line)
        if not self.in_step:
            await self._start()

    async def _command(
        self,
        command: str,
        seconds: float,
        wanted: Callable[[Line], bool] | None,
        *,
        stray: bool = False,
        either: bool = False,
    ) -> Line:
        """Send a command and return its answer; without `wanted`, its acknowledgement.

        Args:
            command: Without its end.
            seconds: How long the circuit takes.
            wanted: Whether a line is the answer.
            stray: Acknowledgements of earlier commands may still come before the answer.
            either: Its own acknowledgement may come before the answer, and then not after it.
        """
        try:
            async with self.port.exchange(self.pace.real(seconds)) as line:
                self._reasons.clear()
                await line.write(command.encode("ascii") + b"\r")
                answer, end = await self._converse(line, wanted, stray=stray, either=either)
        except BaseException:
            self.lost_step()
            raise
        if end.name == "ER":
            raise EzoRefusedError(f"{command} was refused", tuple(self._reasons))
        if end.name in _RESTARTED:
            self.lost_step()
            raise EzoGarbledError(f"it restarted instead of doing {command}")
        if answer is None and wanted is not None:
            raise EzoGarbledError(f"the answer to {command} was not understood")
        return end if answer is None else answer

    async def _converse(
        self,
        line: Exchange,
        wanted: Callable[[Line], bool] | None,
        *,
        stray: bool,
        either: bool,
    ) -> tuple[Line | None, Code]:
        """Read up to the code that ends an answer; return both. What is neither is passed over."""
        answer: Line | None = None
        acknowledged = False
        while True:
            got = self._note(parse(await line.read_line()))
            if wanted is not None and wanted(got):
                answer = got
                if isinstance(got, Code):  # such an answer stands alone
                    return answer, got
                if acknowledged:
                    return answer, Code("OK")
            elif isinstance(got, Code) and got.name in _ENDS:
                return answer, got
            elif got == Code("OK"):
                if answer is not None or wanted is None or not (stray or either):
                    return answer, Code("OK")
                acknowledged = either

    async def _start(self) -> Identity:
        """Do the start sequence: HARDWARE.md 1, "Driver start"."""
        self._in_step = None
        opening = self.port.epoch
        async with self.port.exchange(self.pace.real(_DRAIN)) as line:
            self._heed(line)
            await line.write(b"C,0\r")
            # Whatever it is busy with, streaming or asleep: after this time it has said its last.
            await asyncio.sleep(_DRAIN / self.pace.speed)
            self._heed(line)
        await self._command("*OK,1", SHORT, None)
        await self._command("C,0", SHORT, None)
        marker, name = _MARKERS[self._starts % len(_MARKERS)]
        self._starts += 1
        answer = await self._command(marker, SHORT, _named(name), stray=True)
        if marker != "i":
            answer = await self._command("i", SHORT, _named("I"), stray=True)
        identity = Identity(*answer.fields) if isinstance(answer, Answer) else Identity("", "")
        if identity.name.upper().replace(".", "") not in self._names:
            raise EzoWrongCircuitError(
                f"{self.port} has an EZO-{identity.name} on it and not an EZO-"
                f"{'/'.join(sorted(self._names))}: are two cables swapped?"
            )
        self.identity = identity
        self._in_step = opening
        return identity

    def _heed(self, line: Exchange) -> None:
        """Hear what came unasked before a command, and forget the rest."""
        for raw in line.pending().split(b"\r"):
            self._note(parse(raw), unasked=True)

    def _note(self, line: Line, *, unasked: bool = False) -> Line:
        match line:
            case Code(name="OK" | "ER"):
                pass
            case Code(name="OV" | "UV" as name, fields=()):
                log.warning("%s: its supply is %s", self.port, _SUPPLY[name])
            case Code(name=name):
                self._reasons.append(line)
                if name in _RESTARTED:
                    self.lost_step()
                if self._heard is not None:
                    self._heard(line)
            case Noise(raw=raw) if raw:
                self.port.counters.discarded += len(raw) + 1
            case Values() if unasked:
                self.lost_step()  # it streams again: somebody reset it
            case Noise() | Values() | Answer() | NoOutput():
                pass
        return line


def _named(name: str) -> Callable[[Line], bool]:
    """Return what tells whether a line is the answer of this name, whole."""
    fields = {"C": 1}.get(name, 2)
    return lambda line: (
        isinstance(line, Answer) and line.name == name and len(line.fields) == fields
    )
