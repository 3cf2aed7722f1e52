import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import pytest

from broker.children import Child, RefusedError, keep_running

LOOP = "import time\nwhile True: time.sleep(60)"
STUBBORN = f"""
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
{LOOP}
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def test_output_and_exit_status() -> None:
    lines: list[str] = []
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(7)"
    child = Child.start(python(code), on_line=lines.append)

    assert await child.wait() == 7
    assert await child.wait() == 7
    assert child.returncode == 7
    assert sorted(lines) == ["err", "out"]
    child.send_signal(signal.SIGTERM)
    assert await child.stop() == 7


async def test_long_and_binary_output_is_cut_and_never_breaks() -> None:
    lines: list[str] = []
    code = "import os; os.write(1, b'\\xff\\xfe' + b'x' * 300000 + b'\\nlast')"
    child = Child.start(python(code), on_line=lines.append)

    await child.wait()

    assert lines[-1] == "last"
    assert all(len(line) <= 16 * 1024 for line in lines)


async def test_a_program_that_is_not_there_says_so() -> None:
    child = Child.start(["/nonexistent/program"], on_line=lambda _: None)

    assert await child.wait() == 1
    assert child.last_lines[-1] == "/nonexistent/program: No such file or directory"


async def test_a_child_that_ignores_the_request_to_end_is_killed() -> None:
    ready = asyncio.Event()
    child = Child.start(python(STUBBORN), on_line=lambda _: ready.set())
    await ready.wait()

    assert await child.stop(grace=0.1) == -signal.SIGKILL


async def test_a_cancelled_stop_leaves_nothing_running() -> None:
    ready = asyncio.Event()
    child = Child.start(python(STUBBORN), on_line=lambda _: ready.set())
    await ready.wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await child.stop(grace=60)

    assert child.returncode == -signal.SIGKILL


async def test_a_child_is_started_again_until_cancelled(tmp_path: Path) -> None:
    starts: list[Child] = []
    third = asyncio.Event()

    def start() -> Child:
        child = Child.start(python(LOOP if len(starts) >= 2 else "raise SystemExit(3)"))
        starts.append(child)
        if len(starts) == 3:
            third.set()
        return child

    task = asyncio.create_task(keep_running("the test", start, grace=5))
    async with asyncio.timeout(20):
        await third.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [child.returncode for child in starts] == [3, 3, -signal.SIGTERM]


async def test_a_child_that_refuses_is_not_started_again() -> None:
    def start() -> Child:
        code = "print('looking'); print('wrong.toml, line 3: no'); raise SystemExit(78)"
        return Child.start(python(code), on_line=lambda _: None)

    async with asyncio.timeout(20):
        with pytest.raises(RefusedError, match=r"^wrong\.toml, line 3: no$"):
            await keep_running("the test", start, refused=78)


async def test_the_end_of_a_child_is_told_in_words_and_without_its_routine(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends = [
        "import os; os.kill(os.getpid(), 9)",
        "import os; os.kill(os.getpid(), 6)",
        "raise SystemExit(3)",
    ]
    started: list[Child] = []

    def start() -> Child:
        code = (
            "print('2026-01-02T03:04:05.678Z INFO hub: all is well')\n"
            "print('2026-01-02T03:04:05.678Z ERROR hub: INFO is lost', flush=True)\n"
        )
        end = ends[len(started)] if len(started) < len(ends) else LOOP
        started.append(Child.start(python(code + end), on_line=lambda _: None))
        return started[-1]

    async def ready(_child: Child) -> None:
        if len(started) > len(ends):
            task.cancel()

    with caplog.at_level(logging.ERROR, "broker.children"):
        task = asyncio.create_task(keep_running("the hub", start, started=ready, grace=5))
        async with asyncio.timeout(20):
            await asyncio.wait([task])
    lost = "\n    2026-01-02T03:04:05.678Z ERROR hub: INFO is lost"
    assert [record.getMessage() for record in caplog.records] == [
        f"the hub was killed, starting it again{lost}",
        f"the hub was ended by signal 6, starting it again{lost}",
        f"the hub ended with status 3, starting it again{lost}",
    ]


async def test_a_child_that_does_not_get_ready_is_stopped_and_started_again() -> None:
    starts: list[Child] = []
    ready = asyncio.Event()

    def start() -> Child:
        starts.append(Child.start(python(LOOP)))
        return starts[-1]

    async def started(_child: Child) -> None:
        if len(starts) == 1:
            raise ConnectionError("it does not answer")
        ready.set()

    task = asyncio.create_task(keep_running("the test", start, started=started))
    async with asyncio.timeout(20):
        await ready.wait()
    assert starts[0].returncode == -signal.SIGTERM
    assert starts[1].returncode is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert starts[1].returncode == -signal.SIGTERM


PARENT = f"""
import asyncio, sys
from broker.children import Child
async def main():
    child = Child.start([sys.executable, "-c", {LOOP!r}])
    print(child.pid, flush=True)
    await child.wait()
asyncio.run(main())
"""


async def test_a_child_dies_with_its_killed_parent() -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    parent = Child.start(python(PARENT), env=env, on_line=lines.put_nowait)
    try:
        async with asyncio.timeout(20):
            watch = os.pidfd_open(int(await lines.get()))
        parent.kill()
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(watch, gone.set)
        async with asyncio.timeout(5):
            await gone.wait()
        asyncio.get_running_loop().remove_reader(watch)
        os.close(watch)
    finally:
        parent.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_another_user_runs_in_a_directory_that_is_closed_to_it(tmp_path: Path) -> None:
    lines: list[str] = []
    closed = tmp_path / "closed"
    home = closed / "home"
    home.mkdir(parents=True)
    os.chown(home, 65534, 65534)
    closed.chmod(0o700)
    child = Child.start(
        ["/bin/sh", "-c", "id -u; id -G; pwd -P; echo x > here; grep -i sigq /proc/self/status"],
        cwd=home,
        user=(65534, 65534),
        on_line=lines.append,
    )

    assert await child.wait() == 0
    assert lines[:2] == ["65534", "65534"]
    assert (home / "here").read_text() == "x\n"
