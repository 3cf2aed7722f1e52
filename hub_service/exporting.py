"""Makes one file of what was recorded: `python -m hub_service.exporting ORDER`, run by the hub.

Reads the archive without disturbing the hub, streams in constant memory, and prints one line of
JSON: size and SHA-256 of the file, or the error. The order is a JSON file: `archive` (directory),
`experiment` (as told to people), `kind`, `selection` (of telemetry; absent: all) and `to` (the file
to make).
"""

import errno
import hashlib
import json
import os
import sqlite3
import sys
from pathlib import Path

from broker.database import is_full
from broker.messages import Experiment, ExportKind
from hub_service.archive.schema import SAMPLE
from hub_service.archive.wide import Selection, log_lines
from hub_service.formats import Measured, write_csv, write_log
from hub_service.recorded import Recorded


class MissingError(Exception):
    """What is asked for is not there; the message names it."""


def make(recorded: Recorded, kind: ExportKind, wanted: Selection, to: Path) -> None:
    """Make a file; of telemetry only what is wanted.

    Raises:
        MissingError: What it is made of is not there.
    """
    match kind:
        case ExportKind.RESULTS:
            from hub_service.bundle import write_bundle  # noqa: PLC0415  others do without pyarrow

            write_bundle(recorded, to)
        case ExportKind.TELEMETRY_PARQUET:
            from hub_service.parquet import write_parquet  # noqa: PLC0415  as above

            write_parquet(recorded.table(recorded.latest, SAMPLE, wanted), to)
        case ExportKind.TELEMETRY_CSV:
            with to.open("wb") as file:
                write_csv(recorded.table(recorded.latest, SAMPLE, wanted), Measured(file))
        case ExportKind.LOG:
            with to.open("wb") as file:
                write_log(log_lines(recorded.connection, recorded.latest), Measured(file))
        case ExportKind.SCRIPT:
            script = recorded.script()
            if script is None:
                raise MissingError("script")
            to.write_text(script, "utf-8")
        case ExportKind.FILE:
            raise ValueError("a result file is there already, whole")


def main(order: Path) -> int:
    """Follow an order; return the exit status."""
    os.nice(5)  # whoever runs an experiment comes first
    os.umask(0o077)
    wanted = json.loads(order.read_bytes())
    to = Path(wanted["to"])
    recorded = Recorded(Path(wanted["archive"]), Experiment.model_validate(wanted["experiment"]))
    try:
        make(recorded, ExportKind(wanted["kind"]), Selection(**wanted.get("selection", {})), to)
        with to.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        print(json.dumps({"size": to.stat().st_size, "sha256": sha256}))  # noqa: T201  the answer
    except MissingError as error:
        print(json.dumps({"error": str(error)}))  # noqa: T201  the answer
        return 1
    except (OSError, sqlite3.Error) as error:
        if not is_full(error) and getattr(error, "errno", None) != errno.ENOSPC:
            raise
        print(json.dumps({"error": "full"}))  # noqa: T201  the answer
        return 1
    finally:
        recorded.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
