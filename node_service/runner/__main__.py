"""The runner's process: ``python -m node_service.runner``."""

import argparse
import asyncio
import hashlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from node_service.image.cache import default_cache
from node_service.image.recipe import recipes_of
from node_service.runner import volumes
from node_service.runner.interface import Runner, RunnerError, RunPaths
from node_service.runner.leftovers import runs_in
from node_service.runner.server import Server, only_one

REFUSED: Final = 78
"""Exit status where starting again would not help (EX_CONFIG)."""

_LOCK_PATIENCE: Final = 10.0


def main() -> None:
    """Serve until SIGTERM or SIGINT; exit status 78 if this machine cannot do what is asked."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_run(options))
    except RunnerError as error:
        sys.stderr.write(f"{error.message}; {error.hint}\n" if error.hint else f"{error.message}\n")
        sys.exit(REFUSED)


async def _run(options: argparse.Namespace) -> None:
    runs: Path = options.runs
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 (nothing runs yet)
    serving = asyncio.current_task()
    if serving is None:
        raise AssertionError("this runs in a task")
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        async with only_one(runs, _LOCK_PATIENCE), _runner(options) as runner:
            await Server(runner).run(options.socket)
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("the runner ends")


@asynccontextmanager
async def _runner(options: argparse.Namespace) -> AsyncIterator[Runner]:
    """Make the runner that is asked for. Nothing is imported that it does not need."""
    runs: Path = options.runs
    results = options.results or await asyncio.to_thread(volumes.probe, runs)
    recipes = recipes_of(dict(_named(text) for text in options.image))
    if options.kind == "bubblewrap":
        from node_service.image.tree import PackageTrees  # noqa: PLC0415
        from node_service.runner import cgroups  # noqa: PLC0415
        from node_service.runner.bubblewrap import BubblewrapRunner  # noqa: PLC0415

        instance = _instance(runs.resolve())  # noqa: ASYNC240
        await asyncio.to_thread(cgroups.sweep, f"{instance}-")
        sandboxes = BubblewrapRunner(PackageTrees(options.cache, recipes), runs, instance, results)
        try:
            yield sandboxes
        finally:
            await sandboxes.close()
            await _close_results(sandboxes, runs)
        return
    from node_service.image.build import DockerImages  # noqa: PLC0415
    from node_service.runner import seccomp  # noqa: PLC0415
    from node_service.runner.containers import DockerRunner  # noqa: PLC0415
    from node_service.runner.docker import Engine  # noqa: PLC0415
    from node_service.runner.options import Place  # noqa: PLC0415
    from node_service.runner.whereabouts import seen_by_engine  # noqa: PLC0415

    engine = Engine()
    real = runs.resolve()  # noqa: ASYNC240 (nothing runs yet)
    seen = await seen_by_engine(engine, real, in_container=options.in_container)
    place = Place(
        node=options.node,
        instance=_instance(seen),
        runtime=options.runtime,
        seccomp=seccomp.profile(),
        results=results,
        cpus=os.cpu_count() or 1,
        runs=seen,
        propagation="rslave" if options.in_container else "rprivate",
    )
    images = DockerImages(engine, options.base_image, options.cache, recipes)
    containers = DockerRunner(engine, images, runs, place)
    try:
        yield containers
    finally:
        await containers.close()
        await _close_results(containers, runs)
        await engine.close()


async def _close_results(runner: Runner, runs: Path) -> None:
    """Unmount the results of what does not run; the next start opens what the node still wants."""
    log = logging.getLogger(__name__)
    try:
        at_work = {found.run for found in await runner.find() if found.state != "exited"}
        for run in await asyncio.to_thread(lambda: list(runs_in(runs))):
            if run not in at_work:
                await asyncio.to_thread(volumes.release, RunPaths.of(runs, run))
    except RunnerError as error:
        log.warning("results stay mounted until the next start: %s", error.message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("node_service.runner", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="where to listen")
    parser.add_argument("--runs", type=Path, required=True, help="directory of the runs")
    parser.add_argument("--node", required=True, help="the node's name, for labels")
    parser.add_argument("--kind", choices=("docker", "bubblewrap"), required=True)
    parser.add_argument("--base-image", default="python:3.11-slim-bookworm")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--runtime", help="of the engine, for example runsc")
    parser.add_argument(
        "--results",
        choices=("filesystem", "tmpfs"),
        help="how /results is made; found out by trying if left out",
    )
    parser.add_argument(
        "--in-container",
        action="store_true",
        help="this process runs in a container of the engine: the runs lie on one of its volumes",
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME=DIRECTORY",
        help="an image and the directory of its allow-list, instead of the standard one",
    )
    return parser


def _instance(runs: Path) -> str:
    """Return what tells this runner's containers from those of others: where its runs lie."""
    return hashlib.sha256(os.fsencode(runs)).hexdigest()[:12]


def _named(text: str) -> tuple[str, str]:
    name, _, directory = text.partition("=")
    if not name or not directory:
        raise RunnerError(f"--image {text}: NAME=DIRECTORY is wanted")
    return name, directory


if __name__ == "__main__":
    main()
