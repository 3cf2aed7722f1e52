"""Building the experiment image with an engine, and finding it again.

The tag is a hash of everything that goes in: the base image's digest, the lock, the Dockerfiles
and our SDK. So an unchanged image is found at once, and what differs is another image. The
packages are an image of their own below it: a new SDK costs a second, not a minute.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from node_service.image.cache import alone
from node_service.image.packages import install
from node_service.image.recipe import (
    DEFAULT,
    PYTHON,
    AllowList,
    Built,
    Target,
    digest,
    known,
    load_all,
    sdk_files,
)
from node_service.runner.docker import (
    Engine,
    NotFoundError,
    build_image,
    inspect_image,
    list_images,
    pull_image,
    remove_image,
)
from node_service.runner.interface import Progress, RunnerError
from node_service.runner.options import LABEL_CONTENT, LABEL_IMAGE

DEFAULT_BASE: Final = "python:3.11-slim-bookworm"

_KEPT: Final = 3
"""Newest images of a kind that stay; older ones are removed if nothing uses them."""

_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What goes into an image; `packages` and `content` are hashes over it."""

    allowed: AllowList
    target: Target
    packages: str
    sdk: Mapping[str, bytes]
    content: str
    tag: str


class DockerImages:
    """The images that this node offers.

    Args:
        engine: Builds them.
        base: Name of the base image; pulled if the engine does not have it.
        cache: Directory for what is being unpacked; shared by all runners of this user.
        recipes: Image name → directory with its allow-list and lock.
    """

    def __init__(self, engine: Engine, base: str, cache: Path, recipes: Mapping[str, Path]) -> None:
        self._engine = engine
        self._base = base
        self._cache = cache
        self._allowed = load_all(recipes)

    def offered(self) -> Mapping[str, Mapping[str, str]]:
        """Return what scripts may import: image → import name → distribution."""
        return {name: allowed.imports for name, allowed in self._allowed.items()}

    async def prepare(self, image: str, progress: Progress) -> str:
        """Build the image if it is missing; return its digest.

        Several runners may ask at once: one builds, the others wait for it.

        Raises:
            RunnerError: There is no such image, or it cannot be built.
        """
        known(self._allowed, image)
        recipe = await self._recipe(image, await self._base_digest(progress))
        existing = await self._digest_of(recipe.tag)
        if existing is not None:
            return existing
        async with alone(self._cache, progress):
            existing = await self._digest_of(recipe.tag)
            if existing is not None:
                return existing
            below = await self._packages_image(recipe, progress)
            await progress("adding the SDK")
            labels = {LABEL_IMAGE: image, LABEL_CONTENT: recipe.content}
            with tempfile.TemporaryDirectory(dir=self._cache) as name:
                await asyncio.to_thread(_write_sdk, Path(name), recipe.sdk)
                await self._build(
                    Path(name), recipe.tag, {"PACKAGES_IMAGE": below}, labels, progress
                )
            await self._forget_old(f"bioreactor-experiment:{image}-*")
            await self._forget_old("bioreactor-packages:*")
        built = await self._digest_of(recipe.tag)
        if built is None:
            raise RunnerError("the experiment image was built, but the engine does not have it")
        await progress("the experiment image is ready")
        return built

    async def look(self, image: str) -> Built | None:
        """Return the image as the engine has it; None if it was not built yet.

        Raises:
            RunnerError: There is no such image, or the engine does not answer.
        """
        known(self._allowed, image)
        base = await self._digest_of(self._base)
        if base is None:
            return None
        recipe = await self._recipe(image, base)
        try:
            found = await self._engine.call(lambda api: inspect_image(api, recipe.tag))
        except NotFoundError:
            return None
        labels = found["Config"].get("Labels") or {}
        return Built(
            digest=str(found["Id"]),
            size=int(found["Size"]),
            as_wanted=labels.get(LABEL_IMAGE) == image
            and labels.get(LABEL_CONTENT) == recipe.content,
        )

    async def target(self) -> Target:
        """Return the machine and Python that images are for."""
        engine = await self._engine.call(lambda api: api.version())
        return Target(PYTHON, _MACHINES.get(engine["Arch"], engine["Arch"]))

    async def _recipe(self, image: str, base: str) -> _Recipe:
        """Return what the image is made of, on the base image with this digest."""
        allowed = known(self._allowed, image)
        target = await self.target()
        packages = digest(
            [base, allowed.locked_for(target), _text("packages.Dockerfile"), *allowed.imports]
        )
        sdk = await asyncio.to_thread(sdk_files)
        content = digest(
            [packages, _text("Dockerfile"), *(part for item in sdk.items() for part in item)]
        )
        tag = f"bioreactor-experiment:{image}-{content[:16]}"
        return _Recipe(allowed, target, packages, sdk, content, tag)

    async def _packages_image(self, recipe: _Recipe, progress: Progress) -> str:
        tag = f"bioreactor-packages:{recipe.packages[:16]}"
        if await self._digest_of(tag) is not None:
            return tag
        with tempfile.TemporaryDirectory(dir=self._cache) as name:
            context = Path(name)
            await install(recipe.allowed, recipe.target, context / "packages", progress)
            await asyncio.to_thread(
                shutil.copyfile, DEFAULT / "packages.Dockerfile", context / "Dockerfile"
            )
            await progress("building the image of the packages")
            imports = "; ".join(f"import {module}" for module in recipe.allowed.imports)
            arguments = {"BASE_IMAGE": self._base, "IMPORTS": imports}
            labels = {LABEL_CONTENT: recipe.packages}
            await self._build(context, tag, arguments, labels, progress)
        return tag

    async def _build(
        self,
        context: Path,
        tag: str,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
        progress: Progress,
    ) -> None:
        steps: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(line: str) -> None:
            loop.call_soon_threadsafe(steps.put_nowait, line)

        async def pass_on() -> None:
            while (line := await steps.get()) is not None:
                await progress(line)

        passing_on = asyncio.create_task(pass_on(), name="build-progress")
        try:
            await self._engine.call(
                lambda api: build_image(
                    api, context, tag=tag, arguments=arguments, labels=labels, tell=tell
                )
            )
        finally:
            steps.put_nowait(None)
            await passing_on

    async def _base_digest(self, progress: Progress) -> str:
        present = await self._digest_of(self._base)
        if present is None:
            await progress(f"pulling the base image {self._base}")
            try:
                await self._engine.call(lambda api: pull_image(api, self._base))
            except RunnerError as error:
                raise RunnerError(
                    f"the base image {self._base} cannot be had: {error.message}",
                    "pull or load it by hand, or name one that the engine has "
                    "(setting base_image, environment BIOREACTOR_NODE_BASE_IMAGE)",
                ) from error
            present = await self._digest_of(self._base)
        if present is None:
            raise RunnerError(f"the base image {self._base} is missing after it was pulled")
        return present

    async def _digest_of(self, name: str) -> str | None:
        try:
            image = await self._engine.call(lambda api: inspect_image(api, name))
        except NotFoundError:
            return None
        return str(image["Id"])

    async def _forget_old(self, pattern: str) -> None:
        images = await self._engine.call(lambda api: list_images(api, pattern))
        for old in images[_KEPT:]:
            with suppress(RunnerError):  # a container or another image still uses it
                await self._engine.call(partial(remove_image, name=old))


def _text(name: str) -> str:
    return (DEFAULT / name).read_text()


def _write_sdk(context: Path, sdk: Mapping[str, bytes]) -> None:
    shutil.copyfile(DEFAULT / "Dockerfile", context / "Dockerfile")
    package = context / "bioreactor"
    package.mkdir()
    for name, data in sdk.items():
        (package / name).write_bytes(data)
