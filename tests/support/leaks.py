"""What a test must not leave behind: tasks, threads, child processes."""

import asyncio
import os
import signal
import threading
import time
from pathlib import Path

GRACE = 10.0
"""Seconds in which what is ending already may end, on a busy machine too."""


def threads() -> set[threading.Thread]:
    """Return the running threads that a test answers for.

    The event loop's own workers (`asyncio_0`, …) end with the loop, after the test's fixtures.
    """
    return {t for t in threading.enumerate() if t.is_alive() and not t.name.startswith("asyncio_")}


def children() -> set[int]:
    """Return the ids of this process's children that run."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        except OSError:  # the thread has ended meanwhile
            continue
    return {pid for pid in found if _counts(pid)}


def describe(pid: int) -> str:
    """Return the command line of a process, as far as it can be read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return "ended"


def kill(pids: set[int]) -> None:
    """Kill children and collect them, so that one test's leak does not spoil the next."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def wait_until_gone(left: set[threading.Thread], before: set[int]) -> tuple[list[str], set[int]]:
    """Give threads and children a moment; return what is still there."""
    deadline = time.monotonic() + GRACE
    while True:
        stray_threads = [t.name for t in threads() - left]
        stray_children = children() - before
        if (not stray_threads and not stray_children) or time.monotonic() > deadline:
            return stray_threads, stray_children
        time.sleep(0.02)


async def stray_tasks() -> list[str]:
    """Give tasks a moment; cancel and return those that still run."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + GRACE
    while True:
        stray = asyncio.all_tasks() - {asyncio.current_task()}
        if not stray or loop.time() > deadline:
            break
        await asyncio.sleep(0.02)
    for task in stray:
        task.cancel()
    await asyncio.gather(*stray, return_exceptions=True)
    return [f"{task.get_name()}: {task.get_coro()}" for task in stray]


def _counts(pid: int) -> bool:
    command = describe(pid)
    # multiprocessing keeps one helper for the life of the process; a zombie has no command line
    return "multiprocessing.resource_tracker" not in command and command != "ended"
