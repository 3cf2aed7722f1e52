"""The guide to a cluster: its commands make the folders that three machines run from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker.embedded import find_nats

ROOT = Path(__file__).resolve().parents[3]
HOSTS = ("10.0.0.11", "10.0.0.12", "10.0.0.13")
BIOREACTOR = Path(sys.executable).with_name("bioreactor")


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


def test_what_access_writes_comes_to_every_machine(cluster: Path, tmp_path: Path) -> None:
    """The machines are folders: `rsync` and `ssh` are stood in for, the servers read for real."""
    tools = tmp_path / "tools"
    tools.mkdir()
    machines = tmp_path / "machines"
    for name, text in {
        "rsync": f"for to; do :; done; host=${{to#root@}}; host=${{host%%:*}}\n"
        f'mkdir -p {machines}/$host && cp -p "$3"* {machines}/$host\n',
        "ssh": f'echo "$@" >> {tmp_path}/told\n',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\nset -eu\n{text}")
        (tools / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "BIOREACTOR_ACCESS": str(tmp_path / "access"),
    }
    spread = f"{ROOT / 'deploy' / 'nats' / 'spread'} {cluster}"
    urls = ",".join(f"mqtts://{host}:1883" for host in HOSTS)
    names = [word for host in HOSTS for word in ("--name", host)]
    for command in (
        ["init", "--broker", "nats", "--url", urls, "--files", cluster / HOSTS[0],
         "--reload", spread],
        ["certificates", *names],
        ["add", "hub", "--role", "hub", "--unchecked"],
    ):  # fmt: skip
        subprocess.run(
            [BIOREACTOR, "access", *command], env=environment, check=True, stdout=subprocess.PIPE
        )
    assert (tmp_path / "told").read_text().splitlines()[-3:] == [
        f"root@{host} systemctl reload bioreactor-nats" for host in HOSTS
    ]
    program = find_nats()
    assert program is not None
    for host in HOSTS:
        here = machines / host
        assert host in (here / "nats.conf").read_text()
        assert '"hub"' in (here / "authorization.conf").read_text()
        done = subprocess.run(
            [program, "-t", "-c", "nats.conf"], cwd=here, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert {path.stat().st_mode & 0o777 for path in here.iterdir()} == {0o600}
