"""The guide to a cluster: its commands make the folders that three machines run from."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.access.directory import AccessDirectory
from broker.access.register import Target
from broker.embedded import find_nats

ROOT = Path(__file__).resolve().parents[3]
HOSTS = ("10.0.0.11", "10.0.0.12", "10.0.0.13")


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    program = ROOT / "deploy" / "nats" / "make.py"
    subprocess.run([sys.executable, program, tmp_path / "cluster", *HOSTS], check=True, cwd=ROOT)
    return tmp_path / "cluster"


def test_each_server_is_told_of_the_others_and_not_of_itself(cluster: Path) -> None:
    for host in HOSTS:
        path = cluster / host / "nats.conf"
        assert path.stat().st_mode & 0o777 == 0o600
        routes = [line for line in path.read_text().splitlines() if line.startswith('"cluster"')]
        assert len(routes) == 1
        assert {h for h in HOSTS if f"@{h}:6222" in routes[0]} == set(HOSTS) - {host}


@dataclass(frozen=True)
class Machines:
    """Three machines that are folders: `rsync` and `ssh` are stood in for.

    Attributes:
        told: What was said to them by `ssh`.
    """

    path: Path
    told: Path
    environment: dict[str, str]

    def check(self, *names: str) -> None:
        """Each has its own configuration with these principals, and its server takes it."""
        program = find_nats()
        assert program is not None
        for host in HOSTS:
            here = self.path / host
            assert host in (here / "nats.conf").read_text()
            listed = (here / "authorization.conf").read_text()
            assert all(f'"{name}"' in listed for name in names)
            done = subprocess.run(
                [program, "-t", "-c", "nats.conf"], cwd=here, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert {path.stat().st_mode & 0o777 for path in here.iterdir()} == {0o600}


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    tools, path, told = (tmp_path / name for name in ("tools", "machines", "told"))
    tools.mkdir()
    for name, text in {
        "rsync": f"for to; do :; done; host=${{to#root@}}; host=${{host%%:*}}\n"
        f'mkdir -p {path}/$host && cp -p "$3"* {path}/$host\n',
        "ssh": f'echo "$@" >> {told}\n',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\nset -eu\n{text}")
        (tools / name).chmod(0o755)
    search = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return Machines(path, told, {**os.environ, "PATH": search, "PYTHONPATH": str(ROOT)})


def guide(heading: str) -> str:
    """Return the commands of a section of the guide."""
    text = (ROOT / "docs" / "guides" / "growing.md").read_text().split(f"## {heading}\n")[1]
    return text.split("```sh", 1)[1].split("\n", 1)[1].split("```", 1)[0]


@pytest.mark.parametrize(
    ("heading", "more", "names"),
    [
        ("A cluster of three", "bioreactor access add hub --role hub --unchecked", ("hub",)),
        ("Several sites", "", ("hub-7", "hub-8")),
    ],
)
def test_the_guides_commands_reach_every_machine(
    machines: Machines, tmp_path: Path, heading: str, more: str, names: tuple[str, ...]
) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    environment = {**machines.environment, "BIOREACTOR_ACCESS": str(tmp_path / "access")}
    script = f"set -eu\n{guide(heading)}{more}\n"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    machines.check(*names)
    assert machines.told.read_text().splitlines()[-3:] == [
        f"root@{host} systemctl reload bioreactor-nats" for host in HOSTS
    ]


def test_two_sites_with_one_name_are_told(tmp_path: Path) -> None:
    for site in ("7", "8"):
        access = AccessDirectory(tmp_path / site)
        files = tmp_path / f"lists-{site}"
        access.describe(
            Target(
                kind="nats", url="mqtts://h:1", root=f"lab-{site}", files=files, reload=("true",)
            )
        )
        access.certify(["h"])
        access.add("hub", "hub")
    join: list[str | Path] = [
        sys.executable,
        ROOT / "deploy" / "nats" / "join.py",
        tmp_path,
        tmp_path / "7",
    ]
    done = subprocess.run(
        [*join, tmp_path / "8"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "join: taken by two sites: principal hub\n"
    AccessDirectory(tmp_path / "8").remove("hub")
    done = subprocess.run(
        [*join, tmp_path / "8"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "authorities of their own" in done.stderr
