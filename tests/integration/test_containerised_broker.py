"""The production configuration in a container: hub, node and portal as services of their own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from testcontainers.core.container import DockerContainer

from bioreactor.cli.local import LocalFiles
from broker.access import hashed, mosquitto_acl, mosquitto_passwords
from broker.embedded import find_mosquitto
from broker.listening import free_port
from broker.settings import BrokerSettings
from broker.topics import Topics
from tests.support.system import EXAMPLES, ROOT, wait_for

pytestmark = pytest.mark.engine
USERS = ("hub", "portal", "admin", "reactor-1")
PASSWORDS = {name: f"{name}-password-for-this-test" for name in USERS}
IMAGE = "bioreactor-test-mosquitto"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with this machine's mosquitto: the program and the libraries that it names."""
    context = tmp_path_factory.mktemp("image")
    program = find_mosquitto()
    assert program is not None
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in [program, *re.findall(r"(/\S+) \(0x", libraries)]:
        target = context / "root" / path.removeprefix("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (context / "Dockerfile").write_text(
        "FROM scratch\nCOPY root /\n"
        f'USER 1883:1883\nENTRYPOINT ["{program}", "-c", "/mosquitto/config/mosquitto.conf"]\n'
    )
    subprocess.run(["docker", "build", "-q", "-t", IMAGE, str(context)], check=True)
    return IMAGE


@pytest.fixture
def broker(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DockerContainer]:
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    config, data = tmp_path / "config", tmp_path / "broker-data"
    config.mkdir()
    data.mkdir(mode=0o777)
    os.chown(data, 1883, 1883)
    topics = Topics()
    shutil.copy(ROOT / "mosquitto.conf", config)
    (config / "acl").write_text(mosquitto_acl(LocalFiles.principals(["reactor-1"]), topics))
    (config / "passwords").write_text(mosquitto_passwords(hashed(PASSWORDS)))
    for path in config.iterdir():
        os.chown(path, 1883, 1883)
        path.chmod(0o600)
    container = (
        DockerContainer(image)
        .with_exposed_ports(1883, 9001)
        .with_volume_mapping(str(config), "/mosquitto/config", "ro")
        .with_volume_mapping(str(data), "/mosquitto/data", "rw")
    )
    with container:
        yield container


def test_services_of_their_own(broker: DockerContainer, tmp_path: Path) -> None:
    tcp, websocket = (broker.get_exposed_port(port) for port in (1883, 9001))
    host = broker.get_container_host_ip().replace("localhost", "127.0.0.1")
    urls = {
        "hub": f"mqtt://{host}:{tcp}",
        "reactor-1": f"ws://{host}:{websocket}/mqtt",
        "portal": f"ws://{host}:{websocket}/mqtt",
        "admin": f"mqtt://{host}:{tcp}",
    }
    files = LocalFiles(tmp_path)
    with httpx.Client(headers={"X-Session-ID": "the-user-of-this-test"}) as probe:
        port = free_port()
        files.write(
            lambda name, _transport: BrokerSettings(
                url=urls[name], username=name, password=PASSWORDS[name]
            ),
            ["reactor-1"],
            transport="websockets",
            portal_port=port,
            runner="bubblewrap",
            reactor={"reactor": "simulated"},
            speed=600.0,
            on_exit="stop",
        )
        services = [
            subprocess.Popen([sys.executable, "-m", module, "--config", str(files.config(name))])
            for module, name in (
                ("hub_service", "hub"), ("node_service", "reactor-1"), ("portal", "portal"),
            )
        ]  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for("a reactor", lambda: _nodes(probe, url))
            answer = probe.post(
                f"{url}/api/experiments/start",
                json={
                    "script_content": (EXAMPLES / "turbidostat.py").read_text(),
                    "parameters": {"hours": 0.5},
                },
            )
            assert answer.status_code == 200, answer.text
            status = f"{url}/api/experiments/{answer.json()['experiment_id']}/status"
            wait_for(
                "completed",
                lambda: probe.get(status).json()["experiment"]["status"] == "completed",
                120,
            )
        finally:
            for service in reversed(services):
                service.terminate()
                service.wait(60)


def _nodes(probe: httpx.Client, url: str) -> bool:
    try:
        return bool(probe.get(f"{url}/api/nodes").json()["nodes"])
    except httpx.TransportError:
        return False
