"""The directory in which images are made, shared by all runners of a user."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from hardware.files import try_lock
from node_service.runner.interface import Progress


def default_cache() -> Path:
    """Return the directory where nothing else is set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bioreactor"


@asynccontextmanager
async def alone(cache: Path, progress: Progress) -> AsyncIterator[None]:
    """Hold the cache alone; what a crash left in it is removed."""
    await asyncio.to_thread(cache.mkdir, parents=True, exist_ok=True)
    descriptor = os.open(cache / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        told = False
        while not try_lock(descriptor):
            if not told:
                await progress("another node of this machine builds the image: waiting for it")
                told = True
            await asyncio.sleep(0.2)
        await asyncio.to_thread(_sweep, cache)
        yield
    finally:
        os.close(descriptor)


def _sweep(cache: Path) -> None:
    for entry in cache.iterdir():
        if entry.is_dir() and entry.name.startswith("tmp"):
            shutil.rmtree(entry)
