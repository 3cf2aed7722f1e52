"""`bioreactor image`: several images by configuration, built, shown, and held to their recipes."""

import asyncio
import json
import re
import secrets
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from node_service.image.recipe import DEFAULT
from node_service.runner.process import RunnerSettings
from tests.support.system import BIOREACTOR

SMALL: Final = f"small-{secrets.token_hex(4)}"
"""Nobody else's on a shared engine, for it is spoilt in the end."""
UMASK: Final = 0o077
"""A node's unit has it; a script is another user, and must read what was built all the same."""


@pytest.fixture
def small_recipe(tmp_path: Path) -> Path:
    """A recipe with one small package, pinned as in the one that comes with the node."""
    directory = tmp_path / "small"
    directory.mkdir()
    (directory / "packages.toml").write_text(
        '[packages.simple-pid]\nversion = ">=2"\nimports = ["simple_pid"]\n'
    )
    lock = (DEFAULT / "requirements.lock").read_text()
    pinned = re.search(r"^simple-pid==(?:.*\\\n)*.*\n", lock, re.MULTILINE)
    assert pinned is not None
    (directory / "requirements.lock").write_text(pinned[0])
    return directory


@pytest.fixture
def config(settings: RunnerSettings, bare_recipe: Path, small_recipe: Path, tmp_path: Path) -> Path:
    node = {
        "runner": settings.kind,
        "allow_reduced_isolation": True,
        "base_image": settings.base_image,
        "cache_dir": str(settings.cache),
        "data_dir": str(tmp_path / "node"),
    }
    images = {"bare": bare_recipe, SMALL: small_recipe, "standard": "bundled"}
    text = "[node]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in node.items())
    text += "[node.images]\n" + "".join(f'{name} = "{at}"\n' for name, at in images.items())
    path = tmp_path / "node.toml"
    path.write_text(text)
    return path


async def image(*arguments: object) -> tuple[int, Any, str]:
    """Run what `bioreactor image` becomes; return exit status, answer and what it said beside."""
    return await _run([sys.executable, "-m", "node_service.image"], *arguments)


async def _run(command: list[str], *arguments: object) -> tuple[int, Any, str]:
    process = await asyncio.create_subprocess_exec(
        *command, *(str(one) for one in arguments),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, umask=UMASK,
    )  # fmt: skip
    out, said = await process.communicate()
    return process.returncode or 0, json.loads(out or b"null"), said.decode()


async def test_an_image_is_built_and_held_to_its_recipe(
    settings: RunnerSettings, config: Path
) -> None:
    rest = (SMALL, "--json", "--config", config)
    code, built, said = await image("build", *rest)
    assert (code, "image is ready" in said or "packages are ready" in said) == (0, True), said
    digest = built[SMALL]["digest"]
    code, verified, _ = await image("verify", *rest)
    assert (code, verified[SMALL]["problems"]) == (0, [])
    assert verified[SMALL]["digest"] == digest
    assert verified[SMALL]["packages"].keys() == {"simple-pid"}
    assert verified[SMALL]["imports"] == {"simple_pid": "simple-pid"}
    assert verified[SMALL]["size"] > 10_000

    spoilt = await _spoil(settings, digest)
    code, verified, _ = await image("verify", *rest)
    if spoilt:
        await _docker("image", "rm", spoilt)  # and with it the one it was made of
    assert code == 1
    problems = "\n".join(verified[SMALL]["problems"])
    assert "simple_pid/pid.py is not the file that simple-pid came with" in problems
    assert "stray.py belongs to no package" in problems


@pytest.mark.parametrize("settings", ["bubblewrap"], indirect=True)
async def test_all_that_is_offered_is_shown_and_what_cannot_be_is_said_in_a_sentence(
    config: Path, small_recipe: Path
) -> None:
    command = [str(BIOREACTOR), "image"]
    code, shown, _ = await _run(command, "show", "--json", "--config", config)
    assert (code, list(shown)) == (0, ["bare", SMALL, "standard"])
    assert {"digest", "size", "python", "machine"} <= shown[SMALL].keys()
    assert "numpy" in shown["standard"]["packages"]
    code, _, said = await image("verify", "large", "--config", config)
    assert (code, said.count("\n")) == (78, 1)
    assert f"there is no image called large; this node has bare, {SMALL}, standard" in said
    (small_recipe / "packages.toml").write_text("[packages.numpy]\nversion = 2\n")
    code, _, said = await image("show", "--config", config)
    assert (code, said.count("\n")) == (78, 1)
    assert f"the image {SMALL} cannot be offered: packages.numpy needs a version" in said


async def _spoil(settings: RunnerSettings, digest: str) -> str | None:
    """Change what is inside; at an engine, return the image that has its name and labels now."""
    if settings.kind == "bubblewrap":
        assert settings.cache is not None
        _spoil_directory(settings.cache, digest)
        return None
    (described,) = json.loads(await _docker("image", "inspect", digest))
    change = "echo '# changed' >> simple_pid/pid.py && touch stray.py"
    run = ("run", "-d", "--network=none", "-u", "0", "-w", "/opt/packages", digest, "sh", "-c")
    container = (await _docker(*run, change)).strip()
    await _docker("wait", container)
    spoilt = (await _docker("commit", container, described["RepoTags"][0])).strip()
    await _docker("rm", container)
    return spoilt


def _spoil_directory(cache: Path, digest: str) -> None:
    named = (cache / f"sdk-{digest.removeprefix('sha256:')}" / "packages").read_text()
    with (cache / named / "simple_pid" / "pid.py").open("a") as file:
        file.write("# changed\n")
    (cache / named / "stray.py").touch()


async def _docker(*arguments: str) -> str:
    asked = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asked.communicate()
    assert asked.returncode == 0
    return output.decode()
