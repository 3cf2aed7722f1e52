"""What a script's last words mean where its isolation stands behind them. Pure.

A script that hits a wall of its container gets the same error from Python as on any machine; this
says in one sentence which wall it was, and what to do.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from broker.messages import ContainerStatus, RunLimits

MAX_WORDS: Final = 1000
_MIB: Final = 1024**2
_NEARLY: Final = 0.99


def last_words(line: str) -> str:
    """Return the last line of a script's errors as it may stand in a sentence."""
    shown = "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line.strip()
    )
    if len(shown) <= MAX_WORDS:
        return shown
    cut = shown[: MAX_WORDS - 2]
    return f"{cut.rpartition(' ')[0] or cut} …"


def remedy(line: str, limits: RunLimits) -> str | None:
    """Return what to do about an error that the isolation is the reason of; None for others.

    Args:
        line: The last line of what the script wrote to standard error.
        limits: Of the run.
    """
    for pattern, sentence in _REMEDIES:
        if pattern.search(line):
            return sentence(limits)
    return None


def limits_reached(status: ContainerStatus, limits: RunLimits) -> Iterator[str]:
    """Give a sentence for each limit that a script has reached while it runs on."""
    if status.pids >= limits.pids:
        yield (
            f"The script has reached its limit of {limits.pids} processes and threads: starting "
            "more is refused."
        )
    if status.results_bytes >= _NEARLY * limits.results:
        yield (
            f"The script has filled its {limits.results // _MIB} MiB of results: writing more is "
            "refused."
        )


def _full(limits: RunLimits) -> str:
    return (
        f"/results holds {limits.results // _MIB} MiB and /tmp {limits.tmp // _MIB} MiB: write "
        "less, or ask an administrator for a higher limit"
    )


def _many(limits: RunLimits) -> str:
    return (
        f"a script may have {limits.pids} processes and threads together: start fewer, or ask an "
        "administrator for a higher limit"
    )


def _memory(limits: RunLimits) -> str:
    return (
        f"a script may use {limits.memory // _MIB} MiB of memory: hold less data at a time, or ask "
        "an administrator for a higher limit"
    )


_REMEDIES: Final[tuple[tuple[re.Pattern[str], Callable[[RunLimits], str]], ...]] = tuple(
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (r"\[Errno 28\]|No space left on device", _full),
        (r"can't start new thread|\[Errno 11\]|Resource temporarily unavailable", _many),
        (r"MemoryError|\[Errno 12\]|Cannot allocate memory", _memory),
        (
            r"\[Errno 24\]|Too many open files",
            lambda _: (
                "a script may have 1024 files and connections open: close what it is done with"
            ),
        ),
        (
            (
                r"\[Errno (101|113|-2|-3)\]|Network is unreachable|[Nn]ame resolution"
                r"|Name or service not known"
            ),
            lambda _: (
                "experiments have no network: give data as parameters, and fetch results "
                "from their page"
            ),
        ),
        (
            r"\[Errno 30\]|Read-only file system",
            lambda _: "write to /results, which is kept, or to /tmp, which is not",
        ),
        (
            r"ModuleNotFoundError",
            lambda _: "only what the image offers can be imported: the reactor's page lists it",
        ),
        (
            r"\[Errno (1|13)\]|Operation not permitted|Permission denied",
            lambda _: (
                "experiments have no rights on the machine: reach the reactor through "
                "bioreactor.reactor, and write to /results"
            ),
        ),
    )
)
