"""Byte streams to a broker: TCP, unix socket, TLS, WebSocket; opened without blocking the loop.

A stream is what paho takes for a socket. paho's own WebSocket wrapper is not used: when the
socket's buffer is full it forgets the rest of a packet (so a 256 KiB batch may never arrive whole),
and it masks byte by byte in Python. Reads are buffered, since paho asks for single bytes.
"""

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from broker.settings import BrokerSettings, Endpoint

_frames_log = logging.getLogger(f"{__name__}.frames")
_frames_log.setLevel(logging.WARNING)  # at DEBUG websockets logs frames, and so passwords

_CHUNK: Final = 256 * 1024
_MOSQUITTO_PIECE: Final = 4000
_Address = str | tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


class BadCertificateFileError(OSError):
    """A file with certificates or a key cannot be used."""

    def __init__(self, file: Path | None, error: OSError, key: Path | None = None) -> None:
        names = " and ".join(str(name) for name in (file, key) if name is not None)
        why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        super().__init__(f"{names} cannot be used: {why}")


class Stream:
    """A connected socket without blocking, plain or TLS, with a read buffer.

    Attributes:
        refused: What the broker said against us, where TLS says it. With TLS 1.3 it looks at our
            certificate after the handshake, so that is heard only when something is read.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.refused: ssl.SSLError | None = None
        self._sock = sock
        self._incoming = bytearray()

    @property
    def pending(self) -> bool:
        """Whether bytes are here already that the selector does not know of."""
        return bool(self._incoming) or (
            isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0
        )

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end of the stream.

        Raises:
            BlockingIOError: Nothing has arrived.
            OSError: The connection is broken.
        """
        if not self._incoming and not self._fill():
            return b""
        data = bytes(self._incoming[:size])
        del self._incoming[:size]
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Send what fits.

        Raises:
            BlockingIOError: Nothing fits; offer the same bytes again.
            OSError: The connection is broken.
        """
        try:
            return self._sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """Do nothing: a stream never blocks."""

    def close(self) -> None:
        """Close the socket at once."""
        self._sock.close()

    async def finish(self) -> None:
        """Read to the end, then close.

        Closing a socket with unread data resets the connection, and the reset may overtake the
        last bytes sent, so that the broker would take a clean end for a lost link.
        """
        loop = asyncio.get_running_loop()
        try:
            if not isinstance(self._sock, ssl.SSLSocket):
                self._sock.shutdown(socket.SHUT_WR)
            while True:
                try:
                    if not self._receive():
                        return
                except BlockingIOError:
                    await _ready(loop, self._sock)
        except OSError:
            return  # the other side was faster: nothing is left to save
        finally:
            self.close()

    def listen_for_refusal(self) -> None:
        """Take what came before a write failed: it may say why the broker hung up."""
        try:
            while self._receive():
                pass
        except OSError:
            return

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(_CHUNK)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLError as error:
            self.refused = self.refused or error
            raise

    def _fill(self) -> bool:
        """Read into the buffer; False at the end of the stream."""
        data = self._receive()
        self._incoming += data
        return bool(data)


class WebSocketStream(Stream):
    """MQTT in binary WebSocket frames."""

    def __init__(self, sock: socket.socket, protocol: ClientProtocol) -> None:
        super().__init__(sock)
        self._protocol = protocol
        self._outgoing = bytearray()
        self._framed = False
        self._take_events()

    def send(self, data: bytes | bytearray) -> int:
        """Send all of it in one frame.

        Raises:
            BlockingIOError: The frame is made but not all of it is sent; offer the same again.
            OSError: The connection is broken.
        """
        if not self._framed:
            self._protocol.send_binary(data)
            self._collect()
            self._framed = True
        self._flush()
        if self._outgoing:
            raise BlockingIOError
        self._framed = False
        if len(data) > _MOSQUITTO_PIECE:
            self._nudge()
        return len(data)

    def _fill(self) -> bool:
        data = self._receive()
        if not data:
            return False
        self._protocol.receive_data(data)
        if not self._take_events() and self._protocol.state is State.OPEN:
            self._protocol.send_pong(b"")  # in the middle of a frame; see _nudge
        self._collect()
        if not self._framed:
            self._flush()
        if self._protocol.parser_exc is not None:
            raise ConnectionError(
                f"the broker broke the WebSocket protocol: {self._protocol.parser_exc}"
            )
        if self._incoming:
            return True
        if self._protocol.state is not State.OPEN:
            return False
        raise BlockingIOError

    def _nudge(self) -> None:
        """Send a pong that nobody asked for.

        Mosquitto's WebSocket listener takes and gives 4 KiB whenever its loop turns: ten times a
        second, or when something arrives. So each larger message would take 0.1 s, and its reader
        would get 40 KiB/s. The pong, which the protocol allows at any time, turns the loop at once.
        """
        self._protocol.send_pong(b"")
        self._collect()
        self._flush()

    def _take_events(self) -> bool:
        """Take the payloads of complete frames; False if there was no complete frame."""
        events = self._protocol.events_received()
        for event in events:
            if isinstance(event, Frame) and event.opcode in {Opcode.BINARY, Opcode.CONT}:
                self._incoming += event.data
        return bool(events)

    def _collect(self) -> None:
        for data in self._protocol.data_to_send():
            self._outgoing += data

    def _flush(self) -> None:
        while self._outgoing:
            try:
                sent = super().send(self._outgoing)
            except BlockingIOError:
                return
            del self._outgoing[:sent]


async def open_stream(settings: BrokerSettings) -> Stream:
    """Connect, encrypt, upgrade, as the settings say.

    Raises:
        OSError: It failed; the message says why.
    """
    endpoint = settings.endpoint
    sock = await _connect(endpoint)
    try:
        if endpoint.tls:
            sock = await _encrypt(sock, endpoint, settings)
        if endpoint.transport == "websockets":
            return await _upgrade(sock, endpoint)
    except BaseException:
        sock.close()
        raise
    return Stream(sock)


async def _connect(endpoint: Endpoint) -> socket.socket:
    loop = asyncio.get_running_loop()
    if endpoint.transport == "unix":
        return await _connect_one(loop, socket.AF_UNIX, endpoint.path)
    found = await _resolve(loop, endpoint)
    failure: OSError = ConnectionError(f"{endpoint.host} has no address")
    for family, address in found:
        try:
            sock = await _connect_one(loop, family, address)
        except OSError as error:
            failure = error
            continue
        # Nagle's algorithm would hold each small packet back until the last was acknowledged.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    raise failure


async def _resolve(
    loop: asyncio.AbstractEventLoop, endpoint: Endpoint
) -> list[tuple[int, _Address]]:
    """Look a name up in a thread of the loop; an address needs neither."""
    where = (endpoint.host, endpoint.port)
    try:
        found = socket.getaddrinfo(*where, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await loop.getaddrinfo(*where, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


async def _connect_one(
    loop: asyncio.AbstractEventLoop, family: int, address: _Address
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _encrypt(
    sock: socket.socket, endpoint: Endpoint, settings: BrokerSettings
) -> ssl.SSLSocket:
    loop = asyncio.get_running_loop()
    context = _trust(settings)
    wrapped = context.wrap_socket(
        sock, server_hostname=endpoint.host, do_handshake_on_connect=False
    )
    try:
        while True:
            try:
                wrapped.do_handshake()
            except ssl.SSLWantReadError:
                await _ready(loop, wrapped)
            except ssl.SSLWantWriteError:
                await _ready(loop, wrapped, write=True)
            else:
                return wrapped
    except BaseException:
        wrapped.close()
        raise


def _trust(settings: BrokerSettings) -> ssl.SSLContext:
    """Read the certificates anew at each connect, so that renewed ones need no restart."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise BadCertificateFileError(settings.ca_file, error) from error
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except (OSError, ssl.SSLError) as error:
            raise BadCertificateFileError(settings.cert_file, error, settings.key_file) from error
    return context


async def _upgrade(sock: socket.socket, endpoint: Endpoint) -> WebSocketStream:
    loop = asyncio.get_running_loop()
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    scheme = "wss" if endpoint.tls else "ws"
    protocol = ClientProtocol(
        parse_uri(f"{scheme}://{host}:{endpoint.port}{endpoint.path}"),
        subprotocols=[Subprotocol("mqtt")],
        max_size=None,  # the broker bounds its messages
        logger=_frames_log,
    )
    protocol.send_request(protocol.connect())
    raw = Stream(sock)
    outgoing = b"".join(protocol.data_to_send())
    while outgoing:
        try:
            outgoing = outgoing[raw.send(outgoing) :]
        except BlockingIOError:
            await _ready(loop, sock, write=True)
        except OSError as error:
            raw.listen_for_refusal()
            raise (raw.refused or error) from error
    while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
        try:
            data = raw.recv(_CHUNK)
        except BlockingIOError:
            await _ready(loop, sock)
            continue
        if not data:
            protocol.receive_eof()
            break
        protocol.receive_data(data)
    if protocol.handshake_exc is not None:
        failure = protocol.handshake_exc
        what = "refused the WebSocket" if isinstance(failure, InvalidHandshake) else "hung up"
        raise ConnectionError(f"the broker {what}: {failure}")
    return WebSocketStream(sock, protocol)


async def _ready(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, *, write: bool = False
) -> None:
    """Wait until the socket can be read or written."""
    done = loop.create_future()

    def wake() -> None:
        if not done.done():
            done.set_result(None)

    number = sock.fileno()
    (loop.add_writer if write else loop.add_reader)(number, wake)
    try:
        await done
    finally:
        (loop.remove_writer if write else loop.remove_reader)(number)
