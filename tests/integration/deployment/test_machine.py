"""The guides to a server and a node, followed on a machine whose first process is a real systemd.

The machine is a container; the blocks of the pages are run there as they stand. Packages come from
a folder instead of an index, and the engine that runs experiments is that of the machine around.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.documentation.pages import DOCS, ROOT, blocks
from tests.support.system import EXAMPLES, base_image, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

HERE: Final = Path(__file__).parent / "machine"
ENGINE: Final = Path("/var/run/docker.sock")
SERVICES: Final = ("bioreactor-hub", "bioreactor-portal", "bioreactor-node@reactor-1")
PACKAGES: Final = re.compile(r"^apt-get install (.*)$", re.MULTILINE)
ENDS: Final = {"completed", "failed", "cancelled"}
NOTHING: Final[Mapping[str, str]] = {}
FEEDING: Final = "[Service]\nWatchdogSec=5\n"


@dataclass
class Machine:
    """A running one; `state` is a folder that it and the engine know by the same path."""

    name: str
    state: Path

    def sh(self, script: str, *, seconds: float = 300) -> str:
        """Run a shell script as root and return what it printed."""
        done = subprocess.run(
            ["docker", "exec", "-i", "-w", "/root/bioreactor", self.name, "bash"],
            input=f"set -euo pipefail\n{script}\n", capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def follow(self, page: str, *, instead: Mapping[str, str] = NOTHING) -> str:
        """Run a page's shell blocks as one script."""
        shown = blocks(DOCS / "guides" / page)
        code = "\n".join(block.code for block in shown if block.language == "sh")
        for text, other in instead.items():
            assert text in code, f"{page} no longer says {text!r}"
            code = code.replace(text, other)
        return self.sh(code)

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.sh(f"systemctl show --value -p {name} {unit}").strip()

    def drop_in(self, unit: str, text: str) -> None:
        """Change a unit as `systemctl edit` does."""
        folder = f"/etc/systemd/system/{unit}.service.d"
        self.sh(
            f"mkdir -p '{folder}'; cat >'{folder}/test.conf' <<'X'\n{text}\nX\n"
            "systemctl daemon-reload"
        )

    def get(self, path: str) -> Any:
        """Ask the portal."""
        session = "X-Session-ID: the-user-of-this-test"
        return json.loads(self.sh(f"curl -sSf -H '{session}' http://127.0.0.1:8000{path}"))

    def status(self, experiment: str) -> str:
        """Return what the portal says of an experiment."""
        return str(self.get(f"/api/experiments/{experiment}/status")["experiment"]["status"])

    def reactors(self) -> int:
        """Return how many are online; 0 where nobody answers."""
        try:
            return int(self.get("/health")["nodes_online"])
        except AssertionError:
            return 0

    def journal(self, unit: str) -> str:
        """Return a unit's log."""
        return self.sh(f"journalctl --no-pager -o cat -u {unit}")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of ourselves and of all that we need, as the lock file pins it."""
    place = tmp_path_factory.mktemp("wheels")
    uv = Path(sys.executable).with_name("uv")
    build = (uv, "build", "-q", "--no-build-isolation", "--python", sys.executable, "-o", place)
    subprocess.run([*build, "--wheel", ROOT], check=True)
    (wheel,) = place.glob("*.whl")
    # Our own wheel has no hash in the lock file, so pip would refuse the file as it is.
    pins = place / "pins"
    pins.write_text(
        re.sub(r" \\\n *--hash=\S+", "", (ROOT / "requirements.lock").read_text()), "utf-8"
    )
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "-d", place, "--only-binary", ":all:",
         "--disable-pip-version-check", "-c", pins, f"{wheel}[hub,node,portal]"],
        check=True, stderr=subprocess.PIPE,
    )  # fmt: skip
    return place


@pytest.fixture(scope="module")
def empty(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with Debian's packages that the guides name, and nothing of ours."""
    state = tmp_path_factory.mktemp("state")
    base = base_image().get("BIOREACTOR_NODE_BASE_IMAGE", "python:3.11-slim-bookworm")
    found = PACKAGES.search((DOCS / "guides" / "server.md").read_text())
    assert found is not None
    arguments = ("--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"PACKAGES={found[1]}")
    tag = "bioreactor-test-machine"
    subprocess.run(["docker", "build", "-q", *arguments, "-t", tag, HERE], check=True)
    machine = Machine(f"bioreactor-test-machine-{uuid.uuid4().hex[:8]}", state)
    mounts = {wheels: "/wheels:ro", ROOT: "/root/bioreactor:ro", ENGINE: "/run/engine.sock"}
    subprocess.run(
        ["docker", "run", "-d", "--name", machine.name, "--cgroupns", "private",
         *(f"--cap-add={one}" for one in ("SYS_ADMIN", "SYS_NICE", "SYS_PTRACE", "NET_ADMIN")),
         "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
         "--network", "none", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp",  # noqa: S108
         *(f"--volume={there}:{here}" for there, here in mounts.items()),
         "--volume", f"{state}:{state}", tag],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for("systemd", lambda: _is_up(machine), 60)
        yield machine
    finally:
        subprocess.run(
            ["docker", "rm", "-f", "-v", machine.name], check=True, stdout=subprocess.DEVNULL
        )


def _is_up(machine: Machine) -> bool:
    """Whether all that starts by itself has started."""
    done = subprocess.run(
        ["docker", "exec", machine.name, "systemctl", "is-system-running", "--wait"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() in {"running", "degraded"}


@pytest.fixture(scope="module")
def machine(empty: Machine) -> Machine:
    """One on which the guides were followed, with a simulated reactor."""
    empty.sh(
        "printf '[global]\\nno-index = true\\nfind-links = /wheels\\n' >/etc/pip.conf\n"
        # Debian's package of the engine would make this group.
        f"groupadd --system --gid {ENGINE.stat().st_gid} docker"
    )
    empty.follow("server.md")
    empty.sh(
        "/opt/bioreactor/bin/pip install -q 'bioreactor[node]'\n"
        "cp -r /etc/bioreactor/access/clients/reactor-1 /etc/bioreactor/reactor-1\n"
        "bioreactor service install node --name reactor-1 --client /etc/bioreactor/reactor-1"
    )
    base = base_image().get("BIOREACTOR_NODE_BASE_IMAGE", "python:3.11-slim-bookworm")
    # The machine has no network, so the packages of the experiment image come from the host.
    subprocess.run(
        [sys.executable, "-m", "node_service.image", "build", "standard"],
        check=True, cwd=ROOT, env={**os.environ, "BIOREACTOR_NODE_BASE_IMAGE": base},
    )  # fmt: skip
    node = empty.state / "node"
    empty.sh(f"install -d -o bioreactor-node -g bioreactor-node -m 0700 {node}")
    empty.drop_in(
        SERVICES[2],
        f"{FEEDING}BindPaths={node}\nEnvironment=DOCKER_HOST=unix:///run/engine.sock "
        f"BIOREACTOR_NODE_DATA_DIR={node} BIOREACTOR_NODE_BASE_IMAGE={base} "
        "BIOREACTOR_NODE_SPEED=60",
    )
    for unit in SERVICES[:2]:
        empty.drop_in(unit, FEEDING)
    empty.sh(f"systemctl restart {' '.join(SERVICES[:2])}")
    empty.sh(f"systemctl enable --now {SERVICES[2]}.service")
    return empty


def test_all_is_up(machine: Machine) -> None:
    for unit in SERVICES:
        assert machine.show(unit, "ActiveState") == "active", machine.journal(unit)
    assert machine.sh("systemctl --failed --no-legend --plain") == ""
    assert "serving" in machine.show("bioreactor-hub", "StatusText")
    wait_for("its reactor", machine.reactors)
    sockets = [line.split() for line in machine.sh("cat /proc/net/tcp /proc/net/tcp6").splitlines()]
    listening = {local.rpartition(":")[0] for _, local, _, state, *_ in sockets if state == "0A"}
    assert listening == {"0100007F"}  # loopback alone


def test_a_service_may_do_no_more_than_its_unit_says(machine: Machine) -> None:
    for unit in SERVICES:
        pid = machine.show(unit, "MainPID")
        status = machine.sh(f"cat /proc/{pid}/status")
        told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert "0" not in told["Uid"].split(), unit
        assert int(told["CapEff"], 16) == int(told["CapBnd"], 16) == 0, unit
        assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2"), unit
        inside = f"nsenter -t {pid} -m setpriv --reuid {told['Uid'].split()[0]} --clear-groups"
        for place in ("/opt/bioreactor", "/etc", "/usr", "/var/lib", "/etc/bioreactor/access"):
            machine.sh(f"! {inside} touch {place}/here 2>/dev/null")
        others = {"hub", "portal"} - {unit.removeprefix("bioreactor-")}
        for other in others:
            machine.sh(f"! {inside} ls /var/lib/bioreactor/{other} 2>/dev/null")
        machine.sh(f"! {inside} cat /etc/bioreactor/hub.toml 2>/dev/null")


@pytest.fixture(scope="module")
def finished(machine: Machine) -> str:
    """An experiment that went through the units; its id."""
    wait_for("its reactor", machine.reactors)
    script = json.dumps(
        {
            "script_content": (EXAMPLES / "turbidostat.py").read_text(),
            "parameters": {"hours": 0.1},
        }
    )
    started = machine.sh(
        "curl -sSf -H 'X-Session-ID: the-user-of-this-test' -H 'Content-Type: application/json'"
        f" --data-binary @- http://127.0.0.1:8000/api/experiments/start <<'X'\n{script}\nX"
    )
    experiment: str = json.loads(started)["experiment_id"]
    wait_for("its end", lambda: machine.status(experiment) in ENDS, 180)
    return experiment


def test_an_experiment_goes_through_the_units(machine: Machine, finished: str) -> None:
    assert machine.status(finished) == "completed", machine.journal(SERVICES[2])


@pytest.mark.parametrize("unit", SERVICES)
def test_what_is_killed_comes_back(machine: Machine, unit: str) -> None:
    _comes_back(machine, unit, "KILL")


@pytest.mark.parametrize("unit", SERVICES)
def test_what_hangs_is_started_again(machine: Machine, unit: str) -> None:
    """Frozen, it says nothing: systemd ends hub and portal, the node's own watchdog the node."""
    _comes_back(machine, unit, "STOP")
    if unit != SERVICES[2]:
        assert "Fatal Python error: Aborted" in machine.journal(unit)


def _comes_back(machine: Machine, unit: str, number: str) -> None:
    before = machine.show(unit, "MainPID")
    times = int(machine.show(unit, "NRestarts"))
    machine.sh(f"kill -{number} {before}")
    wait_for(f"{unit} again", lambda: int(machine.show(unit, "NRestarts")) > times, 60)
    wait_for("it serves", lambda: machine.show(unit, "ActiveState") == "active", 60)
    assert machine.show(unit, "MainPID") != before
    wait_for("its reactor", machine.reactors)


def test_the_timer_makes_backups(machine: Machine) -> None:
    assert machine.show("bioreactor-hub-backup.timer", "ActiveState") == "active"
    machine.sh("systemctl start bioreactor-hub-backup.service")
    assert len(machine.sh("ls /var/lib/bioreactor/backups").split()) == 1


def test_the_page_on_backups(machine: Machine, finished: str) -> None:
    example = "hub-20261126T023000Z"
    machine.follow("backup.md", instead={example: "$(basename /srv/backups/hub-*)"})
    wait_for("its reactor", machine.reactors)
    assert machine.status(finished) == "completed"
    assert machine.get("/api/queue/status")["posture"] == "running"


def test_the_page_on_upgrades(machine: Machine, finished: str) -> None:
    settings = machine.sh("cat /etc/bioreactor/hub.toml")
    machine.follow("upgrade.md")
    assert machine.show("bioreactor-hub", "ActiveState") == "active"
    assert machine.sh("cat /etc/bioreactor/hub.toml") == settings
    wait_for("its reactor", machine.reactors)
    assert machine.status(finished) == "completed"


def test_all_stops_in_order(machine: Machine) -> None:
    machine.sh(f"systemctl stop {' '.join(reversed(SERVICES))}")
    for unit in SERVICES:
        result = (machine.show(unit, "ActiveState"), machine.show(unit, "Result"))
        assert result == ("inactive", "success"), machine.journal(unit)
        assert machine.show(unit, "ExecMainStatus") == "0"
    assert "the node has stopped; its reactor is safe" in machine.journal(SERVICES[2])
