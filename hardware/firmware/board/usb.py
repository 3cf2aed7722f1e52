"""The USB port as a line to the host: MicroPython shows it as standard input and output."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hardware.firmware.pins import Poll, Sink, Source

_MOST = 256


class UsbPort:
    """Reads byte by byte, for a longer read would wait until all of it has come."""

    def __init__(self, source: "Source", sink: "Sink", poll: "Poll") -> None:
        self._source = source
        self._sink = sink
        self._poll = poll

    def read(self) -> bytes:
        """Return what has come."""
        data = b""
        while len(data) < _MOST and self._poll.poll(0):
            more = self._source.read(1)
            if not more:
                break
            data += more
        return data

    def write(self, data: bytes) -> None:
        """Send."""
        self._sink.write(data)
