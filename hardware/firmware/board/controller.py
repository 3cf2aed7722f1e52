"""The board's loop: guard first, then listen, then measure."""

from .commands import RefusedError, obey
from .line import opened, sealed
from .settings import WATCHDOG
from .state import Parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hardware.firmware.pins import Machine, Port, Ticks

_DAMAGED = sealed("<- error damaged")


class Controller:
    """A board that was just switched on: every output is off, nobody is in control."""

    def __init__(self, machine: "Machine", ticks: "Ticks", port: "Port") -> None:
        self.parts = Parts(machine, ticks)
        self._port = port
        self._waiting = 0

    def step(self) -> None:
        """Do what is due now; never waits."""
        parts = self.parts
        parts.thermometer.step()
        parts.guard_heater()
        if parts.host.check():
            parts.switch_off()
            if parts.optics.busy:
                parts.optics.stop()
                self._reply(self._waiting, "error lost")
        for line in parts.reader.feed(self._port.read()):
            self._answer(line)
        fields = parts.optics.step()
        if fields is not None:
            self._accept(self._waiting, fields)

    def _answer(self, line: bytes) -> None:
        request = opened(line)
        if request is None:
            self.parts.reader.damaged += 1
            self._port.write(_DAMAGED)
            return
        number, words = request
        try:
            fields = obey(self.parts, words)
        except RefusedError as refusal:
            self._reply(number, f"error {refusal}")
            return
        if fields is None:
            self._waiting = number
        else:
            self._accept(number, fields)

    def _accept(self, number: int, fields: "list[str]") -> None:
        self._reply(number, " ".join(["ok"] + fields))  # noqa: RUF005 - MicroPython's is shorter so

    def _reply(self, number: int, text: str) -> None:
        self._port.write(sealed(f"<{number} {text}"))


def run(machine: "Machine", ticks: "Ticks", port: "Port") -> None:
    """Be the board for ever."""
    controller = Controller(machine, ticks, port)
    watchdog = machine.WDT(timeout=WATCHDOG)
    while True:
        controller.step()
        watchdog.feed()
        machine.idle()
