"""Memory that was freed goes back to the system."""

import asyncio
from contextlib import suppress

from broker.allocator import keep_trimmed
from portal.metrics import resident_bytes
from tests.support.waiting import eventually

MIB = 2**20
PIECE = 8000


async def test_what_lies_free_between_what_is_used_goes_back() -> None:
    pieces = [bytearray(b"x" * PIECE) for _ in range(8 * MIB * 8 // PIECE)]
    used = pieces[::50]
    del pieces
    before = resident_bytes()
    trimming = asyncio.create_task(keep_trimmed(0.01))
    try:
        await eventually(lambda: resident_bytes() < before - 40 * MIB)
    finally:
        trimming.cancel()
        with suppress(asyncio.CancelledError):
            await trimming
    assert all(len(piece) == PIECE for piece in used)
