"""What people do to a reactor on its disk: calibrate its channels, say that its vial is another.

They write files, whether the node runs or not; the reactor takes them up when nobody holds it.
"""

import json
import math
from collections.abc import Hashable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hardware.calibration.record import CalibrationBook
from hardware.channels import Channel
from hardware.configuration.build import CALIBRATIONS, recalibrated
from hardware.files import parse_json, replace_file

_NOTE: Final = "new-vial.json"


class Workbench:
    """Of one reactor. Every method may block.

    Args:
        directory: Where the reactor keeps what must survive a restart.
        bare: Its channels without their calibrations.
    """

    def __init__(self, directory: Path, bare: Iterable[Channel] = ()) -> None:
        self._note = directory / _NOTE
        self._bare = tuple(bare)
        self._book = CalibrationBook(directory / CALIBRATIONS)
        self._stamp: Hashable = None

    def calibrated(self) -> tuple[Channel, ...] | None:
        """Return the channels as they are calibrated now; None: as when this was last told.

        Raises:
            ConfigurationError: A calibration's file is damaged.
        """
        stamp = self._book.stamp()
        if stamp == self._stamp:
            return None
        channels = recalibrated(self._bare, self._book)
        self._stamp = stamp
        return channels

    def change_vial(self, ml: float) -> None:
        """Say that another vial is in, with so many mL; durable when it returns.

        Raises:
            OSError: It could not be written.
        """
        note = {"ml": ml, "at": datetime.now(UTC).isoformat()}
        replace_file(self._note, json.dumps(note))

    def new_vial(self) -> float | None:
        """Return what a new vial holds, mL; None: there is none.

        Raises:
            ValueError: The note is damaged.
        """
        try:
            ml = float(parse_json(self._note.read_text("utf-8"))["ml"])
        except FileNotFoundError:
            return None
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self._note} is damaged: {error}") from error
        if not (math.isfinite(ml) and ml > 0):
            raise ValueError(f"{self._note} is damaged: no vial holds {ml:g} mL")
        return ml

    def vial_taken(self) -> None:
        """Have the note forgotten: what it says is kept elsewhere now."""
        self._note.unlink(missing_ok=True)
