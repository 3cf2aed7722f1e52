"""One connection of a script to its gateway: bounded in number, each refusal typed like any other.

A script may open connections without end, leave requests half sent or send no HTTP at all. Each
open connection takes a file descriptor of the node's process, which needs them for its reactor and
its record; so only so many are kept, and whoever comes then is told at once.

Bytes that cost their sender nothing may cost this process much: a body in chunks of one byte
takes ten thousand times as long as one in a single piece. So what comes is taken apart a little at
a time, for no more than a part of the event loop's time, by all connections together.
"""

import asyncio
import time
from collections import deque
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from broker.messages import Error, ErrorCode
from node_service.gateway import answer

MAX_CONNECTIONS: Final = 64
MAX_HEADERS: Final = 16 * 1024
"""Bytes of a request's line and headers."""
PIECE: Final = 2 * 1024
"""Bytes that are taken apart in one turn of the event loop."""
PART: Final = 0.5
"""Of the event loop's time, for taking apart what scripts send."""
_BURST_SECONDS: Final = 0.02
_LOOK_SECONDS: Final = 0.001
_LINGER_SECONDS: Final = 1.0

_BUSY: Final = Error(
    code=ErrorCode.UNAVAILABLE,
    message=f"this experiment has {MAX_CONNECTIONS} connections open, and may not have more",
    hint="close those that are not needed, then call again",
    details={"limit": MAX_CONNECTIONS},
)
_NO_HTTP: Final = Error(
    code=ErrorCode.MALFORMED,
    message=f"this is no HTTP request, or its headers have more than {MAX_HEADERS} bytes",
    hint="send HTTP/1.1, for example with curl --unix-socket",
)


class Share:
    """Says how long to wait so that what is done takes no more than `PART` of the time."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def wait(self) -> float:
        """Return in how many seconds more may be done."""
        return max(0.0, self._free_at - time.monotonic())

    def took(self, seconds: float) -> None:
        """Count the processor time of what was done."""
        earliest = time.monotonic() - _BURST_SECONDS
        self._free_at = max(self._free_at, earliest) + seconds / PART


class ScriptConnection(H11Protocol):
    """What uvicorn does with a connection, and the bounds of the gateway."""

    _refused = False
    _share: Final = Share()
    """Of the process: it has one event loop."""

    def connection_made(  # type: ignore[override]  # a narrower transport, as in uvicorn itself
        self, transport: asyncio.Transport
    ) -> None:
        """Keep the connection, or say that there are too many."""
        super().connection_made(transport)
        self._pieces: deque[bytes] = deque()
        if len(self.connections) > 2 * MAX_CONNECTIONS:
            self._refused = True
            transport.abort()
        elif len(self.connections) > MAX_CONNECTIONS:
            self._refuse(_BUSY)

    def data_received(self, data: bytes) -> None:
        """Take what came, or drop what a refused one goes on sending."""
        if self._refused:
            return
        idle = not self._pieces
        self._pieces.extend(data[at : at + PIECE] for at in range(0, len(data), PIECE))
        if idle:
            self._take()
        else:  # the flow of what is taken apart already had it read on
            self.transport.pause_reading()

    def _take(self) -> None:
        """Take the next piece apart, if it is its turn."""
        wait = self._share.wait()
        if not wait and not self.flow.read_paused:
            began = time.thread_time()
            super().data_received(self._pieces.popleft())
            self._share.took(time.thread_time() - began)
        if self._refused or self.transport.is_closing():
            self._pieces.clear()
        elif self._pieces:
            self.transport.pause_reading()
            if self.flow.read_paused:  # what waits already is taken first
                wait = max(wait, _LOOK_SECONDS)
            self.loop.call_later(wait, self._take)
        elif not self.flow.read_paused:
            self.transport.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """Tell what was wrong as all other errors are told; the connection ends with that."""
        del msg  # "Invalid HTTP request received."
        self._refuse(_NO_HTTP)

    def _refuse(self, error: Error) -> None:
        """Answer and hang up; closed with something unread, the answer might never be seen."""
        self._refused = True
        self.transport.write(_raw(error))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)


def _raw(error: Error) -> bytes:
    """Return a whole HTTP response, without the state of any connection."""
    told = answer(error)
    headers = [*told.raw_headers, (b"connection", b"close")]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return f"HTTP/1.1 {told.status_code} \r\n".encode() + lines + b"\r\n" + bytes(told.body)
