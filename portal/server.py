"""The HTTP server around the application: uvicorn, with what it lacks for stalled viewers."""

import logging
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from portal.settings import PortalSettings
from portal.websocket import MAX_MESSAGE_BYTES

_log = logging.getLogger(__name__)

_SHUTDOWN_SECONDS = 5
_KEEP_ALIVE_SECONDS = 75


class ListenError(Exception):
    """Nobody can listen there; the message says why and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound; the server listens on it.

    Raises:
        ListenError: The port is in use, the address is not this machine's, or it is forbidden.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: else asyncio leaves Nagle's algorithm on, which costs 40 ms an answer.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ListenError(
            f"cannot listen on {host} port {port} ({why.lower()}): stop what uses it, or set host "
            "and port in [portal]"
        ) from error
    return bound


class ViewerProtocol(WebSocketsSansIOProtocol):
    """A WebSocket whose connection ends when the portal is done with it.

    Closing politely waits until the peer has taken what is in the buffer; a stalled one never
    does, and its socket would stay for ever.
    """

    async def run_asgi(self) -> None:
        """Serve, then let go even of a peer that takes nothing."""
        await super().run_asgi()
        if self.transport.get_write_buffer_size():
            self.transport.abort()


class Server(uvicorn.Server):
    """A server that leaves signals to who runs it.

    uvicorn raises a signal again when it has stopped, which would end the process before the
    portal has said goodbye to the broker.

    Args:
        config: uvicorn's.
        listening: Called when it listens.
    """

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        if self.started:
            self._listening()
        for listening in self.servers if self.started else ():
            for each in listening.sockets:
                host, port = each.getsockname()[:2]
                scheme = "https" if self.config.is_ssl else "http"
                _log.info("serving %s://%s:%s", scheme, f"[{host}]" if ":" in host else host, port)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


def make_server(
    app: FastAPI, settings: PortalSettings, listening: Callable[[], None] = lambda: None
) -> Server:
    """Return the server, not started yet; `listening` is called when it listens."""
    return Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
            ws=ViewerProtocol,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=20.0,
            ws_ping_timeout=20.0,
            http="h11",
            h11_max_incomplete_event_size=32 * 1024,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            log_config=None,
            lifespan="on",
        ),
        listening,
    )
