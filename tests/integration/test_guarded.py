"""What a whole running system keeps to itself: its ports, its secrets, and who may speak."""

import base64
import json
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from broker.access.clients import write_mosquitto_options
from broker.listening import Address, listening
from broker.settings import BrokerSettings, load_settings
from tests.support.system import System, command_line, descendants, wait_for

SERVICES = {"hub_service", "node_service", "portal"}
SHORTEST_SECRET = 16


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    data = tmp_path_factory.mktemp("guarded")
    options = ("--runner", "bubblewrap", "--transport", "websockets", "--speed", "60")
    with System.start(data, *options) as running:
        wait_for("a reactor", lambda: running.http.get("/api/nodes").json()["nodes"])
        yield running


def test_nothing_listens_beyond_loopback(system: System) -> None:
    open_to = {pid: listening(pid) for pid in descendants(system.process.pid)}
    services = system.children()

    assert services.keys() >= SERVICES
    assert len(open_to[services["portal"]]) == 1
    assert open_to[services["hub_service"]] == open_to[services["node_service"]] == set()
    everywhere: set[tuple[Address, int]] = set().union(*open_to.values())
    assert len(everywhere) == 3, "the portal, and the broker for MQTT and WebSockets"
    assert all(address.is_loopback for address, _ in everywhere), everywhere


def secrets_of(system: System) -> dict[str, str]:
    """Return every secret of the system by where it is kept."""
    passwords = json.loads((system.data / "broker" / "passwords.json").read_text())
    found = {f"password of {name}": secret for name, secret in passwords.items()}
    found["password of ada"] = (
        (system.data / "broker/access/clients/ada/password").read_text().strip()
    )
    found["session of a browser"] = system.http.headers["X-Session-ID"]
    for path in system.data.rglob("*client.id"):
        found[str(path)] = path.read_text().strip()
    key = (system.data / "portal" / "site.key").read_bytes()
    found["site key"] = key.hex()
    found["site key in base 64"] = base64.b64encode(key).decode().rstrip("=")
    assert all(len(secret) >= SHORTEST_SECRET for secret in found.values())
    return found


def test_secrets_stay_where_they_are_kept(system: System, tmp_path: Path) -> None:
    told = system.cli("access", "add", "ada", "--role", "script").stdout
    secrets = secrets_of(system)
    made = system.http.post("/api/tokens", json={"name": "a reader", "role": "user"}).json()
    secrets["token of a script"] = made["token"]
    with httpx.Client(base_url=system.ready["portal"]) as browser:
        browser.get("/")
        secrets["cookie of a browser"] = browser.cookies["bioreactor_session"]
    secrets["password at the login"] = "guessed by somebody"
    secrets["token that is none"] = made["token"][:-4] + "none"
    with ExitStack() as stack:
        heard = [stack.enter_context(overheard(system, tmp_path, who)) for who in ("hub", "admin")]
        arguments = "\n".join(arguments_of_all(system))
        script = "from bioreactor import experiment\nexperiment.record(x=1.0)\n"
        identity = system.start_experiment(script, name="overheard")
        wait_for("a run", lambda: running_arguments(system, identity))
        arguments += "\n".join(arguments_of_all(system))
        system.wait_status(identity, "completed")
        system.cli("list")
        refused = system.cli("list", "--config", str(wrong_password(system, tmp_path)), check=False)
        system.http.get("/api/experiments/user", headers={"X-Session-ID": "short"})
        for what in ("token of a script", "token that is none"):
            bearer = {"Authorization": f"Bearer {secrets[what]}"}
            system.http.get("/api/experiments/user", headers=bearer)
        system.http.post("/login", data={"password": secrets["password at the login"]})
    messages = "\n".join(path.read_text(errors="replace") for path in heard)
    assert identity in messages, "what was said was overheard"
    places = {
        "an argument": arguments,
        "a message": messages,
        "a log": "\n".join(p.read_text(errors="replace") for p in (system.data / "logs").iterdir()),
        "what commands say": told + refused.stdout + refused.stderr,
        "pages": system.http.get("/my-experiments").text + system.http.get("/nodes").text,
    }
    for what, secret in secrets.items():
        for place, text in places.items():
            assert secret not in text, f"{what} stands in {place}"

    for path in (path for path in system.data.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if any(secret.encode() in content for secret in secrets.values()):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def running_arguments(system: System, identity: str) -> bool:
    return bool(system.status(identity)["status"] != "queued")


def arguments_of_all(system: System) -> Iterable[str]:
    for pid in (system.process.pid, *descendants(system.process.pid)):
        yield " ".join(command_line(pid))


def wrong_password(system: System, tmp_path: Path) -> Path:
    """Return settings of the administrator with a password that is not theirs."""
    text = (system.data / "clients" / "admin.toml").read_text()
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace('password = "', 'password = "0'))
    return path


class overheard:  # noqa: N801  reads like a function
    """Writes down all that a principal is sent, until left."""

    def __init__(self, system: System, tmp_path: Path, who: str) -> None:
        folder = tmp_path / who
        name = "clients/admin.toml" if who == "admin" else f"config/{who}.toml"
        settings = load_settings(BrokerSettings, "broker", system.data / name)
        write_mosquitto_options(folder, settings)
        self._path = folder / "heard"
        self._environment = {**os.environ, "XDG_CONFIG_HOME": str(folder)}

    def __enter__(self) -> Path:
        with self._path.open("wb") as file:
            self._process = subprocess.Popen(
                ["mosquitto_sub", "-v", "-t", "bioreactor/#"], stdout=file, env=self._environment
            )
        wait_for("what is retained", lambda: self._path.stat().st_size)
        return self._path

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


def test_a_principal_is_admitted_and_removed_while_the_system_runs(system: System) -> None:
    folder = system.data / "broker/access/clients/eve"
    system.cli("access", "add", "eve", "--role", "script")
    again = system.cli("access", "add", "eve", "--role", "node", check=False)
    assert "there is a principal 'eve' already" in again.stderr

    listed = system.cli("list", "--config", str(folder / "broker.toml"), "--json")
    assert "experiments" in listed.stdout
    shown = json.loads(system.cli("access", "show", "eve", "--json").stdout)
    assert shown["publish"] == ["bioreactor/hub/request/eve/+"]
    names = {
        p["name"] for p in json.loads(system.cli("access", "list", "--json").stdout)["principals"]
    }
    assert names >= {"hub", "portal", "admin", "reactor-1", "eve"}

    kept = folder.rename(folder.with_name("elsewhere"))
    system.cli("access", "remove", "eve", "--yes", "--unchecked")
    refused = system.cli("list", "--config", str(kept / "broker.toml"), check=False)
    assert refused.returncode == 77
    assert "the broker refuses eve" in refused.stderr
    assert "Traceback" not in refused.stderr
