"""Parsers behind an HTTP server, as targets: raw bytes of a connection, forms, queries."""

import asyncio
import itertools
import socket
import tempfile
from collections.abc import Coroutine
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_from_bytes
from zlib import crc32

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from broker.connection import Connection
from broker.settings import BrokerSettings
from node_service.gateway_protocol import MAX_HEADERS, ScriptConnection
from node_service.gateway_server import Guard
from portal.app import create_app
from portal.security import MAX_BODY_BYTES
from portal.settings import PortalSettings
from portal.upload_form import Upload, read_upload

_HERE: Final = tempfile.TemporaryDirectory(prefix="fuzz-portal-")
_PATIENCE_S: Final = 20
_IN_A_QUERY: Final = "".join(map(chr, range(0x21, 0x7F)))
"""The server refuses other characters before."""
QUERIES: Final = (
    "/api/experiments",
    "/api/experiments/user",
    "/api/experiments/01JM9ZQ8E6Y7W5V4T3S2R1Q0P9/history",
    "/api/experiments/01JM9ZQ8E6Y7W5V4T3S2R1Q0P9/telemetry",
    "/api/experiments/01JM9ZQ8E6Y7W5V4T3S2R1Q0P9/logs",
    "/api/nodes",
    "/api/audit",
    "/upload",
    "/my-experiments",
    "/queue",
)
"""What takes a query."""


class WrongAnswerError(Exception):
    """An answer that says that the fault is the server's, or none."""


def script_connection(data: bytes) -> None:
    """Send bytes to the gateway as a script may; each answer is HTTP, and none is a fault."""
    _wait(_spoken(data))


async def _spoken(data: bytes) -> None:
    seconds = itertools.count()  # nobody is slowed down
    config = uvicorn.Config(
        Guard(_obliging, lambda: None, lambda: float(next(seconds))),
        http=ScriptConnection,
        h11_max_incomplete_event_size=MAX_HEADERS,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    config.load()
    state = ServerState()
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(
        lambda: ScriptConnection(config, state, {}, loop), theirs
    )
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        writer.write(data)
        writer.write_eof()
        said = await reader.read()
    except ConnectionError:  # it had read enough
        said = b""
    finally:
        writer.close()
        transport.abort()
        for task in state.tasks:
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
    status = said[:12]
    if said and not (status.startswith(b"HTTP/1.1 ") and status[9:10] in b"1234"):
        raise WrongAnswerError(said[:200])


async def _obliging(_scope: Scope, receive: Receive, send: Send) -> None:
    """Do as a call that takes its body and has nothing to say."""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def upload(data: bytes) -> None:
    """Read the upload's form; the first line is its content type."""
    kind, _, body = data.partition(b"\n")
    _wait(_uploaded(kind, body))


async def _uploaded(kind: bytes, body: bytes) -> None:
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)] or [b""]
    messages = iter([{"type": "http.request", "body": p, "more_body": True} for p in pieces])

    async def receive() -> Message:
        return next(messages, {"type": "http.request", "body": b"", "more_body": False})

    request = Request(scope, receive)
    async with request.form(max_files=1, max_fields=250, max_part_size=MAX_BODY_BYTES) as fields:
        await read_upload(fields, Upload())


def query(data: bytes) -> None:
    """Ask one of the pages and calls that take a query; the hub is away, which is no fault."""
    _wait(_asked(QUERIES[crc32(data) % len(QUERIES)], data))


async def _asked(path: str, data: bytes) -> None:
    answered: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered.append(message["status"])

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": quote_from_bytes(data, _IN_A_QUERY).encode(),
        "headers": [(b"host", b"localhost"), (b"x-session-id", b"somebody who fuzzes")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    await _portal()(scope, receive, send)
    away = HTTPStatus.SERVICE_UNAVAILABLE
    if not answered or (answered[0] >= HTTPStatus.INTERNAL_SERVER_ERROR and answered[0] != away):
        raise WrongAnswerError(f"{path}: {answered}")


@cache
def _portal() -> FastAPI:
    """Return a portal that no broker has ever answered."""
    settings = PortalSettings(
        data_dir=Path(_HERE.name),
        reads_per_second=1e9,
        ask_timeout=0.1,
    )
    return create_app(settings, Connection(BrokerSettings(), client_id="fuzz"))


def _wait(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(_PATIENCE_S):
            await work

    asyncio.run(bounded())
