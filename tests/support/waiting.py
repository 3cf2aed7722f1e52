"""Waiting for a condition, under a deadline."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def eventually(
    condition: Callable[[], object | Awaitable[object]],
    *,
    within: float = 10.0,
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
