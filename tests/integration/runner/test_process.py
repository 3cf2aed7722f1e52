"""The runner's process: killed, asked nonsense, measured."""

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node_service.runner.client import RunnerClient, told
from node_service.runner.interface import (
    NoSuchContainerError,
    RunnerError,
    RunnerUnavailableError,
    RunPaths,
    RunSpec,
)
from node_service.runner.paths import socket_address
from node_service.runner.process import RunnerProcess, RunnerSettings
from node_service.runner.server import only_one
from tests.integration.runner.conftest import SMALL, Bench, more
from tests.support.waiting import eventually

docker_only = pytest.mark.parametrize(
    "settings", [pytest.param("docker", marks=pytest.mark.engine)], indirect=True
)
bubblewrap_only = pytest.mark.parametrize("settings", ["bubblewrap"], indirect=True)
COUNTING = """
import sys, time
for n in range(120):
    print(n)
    time.sleep(0.02)
"""


async def kill_runner(bench: Bench) -> None:
    before = bench.process.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: bench.process.pid not in {None, before})


@docker_only
async def test_containers_outlive_their_runner(bench: Bench) -> None:
    """Killed twice in the middle of everything, nothing is lost and nothing doubled."""
    container = await bench.start(COUNTING)
    waiting = asyncio.create_task(bench.client.wait(container))
    reading = asyncio.create_task(bench.output(container))
    for seen in ("10", "60"):
        await bench.until_said(container, seen)
        await kill_runner(bench)
    (found,) = await bench.client.find()
    assert (found.container_id, found.run) == (container, bench.runs[-1])
    spec = RunSpec(bench.runs[-1], found.image, SMALL)
    assert await bench.client.start(spec) == container
    async with asyncio.timeout(20):
        assert (await waiting).exit_code == 0
        assert [chunk.text for chunk in await reading] == [str(n) for n in range(120)]


@bubblewrap_only
async def test_sandboxes_die_with_their_runner(bench: Bench) -> None:
    container = await bench.start(COUNTING)
    await bench.until_said(container, "3")
    await kill_runner(bench)
    assert list(await bench.client.find()) == []
    with pytest.raises(NoSuchContainerError):
        await bench.client.wait(container)
    with pytest.raises(RunnerError, match="started before"):
        await bench.client.start(RunSpec(bench.runs[-1], await bench.image(), SMALL))
    await eventually(lambda: not _processes_with(bench.runs[-1].experiment_id))


async def test_an_ended_one_is_found_by_the_next_runner(bench: Bench) -> None:
    container = await bench.start("print('hello'); raise SystemExit(4)")
    ended, _ = await bench.finish(container)
    await kill_runner(bench)
    (found,) = await bench.client.find()
    assert (found.container_id, found.exit) == (container, ended)
    assert [chunk.text for chunk in await bench.output(container)] == ["hello"]
    assert await bench.client.wait(container) == ended


@docker_only
async def test_a_container_made_but_never_started_is_started(bench: Bench) -> None:
    """As after a crash between the two."""
    image = await bench.image()
    paths = bench.new_run("print('started')")
    spec = RunSpec(bench.runs[-1], image, SMALL)
    container = await bench.client.start(spec)
    await bench.finish(container)
    options = await _docker("inspect", container)
    name = options["Name"].removeprefix("/")
    await bench.client.remove(container)
    paths.results.mkdir(exist_ok=True)
    labels = [f"--label={key}={value}" for key, value in options["Config"]["Labels"].items()]
    binds = [f"-v={paths.script}:/experiment/script.py:ro"]
    create = ["docker", "create", "--name", name, "--network=none", *labels, *binds]
    made = await asyncio.create_subprocess_exec(
        *create, image, "python3", "/experiment/script.py", stdout=asyncio.subprocess.DEVNULL
    )
    assert await made.wait() == 0
    (found,) = await bench.client.find()
    assert (found.state, found.exit, found.started_at) == ("created", None, None)
    await bench.client.stop(found.container_id, 5)
    await bench.client.kill(found.container_id)
    assert await bench.client.start(spec) == found.container_id
    _, output = await bench.finish(found.container_id)
    assert output == "started\n"


@docker_only
async def test_only_its_own_containers_and_images_are_touched(bench: Bench) -> None:
    made = await asyncio.create_subprocess_exec(
        *("docker", "run", "-d", "--network=none", "--label=bioreactor.instance=another"),
        *(bench.settings.base_image, "sleep", "60"),
        stdout=asyncio.subprocess.PIPE,
    )
    foreign = (await made.communicate())[0].decode().strip()
    try:
        for call in (bench.client.kill, bench.client.pause, bench.client.status):
            with pytest.raises(NoSuchContainerError):
                await call(foreign)
        await bench.client.remove(foreign)
        assert (await _docker("inspect", foreign))["State"]["Running"]
        assert list(await bench.client.find()) == []
        base = (await _docker("image", "inspect", bench.settings.base_image))["Id"]
        bench.new_run("print('out')")
        with pytest.raises(RunnerError) as refused:
            await bench.client.start(RunSpec(bench.runs[-1], base, SMALL))
        assert refused.value.code == "FORBIDDEN"
    finally:
        removed = await asyncio.create_subprocess_exec(
            *("docker", "rm", "-f", foreign), stdout=asyncio.subprocess.DEVNULL
        )
        await removed.wait()


NODE = """
import asyncio, sys
from pathlib import Path
from node_service.runner.process import RunnerProcess, RunnerSettings
async def main():
    process = RunnerProcess(RunnerSettings(sys.argv[1], "test", Path(sys.argv[2])))
    running = asyncio.create_task(process.run())
    await process.client.info()
    print(process.pid, flush=True)
    await running
asyncio.run(main())
"""


async def test_it_dies_with_its_node(settings: RunnerSettings) -> None:
    """However the node dies; the next node's runner takes over."""
    node = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", NODE, settings.kind, settings.directory),
        stdout=asyncio.subprocess.PIPE,
    )
    assert node.stdout is not None
    async with asyncio.timeout(20):
        orphan = int(await node.stdout.readline())
    node.kill()
    await node.wait()
    await eventually(lambda: not _runs(orphan))
    process = RunnerProcess(settings)
    running = asyncio.create_task(process.run())
    try:
        assert (await process.client.info()).isolation == settings.kind
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_two_never_share_a_directory(tmp_path: Path) -> None:
    async with only_one(tmp_path, patience=0):
        with pytest.raises(RunnerError, match="another runner"):
            async with only_one(tmp_path, patience=0.1):
                pass
    async with only_one(tmp_path, patience=0):
        pass


async def test_nonsense_is_answered_with_an_error(bench: Bench) -> None:
    await bench.client.info()
    run = {"experiment_id": "01J0000000000000000000000A", "attempt": 1}
    for nonsense in (
        b"\n", b"hello\n", b"[]\n", b"{}\n", b'{"call": "exec"}\n', b'{"call": "__init__"}\n',
        b'{"call": "kill"}\n', b'{"call": "kill", "arguments": {"container_id": 7}}\n',
        b'{"call": "info", "arguments": {"privileged": true}}\n',
        b'{"call": "stop", "arguments": {"container_id": "x", "grace": NaN}}\n',
        json.dumps({"call": "start", "arguments": {
            "spec": {"run": run, "image": "x", "mounts": ["/"]}}}).encode() + b"\n",
        json.dumps({"call": "discard", "arguments": {
            "run": {"experiment_id": "../../etc", "attempt": 1}}}).encode() + b"\n",
    ):  # fmt: skip
        answer = json.loads(await _say(bench.settings.socket, nonsense))
        assert answer["error"]["code"] == "MALFORMED", nonsense
    assert await _say(bench.settings.socket, b"x" * 3_000_000) == b""
    assert (await bench.client.info()).isolation == bench.settings.kind


async def test_a_call_that_nobody_waits_for_is_cancelled(bench: Bench) -> None:
    container = await bench.start("import time\nprint('up')\ntime.sleep(60)")
    for _ in range(40):  # more than the runner has threads
        async with aclosing(bench.client.logs(container)) as logs:
            assert (await anext(logs)).text == "up"
    await bench.client.kill(container)


async def test_it_stays_small(bench: Bench) -> None:
    """Through a flood of output, with all that a run needs."""
    container = await bench.start(
        "import sys\nfor n in range(30_000): sys.stdout.write('x' * 100 + '\\n')",
        more(log=16 * 1024**2),
    )
    assert len(await bench.output(container)) == 30_000
    for _ in range(3):
        await bench.client.status(container)
        await bench.client.find()
    pid = bench.process.pid
    status = await asyncio.to_thread(Path(f"/proc/{pid}/status").read_text)
    peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0])
    assert peak < 40 * 1024, f"{peak} KiB resident"


async def test_a_runner_that_is_away_is_said_so(tmp_path: Path) -> None:
    client = RunnerClient(tmp_path / "nobody.sock", patience=0.1)
    with pytest.raises(RunnerUnavailableError) as away:
        await client.info()
    assert told(away.value).error.code == "UNAVAILABLE"


async def test_what_cannot_work_is_refused_for_good(settings: RunnerSettings) -> None:
    recipe = settings.directory / "broken"
    recipe.mkdir(parents=True)
    broken = replace(settings, images={"": recipe})
    with pytest.raises(RunnerError, match="NAME=DIRECTORY"):
        async with asyncio.timeout(20):
            await RunnerProcess(broken).run()


@docker_only
async def test_without_an_engine_it_says_so_and_recovers_by_itself(
    settings: RunnerSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'engine.sock'}")
    process = RunnerProcess(settings)
    running = asyncio.create_task(process.run())
    try:
        with pytest.raises(RunnerError, match="does not answer") as refused:
            await process.client.info()
        assert refused.value.code == "UNAVAILABLE"
        (tmp_path / "engine.sock").symlink_to("/var/run/docker.sock")
        assert (await process.client.info()).isolation == "docker"
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@docker_only
async def test_without_file_systems_the_results_are_a_small_tmpfs(
    settings: RunnerSettings,
) -> None:
    process = RunnerProcess(replace(settings, results="tmpfs"))
    running = asyncio.create_task(process.run())
    bench = Bench(settings, process, process.client)
    try:
        info = await bench.client.info()
        assert info.results_mode == "tmpfs"
        assert "experiment.save" in info.note
        ended, output = await bench.run(
            """
            import os
            size = os.statvfs("/results").f_blocks * os.statvfs("/results").f_frsize
            open("a", "w").write("x")
            print(size)
            """
        )
        assert (ended.exit_code, int(output)) == (0, SMALL.results)
        await bench.client.discard(bench.runs[-1])
        assert not RunPaths.of(settings.runs, bench.runs[-1]).directory.exists()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _say(path: Path, data: bytes) -> bytes:
    with socket_address(path) as address:
        reader, writer = await asyncio.open_unix_connection(address)
    try:
        writer.write(data)
        with suppress(ConnectionError):
            await writer.drain()
            return await asyncio.wait_for(reader.readline(), 5)
    finally:
        writer.close()
    return b""


async def _docker(*arguments: str) -> Any:
    asked = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asked.communicate()
    (answer,) = json.loads(output)
    return answer


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def _processes_with(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
                if text in command:
                    found.append(command)
    return found
