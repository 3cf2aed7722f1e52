"""Makes devices safe, each in a thread of its own, again and again until they are."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

FIRST_PASS: Final = 2.5
"""Seconds after which a device that has not answered yet keeps nobody waiting any more."""
_LOOK: Final = 0.05
_FIRST_RETRY: Final = 0.1
_LONGEST_RETRY: Final = 2.0


@dataclass(slots=True)
class Outcome:
    """What became of the devices.

    Attributes:
        safe: Device → seconds that it took.
        unsafe: Device → why it is not known to be safe.
    """

    safe: dict[str, float] = field(default_factory=dict)
    unsafe: dict[str, str] = field(default_factory=dict)


def rescue(
    devices: Mapping[str, Callable[[], None]],
    *,
    taken_over: Callable[[], bool],
    changed: Callable[[Outcome], None],
) -> Outcome:
    """Return when every device is safe, or was tried and somebody else has taken over.

    Args:
        devices: Device → what makes it safe; may raise anything.
        taken_over: Says whether a new node wants the devices; it makes them safe itself.
        changed: Given what became of them so far, whenever that changes.
    """
    began = time.monotonic()
    outcome = Outcome(unsafe=dict.fromkeys(devices, "it was not reached yet"))
    if not devices:
        return outcome
    pool = ThreadPoolExecutor(len(devices), "rescue")
    running: dict[Future[None], str] = {pool.submit(act): name for name, act in devices.items()}
    again: dict[str, float] = {}
    pause = dict.fromkeys(devices, _FIRST_RETRY)
    tried: set[str] = set()
    while outcome.unsafe:
        if running:
            ended, _ = wait(running, _LOOK, FIRST_COMPLETED)
        else:
            time.sleep(_LOOK)
            ended = set()
        now = time.monotonic()
        before = (len(outcome.safe), dict(outcome.unsafe))
        for future in ended:
            name = running.pop(future)
            tried.add(name)
            error = future.exception()  # whatever it is, it must not keep the others from safety
            if error is None:
                outcome.safe[name] = round(now - began, 3)
                del outcome.unsafe[name]
            else:
                outcome.unsafe[name] = str(error) or type(error).__name__
                again[name] = now + pause[name]
                pause[name] = min(2 * pause[name], _LONGEST_RETRY)
        if before != (len(outcome.safe), outcome.unsafe):
            changed(outcome)
        for name in [name for name, at in again.items() if at <= now]:
            del again[name]
            running[pool.submit(devices[name])] = name
        if (len(tried) == len(devices) or now - began > FIRST_PASS) and taken_over():
            break
    pool.shutdown(wait=False, cancel_futures=True)
    return outcome
