"""Pinning an allow-list: `requirements.lock`, made from `packages.toml` by uv.

The lock holds every version that may be taken, for every machine, with its hashes, and names no
package index.
"""

import shutil
import subprocess
from pathlib import Path

from node_service.image.recipe import PYTHON, wanted_in
from node_service.runner.interface import RunnerError


def write_lock(directory: Path) -> None:
    """Resolve `packages.toml` in a directory and write `requirements.lock` beside it.

    Raises:
        RunnerError: The allow-list is damaged, uv is missing, or no versions fit together.
    """
    uv = shutil.which("uv")
    if uv is None:
        raise RunnerError("uv is missing, which pins the packages", "pip install uv")
    try:
        wanted = wanted_in(directory)
    except (OSError, ValueError) as error:
        raise RunnerError(f"{directory / 'packages.toml'} cannot be read: {error}") from error
    lines = "".join(f"{name}{version}\n" for name, version in wanted.items())
    done = subprocess.run(
        [
            uv, "pip", "compile", "-", "--universal", "--python-version", PYTHON,
            "--only-binary", ":all:", "--generate-hashes",
            "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet",
        ],
        input=lines, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RunnerError(
            f"the packages of {directory} cannot be pinned: {done.stderr.strip()}",
            "see that the versions in packages.toml exist as wheels and fit together",
        )
    (directory / "requirements.lock").write_text(done.stdout, encoding="utf-8")
