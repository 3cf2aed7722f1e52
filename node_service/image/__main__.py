"""The images that scripts run in: ``bioreactor image build|show|verify|lock``.

Which there are, and what each holds, is said by the node's settings: section ``[node.images]``,
image name = directory with `packages.toml` and `requirements.lock`.
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

from broker.messages import ContractError
from broker.settings import SettingsError, load_settings
from node_service.image.cache import default_cache
from node_service.image.lock import write_lock
from node_service.image.recipe import (
    AllowList,
    Built,
    Target,
    known,
    load_all,
    recipes_of,
    sdk_files,
)
from node_service.image.verify import compare, look_inside
from node_service.isolation import choose
from node_service.runner.interface import Progress, RunnerError
from node_service.runner.process import RunnerSettings
from node_service.settings import NodeSettings

FAULTY: Final = 1
"""Exit status where an image is not what it should be, or is missing."""
REFUSED: Final = 78
"""Exit status where the settings or this machine do not allow it (EX_CONFIG)."""


class Images(Protocol):
    """What makes images, with an engine or without."""

    async def prepare(self, image: str, progress: Progress) -> str:
        """Build the image if it is missing; return its digest."""
        ...

    async def look(self, image: str) -> Built | None:
        """Return the image; None if it was not built yet."""
        ...

    async def target(self) -> Target:
        """Return the machine and Python that images are for."""
        ...


def main() -> None:
    """Do what the command line says."""
    options = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        settings = load_settings(NodeSettings, "node", options.config)
        recipes = recipes_of({name: str(at) for name, at in settings.images.items()})
        names: Sequence[str] = options.image or [*recipes]
        if options.command == "lock":
            for name in names:
                known(recipes, name)
                write_lock(recipes[name])
            return
        allowed = load_all(recipes)
        for name in names:
            known(allowed, name)
        sound = asyncio.run(_with_images(options, settings, names, allowed))
    except RunnerError as error:
        _refuse(f"{error.message}; {error.hint}" if error.hint else error.message)
    except ContractError as error:
        _refuse(f"{error}; {error.error.hint}")
    except SettingsError as error:
        _refuse(str(error))
    sys.exit(0 if sound else FAULTY)


async def _with_images(
    options: argparse.Namespace,
    settings: NodeSettings,
    names: Sequence[str],
    allowed: Mapping[str, AllowList],
) -> bool:
    """Build, show or verify; return whether all is well."""
    runner = RunnerSettings(
        kind=choose(settings),
        node=settings.id,
        directory=settings.data_dir,
        base_image=settings.base_image,
        cache=settings.cache_dir,
        runtime=settings.runtime,
        images=settings.images,
    )
    told: dict[str, Any] = {}
    async with _open(runner) as images:
        for name in names:
            if options.command == "build":
                told[name] = {"digest": await images.prepare(name, _progress)}
                continue
            told[name] = await _shown(images, name, allowed[name])
            if options.command == "verify":
                told[name]["problems"] = await _problems(images, runner, name, allowed[name])
    if options.json:
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(line for item in told.items() for line in _lines(*item)) + "\n")
    return all(not one.get("problems") for one in told.values())


async def _shown(images: Images, name: str, allowed: AllowList) -> dict[str, Any]:
    target = await images.target()
    built = await images.look(name)
    return {
        "digest": None if built is None else built.digest,
        "size": None if built is None else built.size,
        "python": target.python,
        "machine": target.machine,
        "packages": dict(allowed.versions(target)),
        "imports": dict(allowed.imports),
    }


async def _problems(
    images: Images, runner: RunnerSettings, name: str, allowed: AllowList
) -> Sequence[str]:
    built = await images.look(name)
    if built is None:
        return [f"it is not there: `bioreactor image build {name}` makes it"]
    found = await look_inside(runner, built.digest)
    target = await images.target()
    sdk = await asyncio.to_thread(sdk_files)
    labels = [] if built.as_wanted else ["its labels name another recipe"]
    return [*labels, *compare(found, allowed.versions(target), sdk, target, runner.kind)]


@asynccontextmanager
async def _open(settings: RunnerSettings) -> AsyncIterator[Images]:
    cache = settings.cache or default_cache()
    recipes = recipes_of({name: str(at) for name, at in settings.images.items()})
    if settings.kind == "bubblewrap":
        from node_service.image.tree import PackageTrees  # noqa: PLC0415 (needs no engine)

        yield PackageTrees(cache, recipes)
        return
    from node_service.image.build import DockerImages  # noqa: PLC0415
    from node_service.runner.docker import Engine  # noqa: PLC0415

    engine = Engine()
    try:
        yield DockerImages(engine, settings.base_image, cache, recipes)
    finally:
        await engine.close()


def _lines(name: str, one: Mapping[str, Any]) -> Sequence[str]:
    """Return what is told of an image, for people."""
    if "packages" not in one:
        return [f"{name}  {one['digest']}"]
    there = "not built yet" if one["digest"] is None else one["digest"]
    size = "" if one["size"] is None else f"  {one['size'] / 1e6:.0f} MB"
    lines = [f"{name}  {there}{size}  Python {one['python']}, {one['machine']}"]
    if "problems" in one:
        return [*lines, *(f"  {problem}" for problem in one["problems"] or ["sound"])]
    by_package: dict[str, list[str]] = {}
    for module, package in one["imports"].items():
        by_package.setdefault(package, []).append(module)
    for package, version in sorted(one["packages"].items()):
        modules = by_package.get(package)
        lines.append(
            f"  {package} {version}" + (f"  import {', '.join(modules)}" if modules else "")
        )
    return lines


async def _progress(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bioreactor image", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in (
        ("build", "build what is missing"),
        ("show", "say which there are, with packages and versions, digest and size"),
        ("verify", "compare what is there with its recipe, without building it again"),
        ("lock", "pin the packages of packages.toml anew; needs uv"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("image", nargs="*", help="name of an image; all if left out")
        command.add_argument("--config", type=Path, help="TOML file of the node")
        if name != "lock":
            command.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def _refuse(sentence: str) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    sys.exit(REFUSED)


if __name__ == "__main__":
    main()
