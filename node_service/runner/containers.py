"""Experiments in containers of a Docker engine."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, cast

from node_service.runner import docker_state, volumes
from node_service.runner.docker import Engine, NotFoundError, create_container, inspect_image
from node_service.runner.docker_logs import LogReader
from node_service.runner.interface import (
    Attempt,
    ContainerStatus,
    Exit,
    Found,
    Leftover,
    LogChunk,
    LogCursor,
    NoSuchContainerError,
    Progress,
    ResultsMode,
    RunnerError,
    RunnerInfo,
    RunPaths,
    RunSpec,
    State,
)
from node_service.runner.leftovers import leftover_files
from node_service.runner.options import (
    LABEL_IMAGE,
    LABEL_INSTANCE,
    Place,
    container_name,
    create_options,
)

_CONTAINER_ID: Final = re.compile(r"[0-9a-f]{64}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_GVISOR: Final = "runsc"
_LETS_CONNECT: Final = re.compile(r"--host-uds=(open|all)|--fsgofer-host-uds(=true)?")
_ENGINE_AWAY: Final = 0.5
"""Seconds between looks at an engine that does not answer."""


class Images(Protocol):
    """Makes the experiment images."""

    async def prepare(self, image: str, progress: Progress) -> str:
        """Build the image if it is missing; return its digest."""
        ...

    def offered(self) -> Mapping[str, Mapping[str, str]]:
        """Return what scripts may import: image → import name → distribution."""
        ...


class DockerRunner:
    """Implements `Runner`. Containers outlive it: it finds them by their labels.

    Args:
        engine: Not closed here.
        images: Makes the images.
        runs: Directory of the runs, shared with the node.
        place: Where containers are made.
    """

    def __init__(self, engine: Engine, images: Images, runs: Path, place: Place) -> None:
        self._engine = engine
        self._images = images
        self._runs = runs
        self._place = place
        self._waits: dict[str, asyncio.Task[Exit]] = {}
        self._usage: dict[str, docker_state.Usage] = {}
        self._starting = asyncio.Lock()

    async def close(self) -> None:
        """Stop watching; containers run on."""
        for task in self._waits.values():
            task.cancel()
        await asyncio.gather(*self._waits.values(), return_exceptions=True)

    async def info(self) -> RunnerInfo:
        """See `Runner.info`; so for the methods below."""
        engine = await self._engine.call(lambda api: api.info())
        runtime = self._place.runtime
        if runtime is not None:
            check_runtime(runtime, engine.get("Runtimes") or {})
        return RunnerInfo(
            isolation="docker" if runtime is None else f"docker+{runtime}",
            note=" ".join(_missing(engine, self._place.results)),
            results_mode=self._place.results,
            images=self._images.offered(),
            version=str(engine.get("ServerVersion", "")),
        )

    async def prepare(self, image: str, progress: Progress) -> str:  # noqa: D102
        return await self._images.prepare(image, progress)

    async def start(self, spec: RunSpec) -> str:  # noqa: D102
        paths = RunPaths.of(self._runs, spec.run)
        name = container_name(self._place.instance, spec.run)
        async with self._starting:
            existing = await self._look(name)
            if existing is None:
                container_id = await self._create(spec, paths, name)
            else:
                container_id = str(existing["Id"])
                if docker_state.state_of(existing) != "created":
                    return container_id
                await self._make_results(spec, paths)
            await self._start_created(container_id)
        return container_id

    async def find(self) -> Sequence[Found]:  # noqa: D102
        label = f"{LABEL_INSTANCE}={self._place.instance}"
        listed = await self._engine.call(
            lambda api: api.containers(all=True, filters={"label": label})
        )
        inspected = [await self._look(container["Id"]) for container in listed]
        return [docker_state.found(container) for container in inspected if container is not None]

    async def pause(self, container_id: str) -> None:  # noqa: D102
        match docker_state.state_of(await self._own(container_id)):
            case "running":
                await self._engine.call(lambda api: api.pause(container_id))
            case "paused":
                pass
            case state:
                raise RunnerError(f"the container is {state}, not running", code="WRONG_STATE")

    async def resume(self, container_id: str) -> None:  # noqa: D102
        match docker_state.state_of(await self._own(container_id)):
            case "paused":
                await self._engine.call(lambda api: api.unpause(container_id))
            case "running":
                pass
            case state:
                raise RunnerError(f"the container is {state}, not paused", code="WRONG_STATE")

    async def stop(self, container_id: str, grace: float) -> None:  # noqa: D102
        if not await self._signal(container_id, "SIGTERM"):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.wait(container_id)
                return
        await self.kill(container_id)

    async def kill(self, container_id: str) -> None:  # noqa: D102
        if await self._signal(container_id, "SIGKILL"):
            await self.wait(container_id)

    async def remove(self, container_id: str) -> None:  # noqa: D102
        with suppress(NoSuchContainerError, NotFoundError):
            await self.kill(container_id)
            await self._engine.call(
                lambda api: api.remove_container(container_id, force=True, v=True)
            )
        self._usage.pop(container_id, None)

    async def wait(self, container_id: str) -> Exit:  # noqa: D102
        await self._own(container_id)
        task = self._waits.get(container_id)
        if task is None or task.done():
            task = asyncio.create_task(self._until_ended(container_id), name="engine-wait")
            self._waits[container_id] = task
            task.add_done_callback(lambda _: self._waits.pop(container_id, None))
        return await asyncio.shield(task)

    async def status(self, container_id: str) -> ContainerStatus:  # noqa: D102
        inspected = await self._own(container_id)
        stats: Mapping[str, Any] = {}
        if docker_state.state_of(inspected) in {"running", "paused"}:
            stats = await self._engine.call(
                lambda api: cast(
                    "dict[str, Any]", api.stats(container_id, stream=False, one_shot=True)
                )
            )
        status, self._usage[container_id] = docker_state.status(
            inspected, stats, datetime.now(UTC), self._usage.get(container_id)
        )
        paths = RunPaths.of(self._runs, docker_state.run_of(inspected))
        used = await asyncio.to_thread(volumes.used, paths)
        return replace(status, results_bytes=used)

    async def logs(  # noqa: D102
        self, container_id: str, after: LogCursor | None = None
    ) -> AsyncGenerator[LogChunk, None]:
        try:
            reader = LogReader(after, time.time_ns())
        except ValueError as error:
            raise RunnerError(str(error), code="MALFORMED") from error
        state: State = "created"
        while state != "exited":
            try:
                state = docker_state.state_of(await self._own(container_id))
                if state == "created":
                    await asyncio.sleep(_ENGINE_AWAY)
                    continue
                follow = state != "exited"
                async with aclosing(self._log_blocks(container_id, reader, follow)) as blocks:
                    async for block in blocks:
                        for chunk in reader.feed(block):
                            yield chunk
            except (NoSuchContainerError, NotFoundError) as error:
                raise NoSuchContainerError(container_id) from error
            except RunnerError:  # the engine is away: go on when it is back
                state = "running"
                await asyncio.sleep(_ENGINE_AWAY)
            reader = LogReader(reader.cursor, time.time_ns())

    def _log_blocks(
        self, container_id: str, reader: LogReader, follow: bool
    ) -> AsyncGenerator[bytes, None]:
        wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", "since": reader.since}
        path = f"/containers/{container_id}/logs"
        return self._engine.stream("GET", path, wanted | {"follow": str(int(follow))})

    async def open_results(self, run: Attempt) -> None:  # noqa: D102
        await asyncio.to_thread(volumes.mount, RunPaths.of(self._runs, run))

    async def discard(self, run: Attempt) -> None:  # noqa: D102
        existing = await self._look(container_name(self._place.instance, run))
        if existing is not None:
            await self.remove(existing["Id"])
        await asyncio.to_thread(volumes.discard, RunPaths.of(self._runs, run))

    async def leftovers(self, known: Collection[Attempt]) -> Sequence[Leftover]:  # noqa: D102
        containers = [
            Leftover(found.run, "container", found.container_id)
            for found in await self.find()
            if found.run not in known
        ]
        files = await asyncio.to_thread(leftover_files, self._runs, known)
        return [*containers, *files]

    async def _create(self, spec: RunSpec, paths: RunPaths, name: str) -> str:
        await self._check_image(spec.image)
        await asyncio.to_thread(_ready_files, paths)
        options = create_options(spec, self._place)
        container_id, _ = await asyncio.gather(
            self._engine.call(lambda api: create_container(api, options, name)),
            self._make_results(spec, paths),
        )
        return container_id

    async def _make_results(self, spec: RunSpec, paths: RunPaths) -> None:
        if self._place.results == "filesystem":
            await asyncio.to_thread(volumes.create, paths, spec.limits.results)

    async def _start_created(self, container_id: str) -> None:
        """Start it; what could not be started is removed, so that it can be tried again."""
        try:
            await self._engine.call(lambda api: api.start(container_id))
        except RunnerError:
            with suppress(RunnerError):
                inspected = await self._look(container_id)
                if inspected is not None and docker_state.state_of(inspected) == "created":
                    await self._engine.call(lambda api: api.remove_container(container_id))
            raise

    async def _check_image(self, digest: str) -> None:
        """See that the image is one of ours; nothing else is ever started."""
        if _DIGEST.fullmatch(digest) is None:
            raise RunnerError(f"{digest!r} is no digest of an image", code="MALFORMED")
        try:
            image = await self._engine.call(lambda api: inspect_image(api, digest))
        except NotFoundError as error:
            raise RunnerError(
                "the experiment image is missing", "it is built again at the next start"
            ) from error
        if LABEL_IMAGE not in (image["Config"].get("Labels") or {}):
            raise RunnerError(f"{digest} is not an experiment image", code="FORBIDDEN")

    async def _signal(self, container_id: str, signal: str) -> bool:
        """Send a signal, to a frozen one too; say whether anything ran."""
        state = docker_state.state_of(await self._own(container_id))
        if state == "paused":
            await self._engine.call(lambda api: api.unpause(container_id))
        if state not in {"paused", "running"}:
            return False
        try:
            await self._engine.call(lambda api: api.kill(container_id, signal))
        except RunnerError:
            if docker_state.state_of(await self._own(container_id)) != "exited":
                raise
        return True

    async def _until_ended(self, container_id: str) -> Exit:
        path = f"/containers/{container_id}/wait"
        while True:
            try:
                inspected = await self._own(container_id)
                ended = docker_state.exit_of(inspected)
                if ended is not None:
                    return ended
                if docker_state.state_of(inspected) == "created":
                    await asyncio.sleep(_ENGINE_AWAY)
                    continue
                async with aclosing(self._engine.stream("POST", path, {})) as blocks:
                    async for _ in blocks:
                        pass
            except (NoSuchContainerError, NotFoundError) as error:
                raise NoSuchContainerError(container_id) from error
            except RunnerError:
                await asyncio.sleep(_ENGINE_AWAY)

    async def _own(self, container_id: str) -> docker_state.Inspected:
        """Inspect a container of ours.

        Raises:
            NoSuchContainerError: It does not exist, or belongs to somebody else.
        """
        if _CONTAINER_ID.fullmatch(container_id) is None:
            raise NoSuchContainerError(container_id)
        inspected = await self._look(container_id)
        if inspected is None:
            raise NoSuchContainerError(container_id)
        return inspected

    async def _look(self, name: str) -> docker_state.Inspected | None:
        """Inspect a container by id or name; None if it does not exist or is not ours."""
        try:
            inspected = await self._engine.call(
                lambda api: cast("dict[str, Any]", api.inspect_container(name))
            )
        except NotFoundError:
            return None
        labels = inspected["Config"].get("Labels") or {}
        return inspected if labels.get(LABEL_INSTANCE) == self._place.instance else None


def check_runtime(name: str, runtimes: Mapping[str, Any]) -> None:
    """See that the engine has a runtime, and that scripts reach their gateway under it.

    gVisor lets nothing connect to a socket of the host unless it is told to; it takes that from
    the engine's configuration alone (https://gvisor.dev/docs/user_guide/filesystem/).

    Raises:
        RunnerError: It is missing, or must be configured otherwise.
    """
    configured = runtimes.get(name)
    if configured is None:
        raise RunnerError(
            f"the container engine has no runtime called {name}",
            "install it and name it in the engine's daemon.json, or take the setting away",
        )
    arguments = [str(argument) for argument in configured.get("runtimeArgs") or ()]
    if name.startswith(_GVISOR) and not any(_LETS_CONNECT.fullmatch(one) for one in arguments):
        raise RunnerError(
            f"under the runtime {name} no script would reach its reactor",
            f"give it the argument --host-uds=open in the engine's daemon.json: "
            f'"runtimes": {{"{name}": {{"path": "…", "runtimeArgs": ["--host-uds=open"]}}}}',
        )


def _ready_files(paths: RunPaths) -> None:
    checks: Sequence[tuple[Path, Callable[[Path], bool]]] = (
        (paths.script, Path.is_file),
        (paths.gateway, Path.is_dir),
    )
    for path, is_right in checks:
        if path.is_symlink() or not is_right(path):
            raise RunnerError(f"{path} is missing: the node makes it before the start")
    paths.script.chmod(0o444)
    paths.results.mkdir(mode=0o700, exist_ok=True)  # the engine wants it; the mount comes beside


def _missing(engine: Mapping[str, Any], results: ResultsMode) -> Sequence[str]:
    """Say what this engine and this machine cannot do."""
    limits = {
        "MemoryLimit": "memory",
        "SwapLimit": "swap",
        "PidsLimit": "the number of processes",
        "CpuCfsQuota": "processor time",
    }
    lacking = [what for key, what in limits.items() if engine.get(key) is False]
    notes = [f"This engine cannot limit {' and '.join(lacking)}."] if lacking else []
    if not any("seccomp" in option for option in engine.get("SecurityOptions") or []):
        notes.append("This engine does not filter system calls.")
    if results == "tmpfs":
        notes.append(
            "Files are kept only if the script saves them with experiment.save: the runner may "
            "not make file systems here."
        )
    return notes
