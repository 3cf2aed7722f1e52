"""What every runner does alike: a real process, a real engine, a real sandbox."""

import asyncio
import os
import signal
import time
from contextlib import aclosing

import pytest

from node_service.runner import volumes
from node_service.runner.interface import (
    Attempt,
    LogChunk,
    LogCursor,
    NoSuchContainerError,
    RunnerError,
    RunPaths,
    RunSpec,
)
from tests.integration.runner.conftest import SMALL, Bench, more, text_of
from tests.support.waiting import eventually

FOREVER = "import time\nprint('up')\nwhile True: time.sleep(0.05)\n"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up")
while True: time.sleep(0.05)
"""


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [
        ("print('done')", 0, None),
        ("raise SystemExit(3)", 3, None),
        ("1 / 0", 1, None),
        ("this is not Python", 1, None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -11, signal.SIGSEGV),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, signal.SIGKILL),
    ],
)
async def test_says_how_it_ended(bench: Bench, script: str, code: int, number: int | None) -> None:
    ended, output = await bench.run(script)
    assert (ended.exit_code, ended.signal, ended.oom_killed) == (code, number, False)
    if code == 1:
        assert "Error" in output
        assert "/experiment/script.py" in output


async def test_stops_gently_then_by_force(bench: Bench) -> None:
    gentle = await bench.start(
        """
        import signal, sys, time
        def bye(*_):
            print("bye")
            sys.exit(5)
        signal.signal(signal.SIGTERM, bye)
        print("up")
        while True: time.sleep(0.05)
        """
    )
    await bench.until_said(gentle, "up")
    await bench.client.stop(gentle, grace=10)
    ended, output = await bench.finish(gentle)
    assert (ended.exit_code, output) == (5, "up\nbye\n")

    stubborn = await bench.start(STUBBORN)
    await bench.until_said(stubborn, "up")
    began = time.monotonic()
    async with asyncio.timeout(20):
        await bench.client.stop(stubborn, grace=0.5)
    assert time.monotonic() - began > 0.4
    ended, _ = await bench.finish(stubborn)
    assert (ended.exit_code, ended.oom_killed) == (-9, False)
    await bench.client.stop(stubborn, grace=1)
    await bench.client.kill(stubborn)


async def test_too_much_memory_is_told_from_a_kill(bench: Bench) -> None:
    ended, output = await bench.run("print('up'); x = b'x' * 300_000_000; print('not reached')")
    assert (ended.exit_code, ended.oom_killed, output) == (-9, True, "up\n")


async def test_frozen_it_does_nothing(bench: Bench) -> None:
    container = await bench.start(
        """
        import pathlib, time
        n = 0
        while True:
            n += 1
            pathlib.Path("count").write_text(str(n))
            if n == 1: print("up")
            time.sleep(0.01)
        """
    )
    await bench.until_said(container, "up")
    count = bench.paths.results / "count"
    await bench.client.pause(container)
    await bench.client.pause(container)
    assert (await bench.client.status(container)).state == "paused"
    assert (await bench.client.find())[0].state == "paused"
    frozen = count.read_text()
    await asyncio.sleep(0.3)
    assert count.read_text() == frozen
    await bench.client.resume(container)
    await bench.client.resume(container)
    await eventually(lambda: count.read_text() not in {"", frozen})
    await bench.client.pause(container)
    await bench.client.stop(container, grace=5)
    ended, _ = await bench.finish(container)
    assert ended.exit_code == -15
    with pytest.raises(RunnerError) as refused:
        await bench.client.pause(container)
    assert refused.value.code == "WRONG_STATE"


async def test_a_frozen_one_can_be_killed(bench: Bench) -> None:
    container = await bench.start(STUBBORN)
    await bench.until_said(container, "up")
    await bench.client.pause(container)
    await bench.client.kill(container)
    ended, _ = await bench.finish(container)
    assert ended.exit_code == -9
    frozen = await bench.start(STUBBORN)
    await bench.client.pause(frozen)
    await bench.client.remove(frozen)
    assert frozen not in {found.container_id for found in await bench.client.find()}


async def test_an_attempt_is_started_once(bench: Bench) -> None:
    container = await bench.start("print('once'); open('trace', 'a').write('x')")
    spec = RunSpec(bench.runs[-1], await bench.image(), SMALL)
    assert await bench.client.start(spec) == container
    ended, _ = await bench.finish(container)
    assert ended.exit_code == 0
    assert await bench.client.start(spec) == container
    (found,) = await bench.client.find()
    assert (found.run, found.container_id) == (bench.runs[-1], container)
    assert (found.state, found.exit, found.image) == ("exited", ended, spec.image)
    assert found.started_at is not None
    assert (bench.paths.results / "trace").read_text() == "x"
    assert text_of(await bench.output(container)) == "once\n"


async def test_results_outlive_the_container_until_they_are_discarded(bench: Bench) -> None:
    container = await bench.start("open('a.txt', 'w').write('kept')")
    await bench.finish(container)
    await bench.client.remove(container)
    await bench.client.remove(container)
    assert list(await bench.client.find()) == []
    with pytest.raises(NoSuchContainerError):
        await bench.client.wait(container)
    assert (bench.paths.results / "a.txt").read_text() == "kept"
    left = await bench.client.leftovers([])
    assert {(item.run, item.kind) for item in left} == {
        (bench.runs[-1], "mount"),
        (bench.runs[-1], "directory"),
    }
    assert list(await bench.client.leftovers(bench.runs)) == []
    await bench.client.discard(bench.runs[-1])
    await bench.client.discard(bench.runs[-1])
    assert not bench.paths.directory.exists()
    assert list(await bench.client.leftovers([])) == []


async def test_leftovers_name_what_runs_unknown(bench: Bench) -> None:
    container = await bench.start(FOREVER)
    left = await bench.client.leftovers([])
    assert ("container", container) in {(item.kind, item.name) for item in left}
    await bench.client.discard(bench.runs[-1])
    assert list(await bench.client.leftovers([])) == []


async def test_results_come_back_after_a_reboot(bench: Bench) -> None:
    container = await bench.start("open('a.txt', 'w').write('kept'); print('up')")
    await bench.finish(container)
    unmount = await asyncio.create_subprocess_exec("umount", str(bench.paths.results))
    assert await unmount.wait() == 0
    assert not list(bench.paths.results.iterdir())
    await bench.client.open_results(bench.runs[-1])
    await bench.client.open_results(bench.runs[-1])
    assert (bench.paths.results / "a.txt").read_text() == "kept"


async def test_a_runner_that_ends_leaves_mounted_what_runs_alone(bench: Bench) -> None:
    done = await bench.start("open('a.txt', 'w').write('kept')")
    await bench.finish(done)
    ended = bench.runs[-1]
    running = await bench.start(FOREVER)
    await bench.until_said(running, "up")
    before = bench.process.pid
    assert before is not None
    os.kill(before, signal.SIGTERM)
    await eventually(lambda: not process_is_there(before), within=20)
    lasts = bench.settings.kind == "docker"
    assert mounted(bench) <= {bench.runs[-1]}
    # Containers live on and so do their results.
    assert (bench.runs[-1] in mounted(bench)) == lasts
    await bench.client.open_results(ended)
    assert (RunPaths.of(bench.settings.runs, ended).results / "a.txt").read_text() == "kept"


def mounted(bench: Bench) -> set[Attempt]:
    runs = bench.settings.runs
    return {run for run in bench.runs if volumes.is_mounted(RunPaths.of(runs, run).results)}


def process_is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_status_is_measured(bench: Bench) -> None:
    container = await bench.start(
        """
        x = b"x" * 20_000_000
        open("data", "wb").write(b"x" * 1_000_000)
        print("up")
        while True: pass
        """
    )
    await bench.until_said(container, "up")

    async def is_busy() -> bool:
        return (await bench.client.status(container)).cpu_percent > 20

    await eventually(is_busy, every=0.3)
    status = await bench.client.status(container)
    assert (status.container_id, status.state) == (container, "running")
    assert status.image == await bench.image()
    assert 0 <= status.cpu_percent < 130
    assert 20_000_000 < status.memory < SMALL.memory == status.memory_limit
    assert 1 <= status.pids <= 4
    assert 1_000_000 <= status.results_bytes < 2_000_000
    assert 0 < status.uptime < 60
    await bench.client.kill(container)
    ended = await bench.client.status(container)
    assert (ended.state, ended.pids, ended.cpu_percent) == ("exited", 0, 0.0)


async def test_unknown_containers_are_refused(bench: Bench) -> None:
    for name in ("0" * 64, "../../etc", "01J0000000000000000000000A.1", ""):
        with pytest.raises(NoSuchContainerError):
            await bench.client.status(name)
        with pytest.raises(NoSuchContainerError):
            await bench.client.kill(name)
        await bench.client.remove(name)


async def test_output_of_both_streams_is_told_apart(bench: Bench) -> None:
    container = await bench.start(
        "import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('no end', end='')"
    )
    await bench.client.wait(container)
    chunks = await bench.output(container)
    assert {(chunk.source, chunk.text) for chunk in chunks} == {
        ("stdout", "out"),
        ("stderr", "err"),
        ("stdout", "no end"),
    }
    assert not any(chunk.lost for chunk in chunks)


async def test_a_log_read_in_pieces_is_whole(bench: Bench) -> None:
    """Stop after every few chunks, while it is written and after."""
    count = 400
    container = await bench.start(
        f"""
        import sys, time
        for n in range({count}):
            print(n)
            print(n, file=sys.stderr)
            if n % 40 == 0: time.sleep(0.05)
        """
    )
    seen: list[LogChunk] = []
    cursor: LogCursor | None = None
    async with asyncio.timeout(60):
        while len(seen) < 2 * count:
            piece = await bench.output(container, cursor, first=37)
            assert piece, "the log ended early"
            seen.extend(piece)
            cursor = piece[-1].cursor
    for source in ("stdout", "stderr"):
        numbers = [int(chunk.text) for chunk in seen if chunk.source == source]
        assert numbers == list(range(count))
    assert list(await bench.output(container, cursor)) == []


async def test_a_line_of_ten_megabytes_comes_in_pieces(bench: Bench) -> None:
    container = await bench.start(
        """
        import sys
        sys.stdout.write("0123456789abcdef" * 655_360 + "\\n")
        print("after")
        """,
        more(memory=256 * 1024**2),
    )
    chunks = await bench.output(container)
    assert all(len(chunk.text.encode()) <= 16 * 1024 for chunk in chunks)
    assert text_of(chunks) == "0123456789abcdef" * 655_360 + "\nafter\n"
    assert [chunk.text for chunk in chunks if not chunk.partial][-1] == "after"


async def test_binary_output_does_no_harm(bench: Bench) -> None:
    container = await bench.start(
        """
        import sys
        sys.stdout.buffer.write(bytes(range(256)) * 4 + b"\\n" + "\\u00e9".encode() * 20_000)
        sys.stdout.buffer.flush()
        """
    )
    text = text_of(await bench.output(container))
    assert "\ufffd" in text
    assert "\x00" not in text
    assert text.endswith("\u00e9" * 20_000 + "\n")


async def test_a_flood_of_output_is_bounded(bench: Bench) -> None:
    """What is kept comes in order and once; what is dropped is said or comes last."""
    container = await bench.start(
        "import sys\nfor n in range(150_000): sys.stdout.write(f'line {n:09} {\"x\" * 40}\\n')",
        more(log=1024**2),
    )
    await asyncio.wait_for(bench.client.wait(container), 60)
    chunks = [chunk for chunk in await bench.output(container) if chunk.text]
    numbers = [int(chunk.text.split()[1]) for chunk in chunks]
    assert numbers == sorted(set(numbers))
    assert 5_000 < len(numbers) < 100_000
    assert await _log_bytes(bench, container) < 8 * 1024**2


async def _log_bytes(bench: Bench, container: str) -> int:
    if bench.settings.kind == "bubblewrap":
        return (bench.paths.directory / "output.jsonl").stat().st_size
    asked = await asyncio.create_subprocess_exec(
        *("docker", "info", "--format", "{{.DockerRootDir}}"), stdout=asyncio.subprocess.PIPE
    )
    root, _ = await asked.communicate()
    logs = f"{root.decode().strip()}/containers/{container}/local-logs"
    return sum(entry.stat().st_size for entry in os.scandir(logs))


async def test_following_a_log_gives_lines_as_they_are_written(bench: Bench) -> None:
    """The script goes on when each has been read."""
    container = await bench.start(
        """
        import pathlib, time
        for n in range(3):
            print(n, time.time())
            while not pathlib.Path("/run/bioreactor", str(n)).exists(): time.sleep(0.01)
        """
    )
    async with asyncio.timeout(30), aclosing(bench.client.logs(container)) as logs:
        async for chunk in logs:
            number, written = chunk.text.split()
            assert float(written) - 0.1 < chunk.t.timestamp() < time.time() + 0.1
            (bench.paths.gateway / number).touch()


async def test_two_run_side_by_side(bench: Bench) -> None:
    one = await bench.start("print('one'); import time; time.sleep(0.3)")
    two = await bench.start("print('two'); import time; time.sleep(0.3)")
    assert {found.container_id for found in await bench.client.find()} == {one, two}
    results = await asyncio.gather(bench.finish(one), bench.finish(two))
    assert [output for _, output in results] == ["one\n", "two\n"]


async def test_a_start_that_cannot_be_leaves_nothing(bench: Bench) -> None:
    run = Attempt("01J0000000000000000000000A", 1)
    image = await bench.image()
    with pytest.raises(RunnerError):
        await bench.client.start(RunSpec(run, "sha256:" + "0" * 64, SMALL))
    with pytest.raises(RunnerError):
        await bench.client.start(RunSpec(run, image, SMALL))
    with pytest.raises(RunnerError) as unknown:
        await bench.image("no-such-image")
    assert unknown.value.code == "NOT_FOUND"
    assert list(await bench.client.find()) == []
    assert not RunPaths.of(bench.settings.runs, run).directory.exists()


async def test_says_what_it_is(bench: Bench) -> None:
    info = await bench.client.info()
    assert info.isolation == bench.settings.kind
    assert info.results_mode == "filesystem"
    assert info.images == {"bare": {}}
    assert info.version
    if bench.settings.kind == "bubblewrap":
        assert "Reduced isolation" in info.note
