"""What is wrong when a service starts is said in one sentence that says what to do."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from broker.identity import write_private

ROOT = Path(__file__).resolve().parents[3]
REFUSED = 78
"""Its unit is not started again."""
BIOREACTOR = Path(sys.executable).with_name("bioreactor")
MODULES = {"hub": "hub_service", "node": "node_service", "portal": "portal"}


def start(service: str, place: Path, settings: str) -> tuple[int, str]:
    """Start a service that cannot; return its status and what it said last."""
    config = place / f"{service}.toml"
    write_private(config, f"[{service}]\n{settings}\n")
    done = subprocess.run(
        [sys.executable, "-m", MODULES[service], "--config", config],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("service", MODULES)
def test_a_key_that_is_misspelt(service: str, tmp_path: Path) -> None:
    status, said = start(service, tmp_path, f'data_dri = "{tmp_path}"')
    assert status == REFUSED
    assert f"{service}.toml: [{service}] data_dri is no setting, did you mean data_dir?" in said


def test_a_key_that_is_misspelt_in_a_table_below(tmp_path: Path) -> None:
    status, said = start("hub", tmp_path, "[hub.run]\nmemroy = 1")
    assert status == REFUSED
    assert "[hub] run.memroy is no setting, did you mean memory?" in said
    _, said = start("hub", tmp_path, '[[hub.notify]]\nname = "mail"\nurl = "json://x"\nonn = []')
    assert "onn is no setting, did you mean on?" in said


@pytest.mark.parametrize("service", MODULES)
def test_a_data_directory_that_cannot_be(service: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    isolation = 'runner = "bubblewrap"\nallow_reduced_isolation = true\n'
    more = {"node": isolation, "portal": "port = 0\n"}.get(service, "")
    status, said = start(service, tmp_path, f'{more}data_dir = "{tmp_path}/file/data"')
    assert status == REFUSED
    assert f"{tmp_path}/file" in said
    assert "Not a directory" in said


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, said = start("portal", tmp_path, f'port = {port}\ndata_dir = "{tmp_path}"')
    assert status == 1, "who listens there may go, so it is started again"
    assert f"cannot listen on 127.0.0.1 port {port} (address already in use)" in said
    assert "set host and port in [portal]" in said


def test_isolation_that_nobody_allowed(tmp_path: Path) -> None:
    """With an engine that is away for a while a node starts: it samples, and raises an alarm."""
    data = tmp_path / "node"
    status, said = start("node", tmp_path, f'runner = "bubblewrap"\ndata_dir = "{data}"')
    assert status == REFUSED
    assert "isolates less than an engine does" in said
    assert "set allow_reduced_isolation = true in [node]" in said


def up(data: Path, *options: str) -> subprocess.Popen[str]:
    """Begin `bioreactor up` with free ports."""
    ports = ("--portal-port", "0", "--broker-port", "0")
    return subprocess.Popen(
        [BIOREACTOR, "up", "--json", "--data", data, "--runner", "bubblewrap", *ports, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_up_reads_the_reactors_file_first(tmp_path: Path) -> None:
    file = tmp_path / "reactor.toml"
    file.write_text("[reactor]\nlabel = 1\n")
    with up(tmp_path / "data", "--reactor", str(file)) as process:
        said = process.communicate(timeout=60)
    assert process.returncode == REFUSED
    assert said[0] == ""
    assert said[1] == f"{file}, line 1: devices: this key is needed\n"
    assert not (tmp_path / "data").exists()


def test_up_ends_with_the_message_of_a_service_that_refuses(tmp_path: Path) -> None:
    file = tmp_path / "run.csv"
    file.write_text("this,is\nno,recording\n")
    with up(tmp_path / "data", "--replay", str(file)) as process:
        said = process.communicate(timeout=120)[1]
    assert process.returncode == REFUSED
    assert "the recording cannot be replayed: " in said.splitlines()[-1]
    assert "starting it again" not in said


def test_up_says_what_waits_only_if_something_does(tmp_path: Path) -> None:
    with up(tmp_path / "data") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=90)[1]
    assert process.returncode == 0
    assert said.splitlines()[-1] == "Stopped. Everything is kept; start again to go on."


def test_an_old_python_is_told_by_setup_and_by_the_package(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    for name, text in {
        "python3": "#!/bin/sh\nexit 1\n",  # as one does that is too old or lacks venv
        "dpkg-query": "#!/bin/sh\necho installed\n",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for name in ("bash", "dirname", "env", "grep", "mosquitto", "docker", "bwrap", "id"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    (tmp_path / "mosquitto").unlink()
    (tmp_path / "mosquitto").symlink_to("/bin/true")
    done = subprocess.run(
        [ROOT / "tools" / "setup", "up"],
        env={"PATH": os.fspath(tmp_path), "HOME": os.fspath(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "setup: Python 3.11 or newer is needed" in done.stderr


VENV = """#!/bin/sh
[ "$2" = venv ] || exit 0
mkdir -p .venv/bin
echo "command = $0 -m venv $PWD/.venv" >.venv/pyvenv.cfg
for name in python uv; do ln -s /bin/true .venv/bin/$name; done
"""


def test_setup_makes_the_environment_of_a_moved_clone_anew(tmp_path: Path) -> None:
    programs, clone = tmp_path / "bin", tmp_path / "a clone"
    programs.mkdir()
    (programs / "python3").write_text(VENV)
    (programs / "python3").chmod(0o755)
    for name in ("mosquitto", "docker"):
        (programs / name).symlink_to("/bin/true")
    for folder in ("tools", "portal/frontend"):
        (clone / folder).mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "setup", clone / "tools")
    (clone / "requirements.lock").touch()
    (clone / "pyproject.toml").touch()

    def setup(place: Path) -> str:
        return subprocess.run(
            [place / "tools" / "setup", "up"],
            env={"PATH": f"{programs}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stderr

    assert "Installing Python packages" in setup(clone)
    assert setup(clone) == ""
    moved = clone.rename(tmp_path / "moved")
    said = setup(moved)
    assert f"Making .venv anew: it was made as {clone}/.venv" in said
    assert "Installing Python packages" in said
    assert f"{moved}/.venv" in (moved / ".venv" / "pyvenv.cfg").read_text()
    assert setup(moved) == ""
