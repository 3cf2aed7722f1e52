"""`compose.yaml` on the real engine: the images are built, and the main job goes through them."""

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker import VERSION
from broker.listening import free_port
from tests.support.system import BIOREACTOR, EXAMPLES, ROOT, base_image, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1200)]

SERVICES = {"broker", "hub", "portal", "node", "runner"}
DIALOUT = 20
"""Debian's number of the group that may open serial ports."""
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass
class Site:
    """A site under a project name of its own."""

    project: str
    environment: Mapping[str, str]
    http: httpx.Client
    options: Sequence[str] = ()

    def compose(self, *arguments: str) -> str:
        """Run the plugin where it is there, else Debian's program."""
        plugin = ["docker", "compose"]
        there = subprocess.run([*plugin, "version"], capture_output=True, check=False)
        program = plugin if there.returncode == 0 else ["docker-compose"]
        done = subprocess.run(
            [*program, "-p", self.project, *self.options, *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def container(self, service: str) -> str:
        """Return the id of a service's container, from the engine: Debian's program takes long."""
        labels = {"project": self.project, "service": service}
        filters = [f"--filter=label=com.docker.compose.{key}={of}" for key, of in labels.items()]
        return docker("ps", "-q", "--no-trunc", *filters).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container."""
        return inspect(self.container(service))

    def up(self) -> None:
        """Start everything and wait for the reactor."""
        self.compose("up", "-d")
        wait_for("a reactor", self.reactors, 120)

    def reactors(self) -> int:
        """Return how many reactors are online; 0 where nobody answers."""
        try:
            return int(self.http.get("/health").json().get("nodes_online", 0))
        except (httpx.TransportError, ValueError):
            return 0

    def status(self, experiment: str) -> dict[str, Any]:
        """Return what the portal says of an experiment."""
        answer = self.http.get(f"/api/experiments/{experiment}/status")
        answer.raise_for_status()
        told: dict[str, Any] = answer.json()["experiment"]
        return told


def docker(*arguments: str) -> str:
    """Run a docker command."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def inspect(name: str) -> dict[str, Any]:
    """Return what the engine knows of a container or an image."""
    known: Sequence[dict[str, Any]] = json.loads(docker("inspect", name))
    return known[0]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The base image of this machine; the builder trusts whom this machine trusts."""
    base = base_image().get("BIOREACTOR_NODE_BASE_IMAGE", "python:3.11-slim-bookworm")
    context = tmp_path_factory.mktemp("builder")
    shutil.copy(TRUSTED, context / "ca.crt")
    names = ("SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS")
    trusting = " ".join(f"{name}={TRUSTED}" for name in names)
    (context / "Dockerfile").write_text(f"FROM {base}\nCOPY ca.crt {TRUSTED}\nENV {trusting}\n")
    docker("build", "-q", "-t", "bioreactor-test-builder", str(context))
    # The experiment image is the same wherever it is built; here the packages come from the host.
    subprocess.run(
        [sys.executable, "-m", "node_service.image", "build", "standard"],
        check=True, cwd=ROOT, env={**os.environ, "BIOREACTOR_NODE_BASE_IMAGE": base},
    )  # fmt: skip
    return {
        **os.environ,
        "BIOREACTOR_BASE_IMAGE": base,
        "BIOREACTOR_BUILDER_IMAGE": "bioreactor-test-builder",
        "BIOREACTOR_PORT": str(free_port()),
        "BIOREACTOR_MQTT": str(free_port()),
        "BIOREACTOR_SPEED": "60",
    }


@pytest.fixture(scope="module")
def site(environment: Mapping[str, str]) -> Iterator[Site]:
    address = f"http://127.0.0.1:{environment['BIOREACTOR_PORT']}"
    with httpx.Client(
        base_url=address, headers={"X-Session-ID": "the-user-of-this-test"}, timeout=30
    ) as http:
        running = Site(f"bioreactor-test-{os.getpid()}", environment, http)
        made = subprocess.run(
            ["make", "-s", "images"], cwd=ROOT, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
        try:
            running.up()
            yield running
        except BaseException:
            sys.stderr.write(running.compose("logs", "--no-color", "--tail", "40"))
            raise
        finally:
            running.compose("down", "-v", "--timeout", "20")


@pytest.fixture(scope="module")
def finished(site: Site) -> str:
    """An experiment that ran through a crash of the hub; its id."""
    answer = site.http.post(
        "/api/experiments/start",
        json={
            "script_content": (EXAMPLES / "turbidostat.py").read_text(),
            "parameters": {"hours": 0.3},
        },
    )
    assert answer.status_code == 200, answer.text
    experiment: str = answer.json()["experiment_id"]
    labelled = ("ps", "-q", "--no-trunc", "--filter", f"label=bioreactor.experiment={experiment}")
    container = wait_for("its container", lambda: docker(*labelled).strip(), 60)
    host = inspect(container)["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"]
    hub = site.container("hub")
    before = inspect(hub)["RestartCount"]
    subprocess.run(
        ["docker", "exec", hub, "python", "-c", "import os; os.kill(-1, 9)"], check=False
    )
    wait_for("the hub again", lambda: inspect(hub)["RestartCount"] > before, 60)
    wait_for("its end", lambda: is_over(site, experiment), 180)
    assert site.status(experiment)["status"] == "completed", site.status(experiment)
    return experiment


def is_over(site: Site, experiment: str) -> bool:
    """Whether it is over; a hub that is just starting does not say."""
    try:
        return site.status(experiment)["status"] in {"completed", "failed", "cancelled"}
    except httpx.HTTPError:
        return False


def results(site: Site, experiment: str) -> Mapping[str, str]:
    """Download the results; return the hash of each file, as the manifest has it."""
    answer = site.http.get(f"/api/experiments/{experiment}/download")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        files = json.loads(archive.read("manifest.json"))["files"]
        for file in files:
            assert hashlib.sha256(archive.read(file["name"])).hexdigest() == file["sha256"]
    return {file["name"]: file["sha256"] for file in files}


def test_the_main_job_and_a_killed_hub(site: Site, finished: str) -> None:
    assert {"script.py", "log.txt", "telemetry.csv"} <= set(results(site, finished))


def test_each_service_has_no_more_than_it_needs(site: Site) -> None:
    for service in SERVICES:
        container = site.inspect(service)
        host, config = container["HostConfig"], container["Config"]
        assert not host["Privileged"], service
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        gains = {"SETUID", "SETGID", "KILL"} if service == "runner" else set()
        assert set(host["CapAdd"] or ()) == gains, service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert host["Memory"] > 0, service
        assert host["PidsLimit"] > 0, service
        # What runs is no root: the runner's init alone is, and the capabilities end with it.
        top = docker("top", container["Id"], "-eo", "pid,uid,comm").splitlines()[1:]
        processes = [line.split(None, 2) for line in top]
        uids = {uid for _, uid, program in processes if program != "docker-init"}
        assert uids == {"10001"}, (service, top)
        engine = [m for m in container["Mounts"] if m["Destination"] == "/run/engine.sock"]
        assert bool(engine) == (service == "runner")
        bound = [b for bs in (host["PortBindings"] or {}).values() for b in bs]
        assert {b["HostIp"] for b in bound} <= {"127.0.0.1"}, service
        secrets = {m["Name"] for m in container["Mounts"] if m.get("Name", "").endswith("-access")}
        assert all(not m["RW"] for m in container["Mounts"] if m.get("Name") in secrets), service
        assert not [one for one in config["Env"] if "PASSWORD" in one.upper()], service
        wait_for(f"{service} is well", lambda: _is_well(site, service), 60)  # noqa: B023


def _is_well(site: Site, service: str) -> bool:
    return bool(site.inspect(service)["State"]["Health"]["Status"] == "healthy")


def test_the_runner_reaches_no_service(site: Site) -> None:
    networks = {s: set(site.inspect(s)["NetworkSettings"]["Networks"]) for s in SERVICES}
    assert networks["node"] == {f"{site.project}_control"}
    assert networks["runner"] == {f"{site.project}_outside"}
    assert inspect_network(f"{site.project}_control")["Internal"]


def inspect_network(name: str) -> dict[str, Any]:
    """Return what the engine knows of a network."""
    known: Sequence[dict[str, Any]] = json.loads(docker("network", "inspect", name))
    return known[0]


def test_access_is_changed_while_all_runs(site: Site) -> None:
    added = site.compose("run", "--rm", "admin", "add", "ada", "--role", "script")
    assert "The broker obeys." in added, added
    removed = site.compose("run", "--rm", "admin", "remove", "ada", "--yes")
    assert "The broker obeys." in removed, removed


def test_images_say_what_they_are(site: Site, tmp_path: Path) -> None:
    subprocess.run(["make", "-s", "sbom", f"DIST={tmp_path}"], cwd=ROOT, check=True)
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wanted = {
        "access": {"cryptography", "bcrypt"},
        "broker": {"mosquitto"},
        "hub": {"tinydb", "pyarrow"},
        "portal": {"jinja2"},
        "node": {"pyserial"},
        "runner": {"docker"},
    }
    for service, names in wanted.items():
        image = inspect(f"bioreactor-{service}")["Config"]
        assert image["User"] == ("0:0" if service == "runner" else "10001:10001")
        labels = image["Labels"]
        assert labels["org.opencontainers.image.version"] == VERSION
        assert labels["org.opencontainers.image.revision"] == revision.stdout.strip()
        bill = json.loads((tmp_path / f"bioreactor-{service}.cdx.json").read_text())
        assert bill["bomFormat"] == "CycloneDX"
        parts = bill["components"]
        assert all(part["version"] and part["purl"] for part in parts), service
        assert len({part["bom-ref"] for part in parts}) == len(parts), service
        listed = {part["name"].lower() for part in parts}
        assert names | {"libc6"} <= listed, service
        assert "pip" not in listed or service in {"node", "runner"}
        history = docker(
            "history", "--no-trunc", "--format", "{{.CreatedBy}}", f"bioreactor-{service}"
        )
        assert "PIP_INDEX_URL" not in history


REACTOR = """
[devices.probe]
driver = "ezo-ph"
port = "/dev/serial/by-id/ezo-ph"

[devices.pump]
driver = "ezo-pmp"
port = "/dev/serial/by-id/waste"
on_fault = "hold"

[channels.ph]
device = "probe"

[channels.waste]
device = "pump"
direction = "out"
flow = 1.0
max_dose_ml = 10.0
max_hourly_ml = 120.0
max_total_ml = 2000.0
"""
DOSING = """
from bioreactor import reactor
reactor.dose("waste", ml=0.5)
print("pH", reactor.read("ph"))
"""


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[Sequence[Path]]:
    """Two of an emulated reactor's ports, as udev would give them: links to terminals."""
    directory = tmp_path / "bench"
    with subprocess.Popen(
        [BIOREACTOR, "emulate", "bench", "--directory", directory],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    ) as emulated:  # fmt: skip
        try:
            wait_for("the bench", (directory / "reactor.toml").exists)
            plugged = [directory / name for name in ("ezo-ph", "waste")]
            for port in plugged:
                give(port)
            yield plugged
        finally:
            emulated.communicate(b"quit\n", timeout=20)


def give(port: Path) -> None:
    """Let the group use it and nobody else, as udev does."""
    os.chown(port, 0, DIALOUT)
    port.chmod(0o660)


def test_a_real_reactor_by_the_profile(site: Site, ports: Sequence[Path], tmp_path: Path) -> None:
    """A pH probe and a pump, on a node that is otherwise as the profile has it.

    A terminal opens in the file system of terminals alone, so those two are mounted. What
    `devices` gives is seen by two others, of which one has a stable name as udev makes it.
    """
    port, named = tmp_path / "ttyUSB7", tmp_path / "usb-EXAMPLE"
    os.mknod(port, stat.S_IFCHR, Path("/dev/null").stat().st_rdev)
    give(port)
    named.symlink_to(port)
    here = ("/dev/serial/by-id/usb-EXAMPLE", "/dev/ttyUSB8")
    described = tmp_path / "reactor.toml"
    described.write_text(REACTOR)
    mounts = [f"{one.resolve()}:/dev/serial/by-id/{one.name}" for one in ports]
    override = tmp_path / "compose.override.yaml"
    override.write_text(
        json.dumps(
            {"services": {"node-devices": {"devices": [f"{port}:{here[1]}"], "volumes": mounts}}}
        )
    )
    with_devices = replace(
        site,
        options=("-f", "compose.yaml", "-f", str(override), "--profile", "devices"),
        environment={
            **site.environment,
            "BIOREACTOR_SERIAL": f"{named}:{here[0]}",
            "BIOREACTOR_TOML": str(described),
        },
    )
    try:
        with_devices.compose("up", "-d", "--scale", "node=0")
        wait_for("its probes", lambda: measures(site, "bench-1"), 90)
        assert not measures(site, "reactor-1")
        node = with_devices.inspect("node-devices")
        assert not node["HostConfig"]["Privileged"]
        assert {one["PathInContainer"] for one in node["HostConfig"]["Devices"]} == set(here)
        for one in here:
            docker("exec", node["Id"], "sh", "-c", f": <>{one}")
        experiment = site.http.post("/api/experiments/start", json={"script_content": DOSING})
        ended = experiment.json()["experiment_id"]
        wait_for("its end", lambda: is_over(site, ended), 120)
        told = site.status(ended)
        assert (told["status"], told["node"]) == ("completed", "bench-1"), told
    finally:
        with_devices.compose("rm", "-s", "-f", "node-devices", "runner-devices")
        site.up()


def measures(site: Site, node: str) -> bool:
    """Whether a reactor is online and one of its probes has a value."""
    answer = site.http.get(f"/api/nodes/{node}")
    if answer.status_code == 404:
        return False
    told = answer.json()
    return told["online"] and any(one is not None for one in told["readings"].values())


def test_down_and_up_keep_everything(site: Site, finished: str) -> None:
    before = results(site, finished)
    credentials = docker("exec", site.container("broker"), "cat", "/mosquitto/config/passwords")
    containers = {service: site.container(service) for service in SERVICES}
    site.compose("stop", "--timeout", "30")
    ends = {service: inspect(one)["State"]["ExitCode"] for service, one in containers.items()}
    assert set(ends.values()) == {0}, ends
    site.compose("down")
    site.up()
    assert site.status(finished)["status"] == "completed"
    assert results(site, finished) == before
    again = docker("exec", site.container("broker"), "cat", "/mosquitto/config/passwords")
    assert again == credentials
