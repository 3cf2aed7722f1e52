"""A script's call to its gateway, from inside a real container."""

import asyncio
import threading
from pathlib import Path

from bench._node import node

SCRIPT = """
    import os, socket, time
    from bioreactor import experiment, reactor

    def measure(name, call, times):
        took = []
        for _ in range(times):
            begin = time.perf_counter()
            call()
            took.append(time.perf_counter() - begin)
        took.sort()
        print(name, took[times // 2] * 1000, took[times * 99 // 100] * 1000)

    def echo():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect("/run/bioreactor/echo.sock")
            connection.sendall(b"x" * 150)
            connection.recv(4096)

    def clock():
        experiment.elapsed()

    while not os.path.exists("/run/bioreactor/echo.sock"):
        time.sleep(0.01)
    time.sleep(1.0)
    measure("echo", echo, 500)
    measure("clock", clock, 500)
    time.sleep(3.0)
    measure("read", lambda: reactor.read("od"), 1000)
    measure("set", lambda: reactor.set("stirring", 200), 100)
    time.sleep(3.0)
    measure("record", lambda: experiment.record(x=1.0), 100)
    measure("echo", echo, 500)
"""


class Echo:
    """A raw unix socket that answers with what it got, on a loop and thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(asyncio.start_unix_server(self._answer, self._path))
        self._path.chmod(0o666)
        self._loop.run_forever()

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(4096))
        await writer.drain()
        writer.close()


def rows() -> list[tuple[str, float, str, float, str]]:
    """Return the median of each call, and the slowest of a hundred, beside a raw round trip."""
    with node(SCRIPT) as running:
        running.wait(running.paths.socket.exists)
        with Echo(running.paths.gateway / "echo.sock"):
            running.wait(running.finished)
        running.stop()
        said = [line.split() for line in running.said()]
    times = [(name, float(p50), float(p99)) for name, p50, p99 in said]
    raw_p50, raw_p99 = min((p50, p99) for name, p50, p99 in times if name == "echo")
    raw = "raw unix socket round trip, connection included"
    calls = [one for one in times if one[0] != "echo"]
    (read,) = (one for one in calls if one[0] == "read")
    what = "gateway call from a container"
    return [
        *((f"{what}: {name}, p50", p50, "ms", raw_p50, raw) for name, p50, _ in calls),
        *((f"{what}: {name}, p99", p99, "ms", raw_p99, raw) for name, _, p99 in calls),
        (f"{what}: read, p50", read[1], "ms", 2.0, "budget"),
        (f"{what}: read, p99", read[2], "ms", 10.0, "budget"),
    ]
