"""The units as `bioreactor service install` writes them: sound, tight, and read by systemd."""

import json
import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from broker.settings import BrokerSettings, load_settings
from hub_service.settings import HubSettings
from node_service.settings import NodeSettings
from portal.settings import PortalSettings

PROGRAM = Path(sys.executable).with_name("bioreactor")
EXPOSED = {"hub": 2.0, "portal": 2.0, "node@": 2.5, "hub-backup": 2.0}
"""The most that `systemd-analyze security` may say, of 10."""


def install(root: Path, *arguments: str | Path) -> str:
    done = subprocess.run(
        [PROGRAM, "service", "install", *arguments, "--root", root],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of a system on which everything was installed."""
    place = tmp_path_factory.mktemp("system")
    for part in ("hub", "portal", "node"):
        assert "systemctl enable --now bioreactor-" in install(place, part)
    install(place, "node", "--name", "reactor-2")
    return place


def test_systemd_takes_the_units(root: Path) -> None:
    units = root / "etc/systemd/system"
    names = ("hub.service", "portal.service", "node@reactor-1.service", "hub-backup.timer")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(units / f"bioreactor-{n}" for n in names)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("part", EXPOSED)
def test_units_may_do_little(root: Path, part: str) -> None:
    unit = root / f"etc/systemd/system/bioreactor-{part}.service"
    done = subprocess.run(
        [
            *("systemd-analyze", "security", "--offline=true", "--no-pager"),
            *(f"--threshold={round(EXPOSED[part] * 10)}", unit),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_users_rules_and_files_are_understood(root: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    users = root / "etc/sysusers.d/bioreactor.conf"
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", users], check=True)
    made = (tmp_path / "etc/passwd").read_text()
    assert {line.split(":")[0] for line in made.splitlines()} >= {
        "bioreactor-hub",
        "bioreactor-node",
        "bioreactor-portal",
    }
    assert made.count("nologin") == 3


def test_settings_are_private_good_and_never_replaced(root: Path) -> None:
    for name, model in (
        ("hub", HubSettings),
        ("portal", PortalSettings),
        ("node-reactor-2", NodeSettings),
    ):
        path = root / f"etc/bioreactor/{name}.toml"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        load_settings(model, name.partition("-")[0], path)
        principal = name.removeprefix("node-")
        assert load_settings(BrokerSettings, "broker", path).username == principal
    path = root / "etc/bioreactor/hub.toml"
    path.write_text(path.read_text() + "open = false\n")
    assert f"kept     {path}" in install(root, "hub")
    assert tomllib.loads(path.read_text())["hub"] == {"open": False}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the hub is given to reach its broker."""
    place = tmp_path_factory.mktemp("access")
    url = ("--url", "mqtt://lab.example.org:1883")
    for command in (
        ("init", "--broker", "mosquitto", *url, "--files", place / "broker", "--reload", "true"),
        ("add", "hub", "--role", "hub", "--unchecked"),
    ):
        subprocess.run(
            [PROGRAM, "access", *command, "--directory", place / "access"],
            check=True,
            capture_output=True,
        )
    return place / "access" / "clients" / "hub"


def test_a_clients_folder_gives_address_and_password(client: Path, tmp_path: Path) -> None:
    install(tmp_path, "hub", "--client", client)
    settings = load_settings(BrokerSettings, "broker", tmp_path / "etc/bioreactor/hub.toml")
    assert (settings.url, settings.username) == ("mqtt://lab.example.org:1883", "hub")
    assert settings.password_file == tmp_path / "etc/bioreactor/password"
    drop_in = tmp_path / "etc/systemd/system/bioreactor-hub.service.d/client.conf"
    assert f"LoadCredential=password:{client / 'password'}" in drop_in.read_text().splitlines()
    assert (client / "password").read_text().strip() not in drop_in.read_text()


def test_anothers_folder_is_refused(client: Path, tmp_path: Path) -> None:
    for folder, why in ((client, "is the folder of hub"), (tmp_path, "cannot be read")):
        done = subprocess.run(
            [PROGRAM, "service", "install", "portal", "--client", folder, "--root", tmp_path],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert why in done.stderr
        assert "bioreactor access add portal" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    assert "would write" in install(tmp_path, "hub", "--dry-run")
    assert list(tmp_path.iterdir()) == []


def test_what_a_node_may_open_is_said_in_its_unit(root: Path) -> None:
    """Serial ports and the engine, and SIGTERM to its watchdog too (decision 14)."""
    text = (root / "etc/systemd/system/bioreactor-node@.service").read_text()
    lines = text.splitlines()
    assert {"KillMode=control-group", "DevicePolicy=closed", "WatchdogSec=30"} <= set(lines)
    assert f"ExecStart={PROGRAM} node --config %d/node.toml" in lines
    assert json.dumps(lines).count("DeviceAllow=char-tty") == 4
