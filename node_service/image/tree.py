"""The same packages as a directory, for a runner without images."""

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from node_service.image.cache import alone
from node_service.image.packages import install
from node_service.image.recipe import AllowList, Target, digest, sdk_files
from node_service.runner.interface import Progress, RunnerError

INTERPRETER: Final = Path("/usr/bin/python3")
"""The Python of the machine, which runs the scripts."""

_PREFIX: Final = "sha256:"
_ASK: Final = (
    "import json, platform, sys;"
    "print(json.dumps(['%d.%d' % sys.version_info[:2], platform.machine()]))"
)


class PackageTrees:
    """Directories with the packages and our SDK, named by a hash of what is in them.

    Args:
        cache: Holds them; shared by all runners of this user.
        recipes: Image name → directory with its allow-list and lock.
    """

    def __init__(self, cache: Path, recipes: Mapping[str, Path]) -> None:
        self._cache = cache
        self._allowed = {name: AllowList.load(path) for name, path in recipes.items()}

    def offered(self) -> Mapping[str, Mapping[str, str]]:
        """Return what scripts may import: image → import name → distribution."""
        return {name: allowed.imports for name, allowed in self._allowed.items()}

    def directory(self, image: str) -> Path:
        """Return the directory that `prepare` made.

        Raises:
            RunnerError: It is missing.
        """
        content = image.removeprefix(_PREFIX)
        directory = self._cache / f"packages-{content}"
        if not content.isalnum() or not directory.is_dir():
            raise RunnerError(
                "the experiment's packages are missing", "they are made again at the next start"
            )
        return directory

    async def prepare(self, image: str, progress: Progress) -> str:
        """Make the directory if it is missing; return its digest.

        Raises:
            RunnerError: There is no such image, or its packages cannot be fetched.
        """
        allowed = self._allowed.get(image)
        if allowed is None:
            raise RunnerError(
                f"there is no image called {image}",
                f"this node has {', '.join(self._allowed)}",
                "NOT_FOUND",
            )
        target = await asyncio.to_thread(_interpreter)
        sdk = await asyncio.to_thread(sdk_files)
        parts = [target.python, target.machine, allowed.locked_for(target)]
        content = digest([*parts, *(part for item in sdk.items() for part in item)])
        directory = self._cache / f"packages-{content}"
        if await asyncio.to_thread(directory.is_dir):
            return _PREFIX + content
        async with alone(self._cache, progress):
            if not await asyncio.to_thread(directory.is_dir):
                await self._make(directory, allowed, target, sdk, progress)
        await progress("the experiment's packages are ready")
        return _PREFIX + content

    async def _make(
        self,
        directory: Path,
        allowed: AllowList,
        target: Target,
        sdk: Mapping[str, bytes],
        progress: Progress,
    ) -> None:
        with tempfile.TemporaryDirectory(dir=self._cache) as name:
            draft = Path(name) / "packages"
            await install(allowed, target, draft, progress)
            await progress("compiling the packages")
            await asyncio.to_thread(_finish, draft, sdk)
            await asyncio.to_thread(draft.rename, directory)


def _finish(draft: Path, sdk: Mapping[str, bytes]) -> None:
    package = draft / "bioreactor"
    package.mkdir()
    for name, data in sdk.items():
        (package / name).write_bytes(data)
    subprocess.run(
        [
            INTERPRETER,
            "-S",
            "-m",
            "compileall",
            "-q",
            "--invalidation-mode",
            "unchecked-hash",
            draft,
        ],
        check=True,
        capture_output=True,
    )


def _interpreter() -> Target:
    try:
        asked = subprocess.run([INTERPRETER, "-S", "-c", _ASK], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RunnerError(
            f"{INTERPRETER} does not run: {error}", "install it: apt-get install python3"
        ) from error
    python, machine = json.loads(asked.stdout)
    return Target(python, machine)
