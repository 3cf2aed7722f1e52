"""Resident memory of the node's processes, against their budgets."""

import time

from bench._node import child_of, node, resident

NODE_BUDGET = 80.0
RUNNER_BUDGET = 40.0
WATCHDOG_BUDGET = 40.0
BUSY = """
    from bioreactor import experiment, reactor

    for i in range(20_000):
        reactor.read("od")
        experiment.record(i=i)
        print("line", i, "x" * 100)
"""


SECONDS = 15.0


def rows() -> list[tuple[str, float, str, float, str]]:
    """Return what is resident while idle, and the most under a script that never rests."""
    with node("pass") as quiet:
        quiet.wait(quiet.finished)
        idle = resident(quiet.process.pid)
    with node(BUSY) as busy:
        busy.wait(busy.paths.socket.exists)
        runner = child_of(busy.process.pid, "node_service.runner")
        watchdog = child_of(busy.process.pid, "node_service.watchdog")
        seen: list[tuple[float, float]] = []
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            seen.append((resident(busy.process.pid), resident(runner)))
            time.sleep(0.1)
        guard = resident(watchdog)
    return [
        ("node service, idle after a run", idle, "MiB", NODE_BUDGET, "budget"),
        ("node service, busy script", max(n for n, _ in seen), "MiB", NODE_BUDGET, "budget"),
        ("runner, busy script", max(r for _, r in seen), "MiB", RUNNER_BUDGET, "budget"),
        ("watchdog", guard, "MiB", WATCHDOG_BUDGET, "budget"),
    ]
