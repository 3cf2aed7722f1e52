"""Tables as Parquet files. Imported only by the exporting process: pyarrow takes 60 MiB."""

from itertools import islice
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from hub_service.archive.wide import WideTable
from hub_service.formats import CALIBRATIONS, column_names

_ROWS: Final = 20_000
"""In memory at once."""


def write_parquet(table: WideTable, path: Path) -> None:
    """Write a table in wide form; what is missing is null.

    What the sets of calibrations are is in the file's metadata, as JSON under ``calibrations``.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # gives memory back as it goes
    schema = pa.schema(
        [
            ("elapsed", pa.float64()),
            ("time", pa.timestamp("us", tz="UTC")),
            *((name, pa.float64()) for name in column_names(table.columns)),
        ]
    )
    sets = table.calibrations
    if sets:
        schema = schema.append(pa.field(CALIBRATIONS, pa.string()))
        schema = schema.with_metadata({CALIBRATIONS: orjson.dumps(sets)})
    rows = table.rows()
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        while batch := list(islice(rows, _ROWS)):
            columns = [
                [row.elapsed for row in batch],
                [row.time for row in batch],
                *zip(*(row.values for row in batch), strict=True),
            ]
            if sets:
                columns.append([row.calibrations for row in batch])
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
