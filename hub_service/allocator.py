"""What the C library does with memory that was freed."""

import ctypes
from typing import Final

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
