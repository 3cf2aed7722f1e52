"""One connection of a script to its gateway: bounded in number, each refusal typed like any other.

A script may open connections without end, leave requests half sent or send no HTTP at all. Each
open connection takes a file descriptor of the node's process, which needs them for its reactor and
its record; so only so many are kept, and whoever comes then is told at once.
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from broker.messages import Error, ErrorCode
from node_service.gateway import answer

MAX_CONNECTIONS: Final = 64
MAX_HEADERS: Final = 16 * 1024
"""Bytes of a request's line and headers."""
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


class ScriptConnection(H11Protocol):
    """What uvicorn does with a connection, and the bounds of the gateway."""

    _refused = False

    def connection_made(  # type: ignore[override]  # a narrower transport, as in uvicorn itself
        self, transport: asyncio.Transport
    ) -> None:
        """Keep the connection, or say that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > 2 * MAX_CONNECTIONS:
            self._refused = True
            transport.abort()
        elif len(self.connections) > MAX_CONNECTIONS:
            self._refuse(_BUSY)

    def data_received(self, data: bytes) -> None:
        """Take what came, or drop what a refused one goes on sending."""
        if not self._refused:
            super().data_received(data)

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
