"""The same packages as a directory, for a runner without images."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node_service.image.cache import alone
from node_service.image.packages import install
from node_service.image.recipe import (
    AllowList,
    Built,
    Target,
    digest,
    known,
    load_all,
    sdk_files,
)
from node_service.runner.interface import Progress, RunnerError

INTERPRETER: Final = Path("/usr/bin/python3")
"""The Python of the machine, which runs the scripts."""

_FORGOTTEN_AFTER: Final = 60 * 86400.0
_PREFIX: Final = "sha256:"
_DIGEST: Final = re.compile(_PREFIX + "[0-9a-f]{64}")
_ASK: Final = (
    "import json, platform, sys;"
    "print(json.dumps(['%d.%d' % sys.version_info[:2], platform.machine()]))"
)


@dataclass(frozen=True, slots=True)
class Tree:
    """What a sandbox imports from.

    Attributes:
        packages: Directory of the allowed packages; has an empty `bioreactor` to mount the SDK on.
        sdk: Directory of our SDK.
    """

    packages: Path
    sdk: Path


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What goes into the directories, and where they lie."""

    allowed: AllowList
    target: Target
    files: Mapping[str, bytes]
    digest: str
    packages: Path
    sdk: Path


class PackageTrees:
    """Directories with the packages, and beside them our SDK, named by hashes of what is in them.

    Args:
        cache: Holds them; shared by all runners of this user.
        recipes: Image name → directory with its allow-list and lock.
    """

    def __init__(self, cache: Path, recipes: Mapping[str, Path]) -> None:
        self._cache = cache
        self._allowed = load_all(recipes)

    def offered(self) -> Mapping[str, Mapping[str, str]]:
        """Return what scripts may import: image → import name → distribution."""
        return {name: allowed.imports for name, allowed in self._allowed.items()}

    def tree(self, image: str) -> Tree:
        """Return what `prepare` made.

        Raises:
            RunnerError: It is missing.
        """
        sdk = self._cache / f"sdk-{image.removeprefix(_PREFIX)}"
        try:
            if _DIGEST.fullmatch(image) is None:
                raise RunnerError(f"{image!r} is no digest of an image", code="MALFORMED")
            packages = self._cache / (sdk / "packages").read_text()
            os.utime(packages)  # in use: see _forget_old
        except FileNotFoundError as error:
            raise RunnerError(
                "the experiment's packages are missing", "they are made again at the next start"
            ) from error
        return Tree(packages, sdk / "bioreactor")

    async def prepare(self, image: str, progress: Progress) -> str:
        """Make the directories if they are missing; return their digest.

        Raises:
            RunnerError: There is no such image, or its packages cannot be fetched.
        """
        recipe = await self._recipe(image)
        packages, sdk = recipe.packages, recipe.sdk
        if not await asyncio.to_thread(_are_there, packages, sdk):
            async with alone(self._cache, progress):
                with tempfile.TemporaryDirectory(dir=self._cache) as name:
                    await _make_packages(recipe, Path(name), progress)
                    await asyncio.to_thread(_make_sdk, recipe, Path(name))
                await asyncio.to_thread(_forget_old, self._cache)
            await progress("the experiment's packages are ready")
        return recipe.digest

    async def look(self, image: str) -> Built | None:
        """Return the packages as they lie there; None if they were not fetched yet.

        Raises:
            RunnerError: There is no such image.
        """
        recipe = await self._recipe(image)
        if not await asyncio.to_thread(_are_there, recipe.packages, recipe.sdk):
            return None
        size = await asyncio.to_thread(_size, recipe.packages, recipe.sdk)
        return Built(recipe.digest, size, as_wanted=True)

    async def target(self) -> Target:
        """Return the machine and Python that the packages are for."""
        return await asyncio.to_thread(_interpreter)

    async def _recipe(self, image: str) -> _Recipe:
        allowed = known(self._allowed, image)
        target = await self.target()
        files = await asyncio.to_thread(sdk_files)
        locked = digest([target.python, target.machine, allowed.locked_for(target)])
        content = digest([locked, *(part for item in files.items() for part in item)])
        return _Recipe(
            allowed,
            target,
            files,
            _PREFIX + content,
            self._cache / f"packages-{locked}",
            self._cache / f"sdk-{content}",
        )


async def _make_packages(recipe: _Recipe, draft: Path, progress: Progress) -> None:
    if await asyncio.to_thread(recipe.packages.is_dir):
        return
    new = draft / "packages"
    await install(recipe.allowed, recipe.target, new, progress)
    await progress("compiling the packages")
    await asyncio.to_thread((new / "bioreactor").mkdir)
    await asyncio.to_thread(_finish, new)
    await asyncio.to_thread(new.rename, recipe.packages)


def _make_sdk(recipe: _Recipe, draft: Path) -> None:
    if recipe.sdk.is_dir():
        return
    new = draft / "sdk"
    package = new / "bioreactor"
    package.mkdir(parents=True)
    for name, data in recipe.files.items():
        (package / name).write_bytes(data)
    _finish(package)
    (new / "packages").write_text(recipe.packages.name)
    new.rename(recipe.sdk)


def _are_there(packages: Path, sdk: Path) -> bool:
    return packages.is_dir() and sdk.is_dir()


def _size(*directories: Path) -> int:
    return sum(path.lstat().st_size for at in directories for path in at.rglob("*"))


def _finish(directory: Path) -> None:
    """Compile all, and let scripts read it whatever the umask: root's run as another user."""
    compile_all = ["-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    subprocess.run(
        [str(INTERPRETER), "-S", *compile_all, str(directory)], check=True, capture_output=True
    )
    subprocess.run(["/usr/bin/chmod", "-R", "a+rX", str(directory)], check=True)


def _forget_old(cache: Path) -> None:
    """Remove packages that no sandbox was started with for long."""
    for packages in cache.glob("packages-*"):
        if time.time() - packages.stat().st_mtime > _FORGOTTEN_AFTER:
            shutil.rmtree(packages)


def _interpreter() -> Target:
    try:
        asked = subprocess.run([INTERPRETER, "-S", "-c", _ASK], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RunnerError(
            f"{INTERPRETER} does not run: {error}", "install it: apt-get install python3"
        ) from error
    python, machine = json.loads(asked.stdout)
    return Target(python, machine)
