"""What was recorded of one experiment, as it is at one moment: what exports are made of."""

from pathlib import Path

from broker.database import open_reader
from broker.messages import Experiment
from hub_service.archive.archive import DATABASE
from hub_service.archive.blobs import Blobs
from hub_service.archive.runs import runs_of
from hub_service.archive.wide import Selection, WideTable


class Recorded:
    """A view of the archive that stays the same while it is written to.

    Args:
        archive: The archive's directory.
        experiment: As told to people.

    Attributes:
        runs: All of the experiment, the first attempt first.
    """

    def __init__(self, archive: Path, experiment: Experiment) -> None:
        self.experiment = experiment
        self.connection = open_reader(archive / DATABASE)
        self.connection.execute("BEGIN")
        self.blobs = Blobs(archive)
        self.runs = runs_of(self.connection, experiment.experiment_id)

    def close(self) -> None:
        """Let go of the archive."""
        self.connection.close()

    @property
    def latest(self) -> int:
        """The run of the latest attempt; one that has nothing if there is none."""
        return self.runs[-1].id if self.runs else 0

    def script(self) -> str | None:
        """Return the script, if it is there."""
        row = self.connection.execute(
            "SELECT script FROM scripts WHERE sha256 = ?", (self.experiment.script_sha256,)
        ).fetchone()
        return None if row is None else str(row[0])

    def table(
        self,
        run: int,
        kind: int,
        wanted: Selection = Selection(),  # noqa: B008  frozen
    ) -> WideTable:
        """Return what a run recorded of one kind of samples."""
        return WideTable(self.connection, run, kind, wanted)
