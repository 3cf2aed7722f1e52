"""Waiting for a condition, under a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final

PATIENCE: Final = 40.0
"""Seconds for what usually takes a moment: only a test that fails waits as long, however busy the
machine is."""


async def eventually(
    condition: Callable[[], object | Awaitable[object]],
    *,
    within: float = PATIENCE,
    every: float = 0.02,
) -> None:
    """Return when the condition holds; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        result = condition()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {inspect.getsource(condition).strip()}")
        await asyncio.sleep(every)
