"""What the C library does with memory that was freed."""

import asyncio
import ctypes
from typing import Final, NoReturn

_MMAP_THRESHOLD: Final = (-3, 128 * 1024)
_ARENA_MAX: Final = (-8, 2)


def return_what_is_freed() -> None:
    """Have large blocks go back to the system when they are freed; call before threads start.

    glibc raises its threshold for that with the first large block, and keeps a heap for each
    thread: reading histories would leave the hub with 10 MiB more for good. Elsewhere it does
    nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library
    for option in (_MMAP_THRESHOLD, _ARENA_MAX):
        mallopt(*option)


async def keep_trimmed(every: float) -> NoReturn:
    """Give back what lies free between what is in use, every so many seconds, until cancelled.

    Blocks that are too small for `return_what_is_freed` leave holes, of which glibc gives nothing
    back by itself: pages that a portal made left it with 8 MiB of them.
    """
    while True:
        await asyncio.sleep(every)
        _trim()


def _trim() -> None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return  # another C library
    trim(0)
