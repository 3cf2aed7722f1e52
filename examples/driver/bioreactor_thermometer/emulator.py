"""The thermometer's other side: what a test, or a developer without one, talks to."""

from hardware.emulators.emulator import EmulatedDevice, Source


class EmulatedThermometer(EmulatedDevice):
    """Answers as the thermometer does.

    Args:
        temperature: What it measures, °C.
    """

    def __init__(self, temperature: Source) -> None:
        self._temperature = temperature
        self._heard = b""

    def power_up(self) -> None:
        """Forget what was half heard."""
        self._heard = b""

    def receive(self, data: bytes) -> None:
        """Answer each whole question."""
        *questions, self._heard = (self._heard + data).split(b"\n")
        for question in questions:
            if question == b"T?":
                self.line.send(f"T={self.line.sense(self._temperature):.2f}\n".encode())
