"""A portal and a small hub in this process, for tests that speak HTTP and WebSocket to them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import httpx
from fastapi import FastAPI
from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket

from broker.connection import Connection
from portal import rendering
from portal.app import create_app
from portal.server import Server, make_server
from portal.settings import PortalSettings
from tests.support.fake_hub import FakeHub
from tests.support.plain import PLAIN
from tests.support.waiting import PATIENCE

T = TypeVar("T")

SESSION = {"X-Session-ID": "a secret of the tests"}
OTHER_SESSION = {"X-Session-ID": "a secret of somebody else"}


class Compiled(BytecodeCache):
    """What templates were compiled to, once for all portals of this process."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


COMPILED = Compiled()


@dataclass
class Portal:
    """A running portal."""

    app: FastAPI
    server: Server
    url: str
    connection: Connection

    @property
    def ws(self) -> str:
        return self.url.replace("http", "ws") + "/ws"

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=PATIENCE, verify=PLAIN, **options)


@asynccontextmanager
async def portal_on(
    connection: Connection, data_dir: Path, **settings: Any
) -> AsyncIterator[Portal]:
    """Run a portal on a connection, without limits of pace unless told otherwise."""
    pace = {"reads_per_second": 10_000, "writes_per_second": 10_000}
    options = PortalSettings(port=0, data_dir=data_dir, **{**pace, **settings})
    with patch.object(rendering, "Environment", partial(Environment, bytecode_cache=COMPILED)):
        app = create_app(options, connection)
    server = make_server(app, options)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE):
            while not server.started:
                assert not serving.done()
                await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Portal(app, server, f"http://127.0.0.1:{port}", connection)
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def hub_on(connection: Connection) -> AsyncIterator[FakeHub]:
    """Run a hub on a connection."""
    fake = FakeHub(connection)
    serving = asyncio.create_task(fake.serve())
    try:
        yield fake
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def eventually(
    look: Callable[[], Awaitable[T]], met: Callable[[T], bool], seconds: float = PATIENCE
) -> T:
    """Look until what is seen meets the condition; return it."""
    last: T | None = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                last = await look()
                if met(last):
                    return last
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s; last seen: {last}") from None


def shows(page: httpx.Response, words: str) -> bool:
    """Whether these words stand in a page, which may begin a sentence with them."""
    return words.lower() in page.text.lower()
