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


def install(root: Path, *arguments: str) -> str:
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
