"""The emergency stop from the node's command line, whatever becomes of the node meanwhile."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node_service.datadir import DataDir
from node_service.ledger_file import read_estop

HOLDS = """
import sys, time
from pathlib import Path
from node_service.datadir import DataDir, owned
with owned(DataDir(Path(sys.argv[1]))):
    print("owned", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def directory(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "node")


@pytest.fixture
def config(tmp_path: Path, directory: DataDir) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(f'[node]\nid = "reactor-1"\ndata_dir = "{directory.path}"\n')
    path.chmod(0o600)
    return path


def engage(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node_service", "--config", str(config), "--estop"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_node_that_dies_of_the_signal_leaves_it_latched(directory: DataDir, config: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(directory.path)], stdout=subprocess.PIPE
    ) as dying:
        assert dying.stdout is not None
        assert dying.stdout.readline() == b"owned\n"
        done = engage(config)
        assert dying.wait(10) == -signal.SIGUSR1
    assert done.returncode == 0, done.stderr
    estop = read_estop(directory.ledger)
    assert estop is not None
    assert estop.latch in done.stdout


def test_a_ledger_that_cannot_be_read_is_said(directory: DataDir, config: Path) -> None:
    directory.path.mkdir()
    directory.ledger.write_bytes(b"no database" * 500)
    done = engage(config)
    assert done.returncode == 78
    assert "cannot be read" in done.stderr
