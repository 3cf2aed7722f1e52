"""What the simulated vial's outputs are, kept outside the process that sets them.

A real heater stays on when the process that switched it on is killed. So that a simulated one does
too, its outputs are in a file that every process finds as it was left: the culture lives on with
them until they are switched off there, see `make_safe`. Standard library only: the watchdog
imports this.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from hardware.files import parse_json

_BYTES: Final = 512
"""Of the file, always: it is overwritten in one call and needs no room on a full disk."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the outputs are.

    Attributes:
        duty: Heater, %.
        stirring: rpm.
        light: %.
        off_since: When they were all switched off; None while the values are in force.
    """

    duty: float = 0.0
    stirring: float = 0.0
    light: float = 0.0
    off_since: datetime | None = None

    @property
    def now(self) -> "Outputs":
        """What is in force."""
        return self if self.off_since is None else Outputs(off_since=self.off_since)


class Actuators:
    """The outputs of one vial, as a device holds them.

    Args:
        path: The file; made if missing. None: the outputs die with the process.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = -1
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, outputs: Outputs) -> None:
        """Set them; whoever reads the file from now on sees it.

        Raises:
            OSError: They could not be written.
        """
        if self._file >= 0:
            off = outputs.off_since
            data = {
                **asdict(outputs),
                "off_since": None if off is None else off.isoformat(),
                "boot": _boot_id(),
            }
            os.pwrite(self._file, json.dumps(data).encode().ljust(_BYTES), 0)

    def close(self) -> None:
        """Let go of the file; the outputs stay."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def load(path: Path) -> Outputs | None:
    """Return what the outputs are; None if the file says nothing about this power cycle.

    Without power everything is off, so values of an earlier boot of the machine mean nothing.
    """
    try:
        data = parse_json(path.read_bytes())
        off = data["off_since"]
        outputs = Outputs(
            duty=float(data["duty"]),
            stirring=float(data["stirring"]),
            light=float(data["light"]),
            off_since=None if off is None else datetime.fromisoformat(off),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return outputs if data.get("boot") == _boot_id() else None


def make_safe(path: str) -> None:
    """Switch everything off; see `hardware.drivers.interface.Rescue`.

    Raises:
        OSError: The file could not be written.
    """
    outputs = load(Path(path))
    if outputs is None or outputs.off_since is not None:
        return
    actuators = Actuators(Path(path))
    try:
        off = Outputs(outputs.duty, outputs.stirring, outputs.light, datetime.now(UTC))
        actuators.write(off)
    finally:
        actuators.close()


@cache
def _boot_id() -> str:
    return _BOOT.read_text("ascii").strip()
