"""What the watchdog had to do, kept for the node's next start."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hardware.files import parse_json, replace_file


@dataclass(frozen=True, slots=True)
class Account:
    """One rescue.

    Attributes:
        at: When the node was found dead, ISO 8601.
        why: A sentence.
        safe: Device → seconds until it was safe.
        unsafe: Device → why it was not known to be safe.
    """

    at: str
    why: str
    safe: dict[str, float] = field(default_factory=dict)
    unsafe: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it.

        Raises:
            OSError: It could not be written.
        """
        replace_file(path, json.dumps(asdict(self)))


def take(path: Path) -> Account | None:
    """Return the account that was left, and remove it; None if there is none."""
    try:
        account = Account(**parse_json(path.read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        account = None
    path.unlink(missing_ok=True)
    return account
