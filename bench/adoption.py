"""A node that is killed and started again: what its script notices."""

import time

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
            time.sleep(8.0)
        running.stop()
        waits = sorted(float(line.split()[1]) for line in running.said())
    assert len(waits) >= ROUNDS, waits
    return [("node killed and started: a script's call waits", waits[-2], "s", 2.0, "budget")]
