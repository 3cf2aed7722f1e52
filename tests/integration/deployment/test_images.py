"""What `make images` asks compose for; that the images are so is seen in `test_compose.py`."""

import os
import re
import subprocess
from pathlib import Path

import yaml

from broker import VERSION
from tests.support.system import ROOT

COMPOSE = """#!/bin/sh
# The plugin, which shows what it would build.
[ "$2" = build ] || exit 0
exec docker-compose config
"""


def test_version_and_revision_are_those_of_the_tree(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(COMPOSE)
    docker.chmod(0o700)
    shown = subprocess.run(
        ["make", "-s", "images"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    services = yaml.safe_load(shown.stdout)["services"]
    assert len(services) > 1
    for service in services.values():
        arguments = service["build"]["args"]
        assert (arguments["VERSION"], arguments["REVISION"]) == (VERSION, revision)


def test_no_image_has_a_version_of_its_own() -> None:
    dockerfile = (ROOT / "deploy" / "images" / "Dockerfile").read_text()
    said = re.findall(r"^ARG VERSION(.*)$", dockerfile, re.MULTILINE)
    labels = dockerfile.count('org.opencontainers.image.version="${VERSION}"')
    assert said == ["=unknown"] * labels
    assert labels > 1
