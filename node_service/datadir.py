"""The node's data directory: one process owns it; where everything in it lies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.messages import ContractError, ErrorCode


@dataclass(frozen=True, slots=True)
class DataDir:
    """Paths below a node's data directory."""

    path: Path

    @property
    def lock(self) -> Path:
        """Held by the process that owns the directory; it holds that process's id."""
        return self.path / "node.lock"

    @property
    def ledger(self) -> Path:
        """The ledger's database."""
        return self.path / "ledger.sqlite"

    @property
    def journal(self) -> Path:
        """Directory of the journal."""
        return self.path / "journal"

    @property
    def runner(self) -> Path:
        """Directory of the runner's process, with the attempts' files."""
        return self.path / "runner"

    @property
    def watchdog_lock(self) -> Path:
        """Held by the one watchdog; it holds that process's id."""
        return self.path / "watchdog.lock"

    @property
    def taken(self) -> Path:
        """Which commands by hand were taken within the last seconds."""
        return self.path / "taken.json"

    @property
    def rescue(self) -> Path:
        """Where a watchdog that had to act says what it did, until the node's next start."""
        return self.path / "rescue.json"

    @property
    def culture(self) -> Path:
        """Where a simulated reactor keeps its culture."""
        return self.path / "culture.json"

    @property
    def devices(self) -> Path:
        """Where devices keep what must survive a restart: totals, calibrations, doses."""
        return self.path / "devices"

    @property
    def client_id(self) -> Path:
        """What this node is called at the broker; a secret."""
        return self.path / "client-id"


@contextmanager
def owned(directory: DataDir) -> Iterator[None]:
    """Own the directory while the block runs; made if missing.

    Raises:
        ContractError: WRONG_STATE, another process owns it.
        OSError: It cannot be made or written.
    """
    directory.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ContractError(
                ErrorCode.WRONG_STATE,
                f"another node (process {owner(directory)}) runs on {directory.path}",
                "stop that one, or give this one an id and a data_dir of its own",
            ) from error
        os.truncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


def owner(directory: DataDir) -> int | None:
    """Return the process that owned the directory last; None if none ever did."""
    try:
        text = directory.lock.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None
