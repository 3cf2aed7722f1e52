"""A script's call to its gateway, from inside a real container."""

import asyncio
import threading
from pathlib import Path

from bench._node import node

SCRIPT = """
    import os, socket, time
    from bioreactor import experiment, reactor

    def p50(call, times):
        took = []
        for _ in range(times):
            begin = time.perf_counter()
            call()
            took.append(time.perf_counter() - begin)
        return sorted(took)[times // 2] * 1000

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
    print("echo", p50(echo, 300))
    print("clock", p50(clock, 300))
    print("read", p50(lambda: reactor.read("od"), 300))
    print("set", p50(lambda: reactor.set("stirring", 200), 60))
    time.sleep(3.0)
    print("record", p50(lambda: experiment.record(x=1.0), 60))
    print("echo", p50(echo, 300))
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
    """Return the median of each call beside the median of a raw round trip."""
    with node(SCRIPT) as running:
        running.wait(running.paths.socket.exists)
        with Echo(running.paths.gateway / "echo.sock"):
            running.wait(running.finished)
        running.stop()
        said = [line.split() for line in running.said()]
    echo = min(float(value) for name, value in said if name == "echo")
    calls = {name: float(value) for name, value in said if name != "echo"}
    raw = "raw unix socket round trip, connection included"
    budget = "budget"
    return [
        *((f"gateway call from a container: {name}", ms, "ms", echo, raw)
          for name, ms in calls.items()),
        ("gateway call from a container: read", calls["read"], "ms", 2.0, budget),
    ]  # fmt: skip
