"""The distributions: complete, built without Node, and each part at work with its extra alone."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from broker.children import Child
from broker.connection import Message
from broker.embedded import EmbeddedBroker
from broker.extras import EXTRAS
from broker.identity import write_private
from broker.listening import Address, free_port, listening
from broker.messages import ServiceStatus, decode
from broker.topics import Topic
from tests.support.brokers import Connector
from tests.support.system import descendants
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
UV = Path(sys.executable).with_name("uv")
REFUSED = 78
mosquitto = pytest.mark.parametrize("broker_kind", ["mosquitto"])


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it where there is no Node."""
    place = tmp_path_factory.mktemp("distributions")
    build = (UV, "build", "-q", "--no-build-isolation", "--python", sys.executable, "-o", place)
    run(*build, "--sdist", ROOT)
    (source,) = place.glob("*.tar.gz")
    assert shutil.which("node", path=os.fspath(UV.parent)) is None
    run(*build, "--wheel", source, PATH=os.fspath(UV.parent))
    (wheel,) = place.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(
    distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """A virtual environment of its own for each extra; "" has none."""
    homes = {}
    for extra in ("", *EXTRAS):
        home = tmp_path_factory.mktemp(f"with-{extra or 'nothing'}")
        run(UV, "venv", "-q", "--python", sys.executable, home)
        run(
            *(UV, "pip", "install", "-q", "--python", home / "bin" / "python"),
            *("--constraint", ROOT / "requirements.lock"),
            f"{distributions[1]}[{extra}]" if extra else distributions[1],
        )
        homes[extra] = home
    yield homes
    for home in homes.values():
        shutil.rmtree(home)


def test_extras_are_what_pyproject_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brings = packages_distributions()
    for extra, modules in EXTRAS.items():
        wanted = {Requirement(line).name for line in project["optional-dependencies"][extra]}
        found = {canonicalize_name(name) for module in modules for name in brings[module]}
        assert found == wanted, extra


def test_distributions_are_complete(distributions: tuple[Path, Path]) -> None:
    source, wheel = distributions
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"portal/static/manifest.webmanifest", "portal/frontend/build.mjs", "LICENSE"} <= names
    assert not [name for name in names if "node_modules" in name]
    built = {
        f"portal/static/{path.relative_to(ROOT / 'portal' / 'static')}"
        for path in (ROOT / "portal" / "static").rglob("*")
        if path.is_file()
    }
    with zipfile.ZipFile(wheel) as packed:
        inside = set(packed.namelist())
    assert built <= inside
    assert {
        "portal/example_scripts/turbidostat.py",
        "portal/templates/home.html",
        "node_service/image/packages.Dockerfile",
        "bioreactor/py.typed",
        "bioreactor/deploy/systemd/bioreactor-node@.service",
        "bioreactor/deploy/udev/99-bioreactor.rules",
    } <= inside
    assert not [name for name in inside if name.startswith(("tests/", "portal/frontend", "bench"))]


def test_the_base_is_the_command_line_and_says_what_is_missing(
    installed: dict[str, Path], tmp_path: Path
) -> None:
    home = installed[""] / "bin"
    assert "submit" in run(home / "bioreactor", "--help")
    for extra, module in (("hub", "hub_service"), ("node", "node_service"), ("portal", "portal")):
        commands: tuple[tuple[str | Path, ...], ...] = (
            (home / "bioreactor", extra, "--help"),
            (home / "python", "-m", module, "--help"),
        )
        for command in commands:
            done = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
            )
            assert done.returncode == REFUSED
            assert f"pip install 'bioreactor[{extra}]'" in done.stderr
            assert len(done.stderr.splitlines()) == 1
    said = subprocess.run(
        [home / "bioreactor", "up"], capture_output=True, text=True, check=False, timeout=60
    )
    assert said.returncode == REFUSED
    assert "pip install 'bioreactor[hub]'" in said.stderr


@dataclass(frozen=True)
class Service:
    """A running one."""

    config: Path
    pid: int

    def listens(self) -> set[tuple[Address, int]]:
        """Return on which addresses and ports, with all that it started."""
        return set().union(*map(listening, (self.pid, *descendants(self.pid))))


@asynccontextmanager
async def service(
    home: Path, name: str, broker: EmbeddedBroker, place: Path, settings: Sequence[str]
) -> AsyncIterator[Service]:
    """Run a service from where it is installed, as its unit does; it must leave with status 0."""
    principal = "reactor-1" if name == "node" else name
    there = broker.settings_for(principal)
    assert there.password is not None
    config = place / f"{name}.toml"
    lines = [
        *("[broker]", f'url = "{there.url}"', f'username = "{principal}"'),
        f'password = "{there.password.get_secret_value()}"',
        *(f"[{name}]", f'data_dir = "{place / name}"', *settings),
    ]
    write_private(config, "\n".join(lines))
    child = Child.start(
        [os.fspath(home / "bin" / "bioreactor"), name, "--config", os.fspath(config)],
        cwd=place,
        on_line=lambda _: None,
    )
    try:
        yield Service(config, child.pid)
        child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            status = await child.wait()
        assert status == 0, child.last_lines
    finally:
        await child.stop()


@mosquitto
async def test_each_service_works_with_its_extra_alone(
    broker: EmbeddedBroker, connect: Connector, installed: dict[str, Path], tmp_path: Path
) -> None:
    online: set[str] = set()
    admin = await connect("admin")

    async def hear(message: Message) -> None:
        if decode(ServiceStatus, message.payload).state == "online":
            online.add(message.topic.split("/")[1])

    topics = admin.topics
    admin.subscribe(topics.build(Topic.NODE_STATUS, node="reactor-1"), hear)
    admin.subscribe(topics.build(Topic.PORTAL_STATUS, portal="portal"), hear)
    port = free_port()
    reduced = ('runner = "bubblewrap"', "allow_reduced_isolation = true")
    async with (
        service(installed["hub"], "hub", broker, tmp_path, ()) as hub,
        service(installed["node"], "node", broker, tmp_path, reduced) as node,
        service(installed["portal"], "portal", broker, tmp_path, (f"port = {port}",)) as portal,
    ):
        await eventually(lambda: online == {"nodes", "portal"}, within=60)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as browser:

            async def ready() -> bool:
                return (await browser.get("/health/ready")).status_code == 200

            await eventually(ready)
            upload = await browser.get("/upload", headers={"Accept": "text/html"})
            assert "turbidostat" in upload.text.lower()
            assert (await browser.get("/static/favicon.svg")).status_code == 200
        # Nobody configured an address: nothing is to be reached from elsewhere.
        assert hub.listens() == node.listens() == set()
        assert portal.listens() == {(ip_address("127.0.0.1"), port)}
        asked = installed["hub"] / "bin" / "bioreactor"
        await asyncio.to_thread(run, asked, "hub", "health", "--config", hub.config)
