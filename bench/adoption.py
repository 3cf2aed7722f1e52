"""A node that is killed and started again: what its script notices."""

import socket
import time
from pathlib import Path

from bench._node import node

ROUNDS = 3
CALLING = """
    import time
    from bioreactor import reactor

    while True:
        begin = time.monotonic()
        reactor.read("od")
        waited = time.monotonic() - begin
        if waited > 0.3:
            print("waited", waited, flush=True)
        time.sleep(0.02)
"""


def rows() -> list[tuple[str, float, str, float, str]]:
    """Return how long a call of the script waits, in the middle of three tries."""
    with node(CALLING) as running:
        running.wait(running.paths.socket.exists)
        time.sleep(3.0)
        for _ in range(ROUNDS):
            running.kill_and_start()
            running.wait(lambda: _answers(running.paths.socket))
            time.sleep(2.0)  # the script looks again, and goes on
        running.stop()
        waits = sorted(float(line.split()[1]) for line in running.said())
    assert len(waits) >= ROUNDS, waits
    return [("node killed and started: a script's call waits", waits[-2], "s", 2.0, "budget")]


def _answers(path: Path) -> bool:
    """Say whether somebody listens on the script's socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
