"""A node on its own, for measurements: no broker, one experiment that it was told of before."""

import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ulid import ULID

from broker.journal import Journal
from broker.messages import Assignment, LogRecord, Record
from broker.settings import BrokerSettings
from node_service.datadir import DataDir
from node_service.ledger import Ledger
from node_service.runner.interface import Attempt, RunPaths
from node_service.tail import records_after

BASE_IMAGE = os.environ.get("BIOREACTOR_NODE_BASE_IMAGE", "bioreactor-base:debian12")


@dataclass
class Node:
    """A node's process and where its one experiment lies."""

    data: Path
    config: Path
    process: subprocess.Popen[bytes]
    paths: RunPaths
    _began: bool = False

    def wait(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait until something holds; fail if the node ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, "the node ended"
            assert time.monotonic() < deadline, "the node took too long"
            time.sleep(0.02)

    def records(self) -> list[Record]:
        """Return what it journaled; call after `stop`."""

        async def read() -> list[Record]:
            with closing(Journal.open(DataDir(self.data).journal)) as journal:
                return [record async for record in records_after(journal, 1, 0)]

        return asyncio.run(read())

    def said(self) -> list[str]:
        """Return what its script printed; call after `stop`."""
        found = [record for record in self.records() if isinstance(record, LogRecord)]
        return [record.text for record in found if record.source == "stdout"]

    def kill_and_start(self) -> None:
        """Kill it and start it again at once, as a service manager does."""
        self.process.kill()
        self.process.wait(10)
        self.process = start(self.config)

    def processor_seconds(self) -> float:
        """Return the processor time that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Stop it; its experiment is ended, too."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def finished(self) -> bool:
        """Whether its experiment began and its files were cleared away since."""
        there = self.paths.directory.exists()
        self._began = self._began or there
        return self._began and not there


@contextmanager
def node(
    script: str, *, broker: BrokerSettings | None = None, **settings: str | float
) -> Iterator[Node]:
    """Run a script on a node of its own, in a real container with nothing but the SDK in it."""
    password = "" if broker is None or broker.password is None else broker.password
    link = {
        "url": "mqtt://127.0.0.1:9" if broker is None else broker.url,
        "username": "" if broker is None else broker.username or "",
        "password": password if isinstance(password, str) else password.get_secret_value(),
    }
    with TemporaryDirectory() as temporary:
        root = Path(temporary)
        recipe = root / "recipe"
        recipe.mkdir()
        (recipe / "packages.toml").write_text("")
        (recipe / "requirements.lock").write_text("")
        data = DataDir(root / "node")
        data.path.mkdir()
        key = Attempt(str(ULID()), 1)
        asyncio.run(_desire(data, key, textwrap.dedent(script)))
        values: dict[str, str | float] = {
            "data_dir": str(data.path), "base_image": BASE_IMAGE, "cache_dir": str(root / "cache"),
            "on_exit": "stop", **settings,
        }  # fmt: skip
        config = root / "node.toml"
        config.write_text(
            "[broker]\n"
            + "".join(f"{name} = {json.dumps(value)}\n" for name, value in link.items())
            + "[node]\n"
            + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
            + f"[node.images]\nbare = {json.dumps(str(recipe))}\n"
        )
        config.chmod(0o600)
        running = Node(data.path, config, start(config), RunPaths.of(data.runner / "runs", key))
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()


def start(config: Path) -> subprocess.Popen[bytes]:
    """Start a node's process."""
    return subprocess.Popen(
        [sys.executable, "-m", "node_service", "--config", str(config)],
        stderr=subprocess.DEVNULL,
    )


async def _desire(data: DataDir, run: Attempt, script: str) -> None:
    with closing(Ledger.open(data.ledger)) as ledger:
        await ledger.see(
            Assignment(
                revision=1,
                store_id=str(ULID()),
                generation=1,
                desired="run",
                image="bare",
                experiment_id=run.experiment_id,
                attempt=run.attempt,
                script=script,
                script_sha256=hashlib.sha256(script.encode()).hexdigest(),
            )
        )


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(r"^Rss:\s+(\d+) kB", text, re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024


def child_of(pid: int, module: str) -> int:
    """Return the child that runs a module."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        if module in Path(f"/proc/{child}/cmdline").read_text().split("\0"):
            return int(child)
    raise AssertionError(f"{pid} has no child {module}")
