"""Exports, made by real child processes."""

import asyncio
import base64
import csv
import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from broker.messages import ContractError, ErrorCode, Experiment, Exported, ExportKind
from hub_service.archive import Archive
from hub_service.archive.wide import Selection
from hub_service.bundle import Bundle
from hub_service.exports import IN_USE, KEEP, Exports
from tests.unit.hub_service.archive_entries import (
    EXPERIMENT,
    T0,
    Node,
    chunks,
    event,
    experiment,
    log,
    note,
    phase,
    sample,
    series,
)

SCRIPT = "print('hällo')\n"
SHA = hashlib.sha256(SCRIPT.encode()).hexdigest()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Disk:
    """A disk on which only exports are."""

    def __init__(self, directory: Path) -> None:
        self.size = 2**30
        self._directory = directory

    def free(self, _: Path) -> int:
        files = [path.stat() for path in self._directory.iterdir() if path.suffix != ".json"]
        return max(0, self.size - sum(told.st_size for told in files if told.st_nlink == 1))


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    archive = Archive.open(tmp_path / "archive")
    await note(archive, script=(SHA, SCRIPT))
    node = Node(archive)
    await node.record(
        phase("executing").model_copy(update={"simulated": True, "speed": 60.0}),
        log(1, "first line"),
        sample(None, {"od": 0.05}, t=-1.0),
        sample(0.0, {"od": 0.1, "temperature": 37.0}),
        sample(1.0, {"od": None, "temperature": 37.5}),
        sample(2.0, {"temperature": 37.25}),
        series(1.0, {"time": 3.0, "growth": 0.5}),
        event(1.0, "dose", channel_note="media", ml=1.5),
        log(2, "zweite Zeile: ü\nmit Umbruch"),
    )
    await node.save(*chunks("plots/a.png", b"\x89PNG" * 1000), *chunks("summary.json", b"{}"))
    yield archive
    archive.close()


@pytest.fixture
def exports(archive: Archive, tmp_path: Path) -> Exports:
    return Exports(archive, tmp_path / "exports")


def running(**changes: object) -> Experiment:
    return experiment(
        1, experiment_id=EXPERIMENT, script_sha256=SHA, status="running", name="Añ: 1/2", **changes
    )


async def fetched(exports: Exports, told: Exported, length: int = 1000) -> bytes:
    content = b""
    while True:
        piece = await exports.fetch(told.ref, len(content), length)
        assert piece.offset == len(content)
        assert piece.size == told.size
        data = base64.b64decode(piece.data)
        if not data:
            break
        content += data
    assert len(content) == told.size
    assert hashlib.sha256(content).hexdigest() == told.sha256
    return content


async def test_a_zip_holds_everything_with_its_hashes(exports: Exports) -> None:
    told = await exports.export(running(), ExportKind.RESULTS)
    assert told.filename == "A-1-2-0ZEX1.zip".replace("0ZEX1", EXPERIMENT[-6:])
    assert told.media_type == "application/zip"
    content = await fetched(exports, told)
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        assert bundle.testzip() is None
        manifest = json.loads(bundle.read("manifest.json"))
        listed = {file["name"]: file for file in manifest["files"]}
        assert set(listed) | {"manifest.json"} == set(bundle.namelist())
        assert set(listed) == {
            "experiment.json", "script.py", "log.txt", "events.csv", "container.csv",
            "telemetry.csv", "telemetry.parquet", "series.csv", "series.parquet",
            "files/plots/a.png", "files/summary.json",
        }  # fmt: skip
        for name, file in listed.items():
            data = bundle.read(name)
            assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert bundle.read("script.py").decode() == SCRIPT
        assert bundle.read("files/plots/a.png") == b"\x89PNG" * 1000
        told_experiment = json.loads(bundle.read("experiment.json"))
        assert told_experiment["experiment_id"] == EXPERIMENT
        assert told_experiment["attempts"][0]["node"] == "reactor-1"
        assert told_experiment["attempts"][0]["simulated"] is True
        assert told_experiment["attempts"][0]["speed"] == 60.0
        assert told_experiment["versions"]["bioreactor"]
        text = bundle.read("log.txt").decode()
        assert "2026-03-01T12:00:01.000000+00:00 stdout first line\n" in text
        assert "ü" in text
        rows = list(csv.DictReader(io.StringIO(bundle.read("events.csv").decode())))
        assert [(row["event"], json.loads(row["data"])["ml"]) for row in rows] == [("dose", 1.5)]
        table = pq.read_table(io.BytesIO(bundle.read("series.parquet")))
        assert table.to_pydict()["time.value"] == [3.0]


@pytest.mark.parametrize("year", [1970, 2200])
async def test_results_of_a_time_that_a_zip_cannot_hold(exports: Exports, year: int) -> None:
    """The hub's clock was wrong at the submission."""
    experiment = running(created_at=datetime(year, 1, 1, tzinfo=UTC))
    told = await exports.export(experiment, ExportKind.RESULTS)
    with zipfile.ZipFile(io.BytesIO(await fetched(exports, told, 256 * 1024))) as file:
        assert json.loads(file.read("experiment.json"))["created_at"].startswith(str(year))
        assert file.testzip() is None


def test_what_gets_no_smaller_is_not_compressed(tmp_path: Path) -> None:
    contents = {"noise.csv": os.urandom(600_000), "plain.png": b"\x89PNG" * 1000, "empty": b""}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        bundle = Bundle(file, (2026, 1, 1, 0, 0, 0))
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
            bundle.copy(name, tmp_path / name)
    with zipfile.ZipFile(tmp_path / "all.zip") as file:
        assert {name: file.read(name) for name in file.namelist()} == contents
        assert file.getinfo("noise.csv").compress_type == zipfile.ZIP_STORED
        assert file.getinfo("plain.png").compress_type == zipfile.ZIP_DEFLATED


async def test_no_name_in_a_zip_leads_out_of_it(archive: Archive, exports: Exports) -> None:
    await Node(archive).save(
        *chunks("..\\..\\evil.exe", b"1"),
        *chunks("C:a", b"2"),
        *chunks("C_a", b"3"),
        *chunks("photo\u202egnp.exe", b"4"),
        *chunks("\u05d0/ü ß.txt", b"5"),
    )
    told = await exports.export(running(), ExportKind.RESULTS)
    with zipfile.ZipFile(io.BytesIO(await fetched(exports, told))) as bundle:
        names = {n for n in bundle.namelist() if n.startswith("files/")}
        assert names - {"files/plots/a.png", "files/summary.json"} == {
            "files/.._.._evil.exe",
            "files/C_a",
            "files/C_a_",
            "files/photo_gnp.exe",
            "files/\u05d0/ü ß.txt",
        }
        manifest = json.loads(bundle.read("manifest.json"))
        assert {file["name"] for file in manifest["files"]} >= names


async def test_telemetry_as_csv_in_wide_form(exports: Exports) -> None:
    told = await exports.export(running(), ExportKind.TELEMETRY_CSV)
    text = (await fetched(exports, told)).decode()
    assert text.splitlines() == [
        "elapsed,time,od,temperature",
        ",2026-03-01T11:59:59.000000+00:00,0.05,",
        "0.0,2026-03-01T12:00:00.000000+00:00,0.1,37.0",
        "1.0,2026-03-01T12:00:01.000000+00:00,,37.5",
        "2.0,2026-03-01T12:00:02.000000+00:00,,37.25",
    ]


async def test_a_part_of_telemetry(exports: Exports) -> None:
    wanted = Selection(("od", "never"), start=0.0, end=1.0)
    told = await exports.export(running(), ExportKind.TELEMETRY_CSV, wanted=wanted)
    assert (await fetched(exports, told)).decode().splitlines() == [
        "elapsed,time,od",
        "0.0,2026-03-01T12:00:00.000000+00:00,0.1",
        "1.0,2026-03-01T12:00:01.000000+00:00,",
    ]
    told = await exports.export(running(), ExportKind.TELEMETRY_PARQUET, wanted=wanted)
    table = pq.read_table(io.BytesIO(await fetched(exports, told)))
    assert table.to_pydict()["od"] == [0.1, None]
    late = Selection(("od",), start=1.5)
    told = await exports.export(running(), ExportKind.TELEMETRY_CSV, wanted=late)
    assert (await fetched(exports, told)).decode() == "elapsed,time,od\n"


async def test_no_column_is_a_formula(archive: Archive, exports: Exports) -> None:
    await Node(archive).record(series(3.0, {'=HYPERLINK("http://a")': 1.0, "@b": 2.0}))
    told = await exports.export(running(), ExportKind.RESULTS)
    with zipfile.ZipFile(io.BytesIO(await fetched(exports, told))) as bundle:
        header = bundle.read("series.csv").decode().splitlines()[0]
    columns = next(csv.reader([header]))
    assert '\'=HYPERLINK("http://a")' in columns
    assert "'@b" in columns


async def test_telemetry_as_parquet_equals_the_csv(exports: Exports) -> None:
    told = await exports.export(running(), ExportKind.TELEMETRY_PARQUET)
    table = pq.read_table(io.BytesIO(await fetched(exports, told)))
    assert table.column_names == ["elapsed", "time", "od", "temperature"]
    assert table.to_pydict()["od"] == [0.05, 0.1, None, None]
    assert table.to_pydict()["elapsed"] == [None, 0.0, 1.0, 2.0]
    assert table.to_pydict()["time"][1] == T0


async def test_log_and_script(exports: Exports) -> None:
    told = await exports.export(running(), ExportKind.SCRIPT)
    assert (await fetched(exports, told)).decode() == SCRIPT
    told = await exports.export(running(), ExportKind.LOG)
    assert b"first line" in await fetched(exports, told)


async def test_one_file_of_the_results(exports: Exports) -> None:
    told = await exports.export(running(), ExportKind.FILE, "plots/a.png")
    assert told.filename == "a.png"
    assert await fetched(exports, told) == b"\x89PNG" * 1000
    with pytest.raises(ContractError) as refused:
        await exports.export(running(), ExportKind.FILE, "plots/none.png")
    assert refused.value.error.code is ErrorCode.NOT_FOUND


async def test_an_experiment_that_recorded_nothing_exports_empty_tables(exports: Exports) -> None:
    other = experiment(5, script_sha256=SHA)
    told = await exports.export(other, ExportKind.RESULTS)
    with zipfile.ZipFile(io.BytesIO(await fetched(exports, told))) as bundle:
        assert bundle.read("telemetry.csv") == b"elapsed,time\n"
        assert pq.read_table(io.BytesIO(bundle.read("telemetry.parquet"))).num_rows == 0


async def test_a_script_that_is_not_there_is_not_found(exports: Exports) -> None:
    with pytest.raises(ContractError) as refused:
        await exports.export(experiment(5), ExportKind.SCRIPT)
    assert refused.value.error.code is ErrorCode.NOT_FOUND
    assert "script" in refused.value.error.message


async def test_earlier_attempts_have_folders_of_their_own(
    exports: Exports, archive: Archive
) -> None:
    await Node(archive).record(log(1, "second attempt", attempt=2))
    told = await exports.export(running(), ExportKind.RESULTS)
    with zipfile.ZipFile(io.BytesIO(await fetched(exports, told))) as bundle:
        assert b"second attempt" in bundle.read("log.txt")
        assert b"first line" in bundle.read("attempts/1/log.txt")
        assert "attempts/1/files/summary.json" in bundle.namelist()


async def test_the_same_state_is_made_once(exports: Exports, archive: Archive) -> None:
    both = await asyncio.gather(
        *(exports.export(running(), ExportKind.TELEMETRY_CSV) for _ in range(2))
    )
    assert both[0] == both[1]
    await Node(archive).record(sample(3.0, {"od": 0.2}))
    later = await exports.export(running(), ExportKind.TELEMETRY_CSV)
    assert later.ref != both[0].ref
    assert b"\n3.0," in await fetched(exports, later)


async def test_names_cannot_be_guessed(exports: Exports) -> None:
    told = await exports.export(running(), ExportKind.SCRIPT)
    assert told.ref not in {told.sha256, SHA, EXPERIMENT}
    assert len(told.ref) == 32
    for ref in ("..", SHA, f"{told.ref}.json", "../archive/archive.sqlite"):
        with pytest.raises(ContractError) as refused:
            await exports.fetch(ref, 0, 10)
        assert refused.value.error.code is ErrorCode.NOT_FOUND


async def test_old_exports_go_and_used_ones_stay(archive: Archive, tmp_path: Path) -> None:
    clock = Clock()
    exports = Exports(archive, tmp_path / "exports", clock=clock)
    unused = await exports.export(running(), ExportKind.SCRIPT)
    used = await exports.export(running(), ExportKind.LOG)
    clock.now += KEEP - 1
    await exports.fetch(used.ref, 0, 10)
    clock.now += 2
    await exports.tidy()
    await exports.fetch(used.ref, 0, 10)
    with pytest.raises(ContractError):
        await exports.fetch(unused.ref, 0, 10)
    assert {path.name for path in (tmp_path / "exports").iterdir()} == {
        used.ref,
        f"{used.ref}.json",
    }


async def test_exports_leave_the_disk_to_what_is_recorded(archive: Archive, tmp_path: Path) -> None:
    """Who asks for ever other pieces does not fill it; those used longest ago make room."""
    clock, disk = Clock(), Disk(tmp_path / "exports")
    exports = Exports(archive, tmp_path / "exports", clock=clock, free=disk.free)
    linked = await exports.export(running(), ExportKind.FILE, "summary.json")
    told = []
    for n in range(6):
        clock.now += IN_USE + 1
        wanted = Selection(end=9.0 + n)
        told.append(await exports.export(running(), ExportKind.TELEMETRY_CSV, wanted=wanted))
    await exports.fetch(told[0].ref, 0, 1)
    clock.now += IN_USE + 1
    disk.size = 6 * told[0].size  # of which one can hold three, and leave three
    await exports.tidy()
    left = {path.name for path in (tmp_path / "exports").glob("*.json")}
    assert left == {f"{one.ref}.json" for one in (linked, told[0], told[4], told[5])}
    disk.size = 0
    await exports.fetch(told[5].ref, 0, 1)
    await exports.tidy()
    await exports.fetch(told[5].ref, 0, 1)  # somebody has just begun to
    with pytest.raises(ContractError) as refused:
        await exports.export(running(), ExportKind.LOG)
    assert refused.value.error.code is ErrorCode.STORAGE_FULL
    assert (await exports.export(running(), ExportKind.FILE, "summary.json")) == linked


async def test_many_may_tidy_at_once(archive: Archive, tmp_path: Path) -> None:
    clock = Clock()
    exports = Exports(archive, tmp_path / "exports", clock=clock)
    for kind in (ExportKind.SCRIPT, ExportKind.LOG, ExportKind.TELEMETRY_CSV):
        await exports.export(running(), kind)
    clock.now += KEEP + 1
    await asyncio.gather(*(exports.tidy() for _ in range(5)))
    assert not list((tmp_path / "exports").iterdir())


async def test_what_is_fetched_while_others_are_removed_stays(
    archive: Archive, tmp_path: Path
) -> None:
    clock = Clock()
    exports = Exports(archive, tmp_path / "exports", clock=clock)
    await exports.export(running(), ExportKind.SCRIPT)
    later = await exports.export(running(), ExportKind.LOG)
    clock.now += KEEP + 1
    await asyncio.gather(exports.tidy(), exports.fetch(later.ref, 0, 10))
    assert await fetched(exports, later)


async def test_a_restart_keeps_what_is_whole(archive: Archive, tmp_path: Path) -> None:
    directory = tmp_path / "exports"
    whole = await Exports(archive, directory).export(running(), ExportKind.SCRIPT)
    torn = await Exports(archive, directory).export(running(), ExportKind.LOG)
    with (directory / torn.ref).open("r+b") as file:
        file.truncate(3)
    (directory / "feedface.part").write_bytes(b"of a child that was killed")
    (directory / "0.json").write_bytes(b"{")
    exports = Exports(archive, directory)
    assert (await fetched(exports, whole)).decode() == SCRIPT
    with pytest.raises(ContractError):
        await exports.fetch(torn.ref, 0, 10)
    assert {path.name for path in directory.iterdir()} == {whole.ref, f"{whole.ref}.json"}


async def test_a_cancelled_export_leaves_nothing(
    exports: Exports, archive: Archive, tmp_path: Path
) -> None:
    for start in range(0, 20_000, 500):
        await Node(archive).record(
            *(sample(float(n), {"od": 1.0}) for n in range(start, start + 500))
        )
    making = asyncio.create_task(exports.export(running(), ExportKind.RESULTS))
    directory = tmp_path / "exports"
    async with asyncio.timeout(20):
        while not any(len(path.name) == 32 for path in directory.iterdir()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert list(directory.iterdir()) == []


def result_blobs(archive: Archive) -> list[Path]:
    return [path for path in (archive.directory / "blobs").rglob("*") if path.is_file()]


async def test_a_failure_of_the_child_is_an_error_for_the_asker(
    exports: Exports, archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    for path in result_blobs(archive):
        path.unlink()
        path.mkdir()
    with pytest.raises(ContractError) as refused:
        await exports.export(running(), ExportKind.RESULTS)
    assert refused.value.error.code is ErrorCode.INTERNAL
    assert "IsADirectoryError" in caplog.text


async def test_a_result_file_that_is_gone_keeps_no_other_from_its_owner(
    exports: Exports, archive: Archive
) -> None:
    for path in result_blobs(archive):
        path.unlink()
    content = await fetched(exports, await exports.export(running(), ExportKind.RESULTS))
    with zipfile.ZipFile(io.BytesIO(content)) as bundle:
        files = {
            entry["name"]: entry for entry in json.loads(bundle.read("manifest.json"))["files"]
        }
        assert "log.txt" in bundle.namelist()
        lost = [name for name in files if name.startswith("files/")]
        assert lost
        for name in lost:
            assert "gone from the hub's disk" in files[name]["problem"]
            assert name not in bundle.namelist()


MEASURED = """
import resource, sys
from pathlib import Path
from hub_service.exporting import main
main(Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


async def test_memory_does_not_grow_with_the_run(archive: Archive, tmp_path: Path) -> None:
    """40 000 rows of 20 channels are 40 MB as objects; the formats buffer a fixed amount."""
    names = [f"channel-{n}" for n in range(20)]
    order = tmp_path / "order.json"
    wanted = {
        "archive": str(archive.directory),
        "experiment": running().model_dump(mode="json", exclude_none=True),
        "kind": "results",
        "to": str(tmp_path / "to.zip"),
    }
    order.write_text(json.dumps(wanted))

    async def peak() -> int:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", MEASURED, str(order), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await child.communicate()
        return int(output.split()[-1])

    async def add(first: int, last: int) -> None:
        for start in range(first, last, 2000):
            rows = range(start, start + 2000)
            await Node(archive).record(
                *(sample(float(n), dict.fromkeys(names, n + 0.5)) for n in rows)
            )

    await add(0, 40_000)
    small = await peak()
    await add(40_000, 80_000)
    assert await peak() - small < 15 * 1024


async def test_the_hub_itself_never_loads_pyarrow() -> None:
    check = "import sys, hub_service.__main__; sys.exit('pyarrow' in sys.modules)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", check)
    assert await child.wait() == 0


async def test_every_sample_says_which_calibrations_it_used(
    archive: Archive, exports: Exports
) -> None:
    used = [{"od": "od-1", "ph": "ph-1"}, {"od": "od-2", "ph": "ph-1"}]
    await Node(archive).record(
        event(0.5, "calibrations", **used[0]),
        event(1.5, "calibrations", **used[1]),  # the node was restarted
        sample(3.0, {"calibrations": 1.0}),
    )
    csv_told = await exports.export(running(), ExportKind.TELEMETRY_CSV)
    header, *rows = csv.reader(io.StringIO((await fetched(exports, csv_told)).decode()))
    assert header == ["elapsed", "time", "calibrations.value", "od", "temperature", "calibrations"]
    names = [row[-1] for row in rows]
    assert names[:2] == ["", ""]
    assert names[2] != names[3] == names[4]

    with zipfile.ZipFile(
        io.BytesIO(await fetched(exports, await exports.export(running(), ExportKind.RESULTS)))
    ) as bundle:
        sets: dict[str, dict[str, str]] = {}
        table = csv.reader(io.StringIO(bundle.read("calibrations.csv").decode()))
        assert next(table) == ["calibrations", "channel", "calibration"]
        for name, channel, calibration in table:
            sets.setdefault(name, {})[channel] = calibration
        parquet = pq.read_table(io.BytesIO(bundle.read("telemetry.parquet")))
        assert "calibrations" not in bundle.read("series.csv").decode().splitlines()[0]
    assert [sets[name] for name in names[2:4]] == used
    assert parquet.column("calibrations").to_pylist() == [name or None for name in names]
    assert json.loads(parquet.schema.metadata[b"calibrations"]) == sets
