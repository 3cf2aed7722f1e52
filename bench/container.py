"""An experiment's container, from the call to its end, against the docker command itself."""

import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ulid import ULID

from node_service.runner import seccomp
from node_service.runner.interface import Attempt, Limits, RunPaths, RunSpec
from node_service.runner.options import command, environment
from node_service.runner.process import RunnerProcess, RunnerSettings

ROUNDS = 15
LIMITS = Limits(results=64 * 1024**2)
BASE_IMAGE = os.environ.get("BIOREACTOR_NODE_BASE_IMAGE", "bioreactor-base:debian12")
ENDS = "print('done')\n"
RUNS = "import time\nprint('up')\nwhile True: time.sleep(1)\n"


def rows() -> list[tuple[str, float, str, float, str]]:
    """Return start to exit, request to stop to exit, and resident memory."""
    return asyncio.run(_rows())


async def _rows() -> list[tuple[str, float, str, float, str]]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        settings = RunnerSettings("docker", "bench", directory / "runner", base_image=BASE_IMAGE)
        process = RunnerProcess(settings)
        running = asyncio.create_task(process.run())
        try:
            return await _measure(process, settings, directory)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def _measure(
    process: RunnerProcess, settings: RunnerSettings, directory: Path
) -> list[tuple[str, float, str, float, str]]:
    async def quiet(_: str) -> None:
        return

    image = await process.client.prepare("standard", quiet)
    plain = _plain_command(image, directory)
    ours_run, ours_stop, plain_run, plain_stop = [], [], [], []
    for _ in range(ROUNDS):
        ours_run.append(await _ours(process, settings, image, ENDS, stop=False))
        plain_run.append(await asyncio.to_thread(_docker, plain, directory, ENDS, stop=False))
        ours_stop.append(await _ours(process, settings, image, RUNS, stop=True))
        plain_stop.append(await asyncio.to_thread(_docker, plain, directory, RUNS, stop=True))
    status = await asyncio.to_thread(Path(f"/proc/{process.pid}/status").read_text)
    (resident,) = (
        int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")
    )
    median: Callable[[list[float]], float] = statistics.median
    return [
        ("container start → exit", median(ours_run), "ms", median(plain_run), "docker run"),
        ("container stop → exit", median(ours_stop), "ms", median(plain_stop), "docker stop"),
        ("runner, resident", resident, "MiB", 40.0, "its budget"),
    ]


async def _ours(
    process: RunnerProcess, settings: RunnerSettings, image: str, script: str, *, stop: bool
) -> float:
    run = Attempt(str(ULID()), 1)
    paths = RunPaths.of(settings.runs, run)
    paths.gateway.mkdir(parents=True)
    paths.script.write_text(script)
    began = time.perf_counter()
    container = await process.client.start(RunSpec(run, image, LIMITS))
    if stop:
        logs = process.client.logs(container)
        await anext(logs)
        began = time.perf_counter()
        await process.client.stop(container, 10)
        await logs.aclose()
    else:
        await process.client.wait(container)
    took = 1000 * (time.perf_counter() - began)
    await process.client.discard(run)
    return took


def _plain_command(image: str, directory: Path) -> list[str]:
    """Return the docker command with the same options."""
    profile = directory / "seccomp.json"
    profile.write_text(seccomp.profile())
    for name in ("gateway", "results"):
        (directory / name).mkdir()
    (directory / "results").chmod(0o777)
    variables = [f"--env={key}={value}" for key, value in environment(LIMITS).items()]
    return [
        "docker", "run", "--name=bioreactor-bench", "--network=none", "--read-only", "--init",
        "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--security-opt=seccomp={profile}",
        "--user=65532:65532", f"--pids-limit={LIMITS.pids}", f"--memory={LIMITS.memory}",
        f"--memory-swap={LIMITS.memory}", f"--cpus={LIMITS.cpus}", "--ipc=private",
        f"--tmpfs=/tmp:nosuid,nodev,noexec,size={LIMITS.tmp}", "--log-driver=local",
        f"--volume={directory}/script.py:/experiment/script.py:ro",
        f"--volume={directory}/gateway:/run/bioreactor:ro",
        f"--volume={directory}/results:/results", "--workdir=/results", *variables,
        image, *command(),
    ]  # fmt: skip


def _docker(plain: list[str], directory: Path, script: str, *, stop: bool) -> float:
    (directory / "script.py").write_text(script)
    began = time.perf_counter()
    if stop:
        with subprocess.Popen(plain, stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            running.stdout.readline()
            began = time.perf_counter()
            subprocess.run(["docker", "stop", "bioreactor-bench"], check=True, capture_output=True)
    else:
        subprocess.run(plain, check=True, capture_output=True)
    took = 1000 * (time.perf_counter() - began)
    subprocess.run(["docker", "rm", "-f", "bioreactor-bench"], check=True, capture_output=True)
    return took
