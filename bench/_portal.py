"""A portal to measure, as a process of its own."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from broker.embedded import EmbeddedBroker
from broker.listening import free_port


@asynccontextmanager
async def running_portal(
    broker: EmbeddedBroker, folder: Path
) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """Run a portal as a process of its own; yield its port and the process."""
    there = broker.settings_for("portal")
    assert there.password is not None
    port = free_port()
    environment = {
        **os.environ,
        "BIOREACTOR_BROKER_URL": there.url,
        "BIOREACTOR_BROKER_USERNAME": "portal",
        "BIOREACTOR_BROKER_PASSWORD": there.password.get_secret_value(),
        "BIOREACTOR_PORTAL_PORT": str(port),
        "BIOREACTOR_PORTAL_DATA_DIR": str(folder / "portal"),
        "BIOREACTOR_PORTAL_READS_PER_SECOND": "100000",
        "BIOREACTOR_PORTAL_LOG_LEVEL": "warning",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "portal", env=environment)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                try:
                    if (await client.get("/health/ready")).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
        yield port, process
    finally:
        process.terminate()
        await process.wait()
