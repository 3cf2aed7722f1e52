from typing import ClassVar

from hardware.emulators.emulator import Constant, EmulatedDevice
from hardware.emulators.faults import Fault


class Echo(EmulatedDevice):
    """Says back each line in capitals; `?` is answered with what it measures."""

    known_faults: ClassVar[frozenset[Fault]] = frozenset(Fault)
    chatter: ClassVar[bytes] = b"*HELLO\r"

    def __init__(self) -> None:
        self.source = Constant(1.0)
        self.heard = b""

    def power_up(self) -> None:
        self.heard = b""
        self.line.send(b"*BOOT\r")

    def receive(self, data: bytes) -> None:
        self.heard += data
        while b"\r" in self.heard:
            line, _, self.heard = self.heard.partition(b"\r")
            if line == b"?":
                line = str(self.line.sense(self.source)).encode()
            self.line.send(line.upper() + b"\r")
