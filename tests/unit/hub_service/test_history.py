"""Curves out of the archive."""

import asyncio
import random
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from math import inf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.database import open_database
from broker.messages import EventRecord, History, HistoryOf, Payload, SampleRecord, Trace
from hub_service.archive import Archive
from hub_service.archive import history as history_module
from hub_service.archive.archive import DATABASE
from hub_service.archive.curves import Curve
from hub_service.archive.history import Eyes
from hub_service.archive.samples import roll_up
from hub_service.archive.schema import APPLICATION_ID, MIGRATIONS, TEN
from tests.unit.hub_service.archive_entries import (
    EPOCH_2,
    EXPERIMENT,
    NODE,
    T0,
    Node,
    at,
    container,
    event,
    experiment,
    log,
    phase,
    plain,
    sample,
    series,
)
from tests.unit.hub_service.builders import ulid

EPOCH_T0 = T0.timestamp()
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  its disk is not the subject


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive.open(tmp_path / "archive")
    yield archive
    archive.close()


async def feed(archive: Archive, entries: Sequence[Payload], size: int = 500) -> None:
    for start in range(0, len(entries), size):
        await Node(archive).record(*entries[start : start + size])


async def of_experiment(archive: Archive, **more: object) -> HistoryOf:
    request = History.model_validate({"experiment_id": EXPERIMENT, **more})
    return await archive.history(request)


def points_of(trace: Trace) -> list[tuple[float, float | None]]:
    return list(zip(trace.t, trace.v, strict=True))


async def test_few_samples_come_as_they_are(archive: Archive) -> None:
    await feed(
        archive,
        [
            phase("executing"),
            sample(0.0, {"od": 0.1, "temperature": 37.0}),
            sample(1.0, {"od": None, "temperature": 37.1}),
            sample(2.0, {"temperature": 37.2}),
            series(1.5, {"od": 5.0}),
            container(1.0, 12.5),
            event(1.0, "dose", ml=1.0),
            log(1),
        ],
    )
    found = await of_experiment(archive)
    assert found.started_at == T0
    assert set(found.traces) == {"od", "temperature", "series.od"}
    assert points_of(found.traces["od"]) == [(0.0, 0.1), (1.0, None)]
    assert points_of(found.traces["temperature"]) == [(0.0, 37.0), (1.0, 37.1), (2.0, 37.2)]
    assert points_of(found.traces["series.od"]) == [(1.5, 5.0)]
    assert found.traces["series.od"].series
    assert not found.traces["od"].series
    assert not found.traces["od"].downsampled
    assert [e.event for e in found.events] == ["dose"]
    assert found.gaps == ()


async def test_only_what_was_asked_for_comes(archive: Archive) -> None:
    await feed(
        archive,
        [sample(float(n), {"od": float(n), "ph": 7.0}) for n in range(10)]
        + [container(float(n), float(n)) for n in range(10)],
    )
    found = await of_experiment(archive, channels=["od", "container.cpu_percent"], start=2, end=4)
    assert set(found.traces) == {"od", "container.cpu_percent"}
    assert points_of(found.traces["od"]) == [(2.0, 2.0), (3.0, 3.0), (4.0, 4.0)]
    assert points_of(found.traces["container.cpu_percent"]) == [(2.0, 2.0), (3.0, 3.0), (4.0, 4.0)]


async def test_events_are_chosen_by_kind(archive: Archive) -> None:
    doses = [event(float(n), "dose", ml=1.0) for n in range(600)]
    await feed(archive, [event(0.5, "alarm"), *doses, event(599.5, "alarm-cleared")])
    everything = await of_experiment(archive)
    assert [e.event for e in everything.events].count("alarm") == 0  # older than the last 500
    alarms = await of_experiment(archive, events=["alarm", "alarm-cleared"])
    assert [e.event for e in alarms.events] == ["alarm", "alarm-cleared"]
    assert (await of_experiment(archive, events=[])).events == ()


async def test_an_unknown_experiment_has_no_history(archive: Archive) -> None:
    found = await of_experiment(archive)
    assert (found.traces, found.events, found.started_at) == ({}, (), None)


async def test_only_the_latest_attempt_counts(archive: Archive) -> None:
    await feed(
        archive,
        [sample(0.0, {"od": 1.0}), sample(0.0, {"od": 2.0}, attempt=2)],
    )
    found = await of_experiment(archive)
    assert points_of(found.traces["od"]) == [(0.0, 2.0)]


@pytest.mark.parametrize("raw_rows", [10**9, 0], ids=["rows", "minutes"])
@pytest.mark.parametrize("speed", [1, 60])
async def test_a_spike_of_one_sample_is_seen_in_a_long_run(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, raw_rows: int, speed: int
) -> None:
    monkeypatch.setattr(history_module, "RAW_ROWS", raw_rows)
    entries = [sample(float(n * speed), {"od": 0.5, "ph": 7.0}, t=float(n)) for n in range(12_000)]
    entries[7654] = sample(7654.0 * speed, {"od": 9.0, "ph": -3.0}, t=7654.0)
    await feed(archive, entries)
    found = await of_experiment(archive, points=100)
    for name, value in (("od", 9.0), ("ph", -3.0)):
        trace = found.traces[name]
        assert (7654.0 * speed, value) in points_of(trace)
        assert len(trace.t) <= 100
        assert trace.downsampled
        assert list(trace.t) == sorted(trace.t)


@pytest.mark.parametrize(
    ("window", "found"),
    [
        ({"start": 1e15}, False),  # microseconds, mistaken for seconds
        ({"start": 1e308}, False),
        ({"end": -1e300}, False),
        ({"start": 1e300, "end": -1e300}, False),
        ({"start": -1e308, "end": 1e308}, True),
    ],
)
@pytest.mark.parametrize("of", [{"node": NODE}, {"experiment_id": EXPERIMENT}])
async def test_a_window_that_no_clock_reaches(
    archive: Archive, of: dict[str, str], window: dict[str, float], *, found: bool
) -> None:
    await feed(archive, [sample(1.0, {"od": 0.5}), event(1.0, "dose")])
    told = await archive.history(History.model_validate({**of, **window}))
    assert (bool(told.traces), bool(told.events)) == (found, found)


@pytest.mark.parametrize("by_time", [False, True], ids=["experiment", "node"])
async def test_what_lies_beside_a_window_hides_nothing_at_its_edge(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, *, by_time: bool
) -> None:
    monkeypatch.setattr(history_module, "RAW_ROWS", 0)
    spikes = {123: 9.0, 125: 5.0, 1835: 5.0, 1837: 9.0}
    await feed(archive, [sample(60.0 * n, {"od": spikes.get(n, 0.5)}) for n in range(2000)])
    offset = EPOCH_T0 if by_time else 0.0
    subject = {"node": NODE} if by_time else {"experiment_id": EXPERIMENT}
    window = {"start": offset + 124 * 60, "end": offset + 1836 * 60}
    found = await archive.history(History.model_validate({**subject, **window, "points": 100}))
    high = [(t - offset, v) for t, v in points_of(found.traces["od"]) if v != 0.5]
    assert high == [(125 * 60.0, 5.0), (1835 * 60.0, 5.0)]


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[float | None], float, int]:
    """Values of one channel, seconds between them, and how many come in a commit."""
    calm = draw(st.floats(-1, 1))
    values: list[float | None] = [calm] * draw(st.integers(2, 400))
    for place, value in draw(
        st.lists(st.tuples(st.integers(0, 399), st.none() | st.floats(-1e6, 1e6)), max_size=60)
    ):
        values[place % len(values)] = value
    return values, draw(st.sampled_from([0.5, 7.0, 90.0, 700.0])), draw(st.integers(1, 80))


async def feed_runs(archive: Archive, runs: int, *entries: SampleRecord | EventRecord) -> None:
    """Have each of so many experiments record the entries, one experiment an hour."""
    for n in range(runs):
        whose = {"experiment_id": ulid(n)}
        await Node(archive).record(
            *(e.model_copy(update={"t": e.t + timedelta(hours=n), **whose}) for e in entries)
        )


async def test_a_year_of_runs_costs_no_more_points_than_one(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    told = Curve.trace

    def trace(curve: Curve, points: int, *, rolled: bool) -> Trace:
        held.append(len(curve.x))
        return told(curve, points, rolled=rolled)

    monkeypatch.setattr(history_module, "RAW_ROWS", 0)
    monkeypatch.setattr(Curve, "trace", trace)
    await feed_runs(archive, 100, *(sample(60.0 * n, {"od": abs(n - 30.0)}) for n in range(60)))
    got = await archive.history(History(node=NODE, start=0.0, points=40))
    assert held[0] <= 40 + 2 * 2 * 100
    values = [v for v in got.traces["od"].v if v is not None]
    assert len(values) <= 40
    assert (min(values), max(values)) == (0.0, 30.0)


async def test_the_last_events_of_many_runs_are_told_and_no_more_are_held(
    archive: Archive,
) -> None:
    await feed_runs(archive, 100, *(event(float(n), "dose", note="x" * 2000) for n in range(150)))
    tracemalloc.start()
    try:
        got = await archive.history(History(node=NODE, start=0.0))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * 2**20  # all of them have 30 MB
    assert len(got.events) > 20
    assert [e.t for e in got.events] == [
        at(99 * 3600 + 150 - n) for n in range(len(got.events), 0, -1)
    ]


@settings(max_examples=40, deadline=None)
@given(
    recorded=recordings(),
    edges=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    points=st.integers(2, 60),
    rolled=st.booleans(),
    by_time=st.booleans(),
)
def test_no_extreme_is_lost(
    recorded: tuple[list[float | None], float, int],
    edges: tuple[float, float],
    points: int,
    *,
    rolled: bool,
    by_time: bool,
) -> None:
    """Each value has one at least as high, and one at least as low, shown where it stood.

    Near is a bucket of the answer; where it is made of minutes, a whole number of these, or of
    tens of them where there are twenty or more.
    """
    values, pause, size = recorded
    x = [n * pause for n in range(len(values))]
    recording = list(zip(x, values, strict=True))
    start, end = sorted(edge * x[-1] for edge in edges)
    offset = EPOCH_T0 if by_time else 0.0

    async def ask() -> HistoryOf:
        subject = {"node": NODE} if by_time else {"experiment_id": EXPERIMENT}
        window = {"start": offset + start, "end": offset + end, "points": points}
        with (
            tempfile.TemporaryDirectory(dir=MEMORY) as directory,
            closing(Archive.open(Path(directory))) as archive,
        ):
            await feed(archive, [sample(a, {"od": v}) for a, v in recording], size)
            return await archive.history(History.model_validate(subject | window))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history_module, "RAW_ROWS", 0 if rolled else 10**9)
        found = asyncio.run(ask())
    inside = [
        (offset + a, v) for a, v in recording
        if v is not None and start + 1e-3 <= a <= end - 1e-3
    ]  # fmt: skip
    trace = found.traces.get("od", Trace(t=(), v=()))
    shown = [(t, v) for t, v in points_of(trace) if v is not None]
    assert len(trace.t) <= points
    assert list(trace.t) == sorted(trace.t)
    real = {(round(offset + a, 3), float(f"{v:.7g}")) for a, v in recording if v is not None}
    assert set(shown) <= real
    near = 1e-2 + (end - start) / max(1, points // 2)
    if rolled:
        stretch = ((end - start) / 60 + 2) / max(1, points // 2 - 1) + 1
        near += 60 * (stretch if stretch < 2 * TEN else stretch + TEN)
    for t, v in inside:
        about = [w for s, w in shown if abs(s - t) <= near]
        assert max(about, default=-inf) >= v - 1e-6 * abs(v)
        assert min(about, default=inf) <= v + 1e-6 * abs(v)


async def test_one_and_ten_minutes_hold_minimum_and_maximum_whatever_the_commits(
    archive: Archive,
) -> None:
    dice = random.Random(7)  # noqa: S311  test data
    values = [dice.uniform(-5, 5) if dice.random() > 0.2 else None for _ in range(2000)]
    entries = [sample(float(n), {"od": value}) for n, value in enumerate(values)]
    start = 0
    while start < len(entries):
        size = dice.randint(1, 250)
        await Node(archive).record(*entries[start : start + size])
        start += size
    there = [(v, x) for x, v in enumerate(values) if v is not None]
    rows = await archive._rows(
        "SELECT minute, n, total, lo, hi, x_lo, x_hi FROM rollups ORDER BY minute"
    )
    assert len(rows) == 34
    for minute, n, total, lo, hi, x_lo, x_hi in rows:
        inside = [(v, x) for v, x in there if (EPOCH_T0 + x) // 60 == minute]
        assert n == len(inside)
        assert total == pytest.approx(sum(v for v, _ in inside))
        assert (lo, x_lo) == min(inside)
        assert (hi, x_hi) == max(inside)
    tens = await archive._rows("SELECT ten, lo, hi, x_lo, x_hi FROM tens ORDER BY ten")
    assert len(tens) == 4
    for ten, lo, hi, x_lo, x_hi in tens:
        inside = [(v, x) for v, x in there if (EPOCH_T0 + x) // (60 * TEN) == ten]
        assert (lo, x_lo) == min(inside)
        assert (hi, x_hi) == max(inside)


async def test_what_an_older_schema_has_is_brought_to_tens_of_minutes(
    archive: Archive, tmp_path: Path
) -> None:
    dice = random.Random(7)  # noqa: S311  test data
    samples = [
        sample(60.0 * n, {"od": dice.uniform(-5, 5) if n % 40 > 15 else None, "ph": -n / 7})
        for n in range(400)
    ]
    await feed(archive, samples)
    wanted = await archive._rows("SELECT * FROM tens")
    assert len(wanted) == 2 * 40
    path = tmp_path / "older" / DATABASE
    path.parent.mkdir()
    older = open_database(path, MIGRATIONS[:5], APPLICATION_ID)
    for row in await archive._rows("SELECT * FROM rollups"):
        older.execute("INSERT INTO rollups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    older.close()
    with closing(Archive.open(path.parent)) as brought:
        assert await brought._rows("SELECT * FROM tens") == wanted


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-10, 10)), min_size=1, max_size=20))
def test_rolling_up(values: list[float | None]) -> None:
    x = [float(n) for n in range(len(values))]
    n, total, lo, hi, x_lo, x_hi, _, _ = roll_up(values, x, list(range(len(values))))
    there = [v for v in values if v is not None]
    assert n == len(there)
    assert total == pytest.approx(sum(there))
    assert (lo, hi) == ((min(there), max(there)) if there else (None, None))
    assert values[int(x_lo)] == lo
    assert values[int(x_hi)] == hi


async def test_values_that_overflow_any_sum_are_taken(archive: Archive) -> None:
    node = Node(archive)
    for value in (1e308, -1e308, 1.0):
        await node.record(*(series(0.0, {"mine": value}) for _ in range(3)))
    got = await of_experiment(archive)
    assert sorted(v for _, v in points_of(got.traces["series.mine"]) if v is not None) == (
        [-1e308] * 3 + [1.0] * 3 + [1e308] * 3
    )


async def test_samples_at_one_instant_are_all_kept(archive: Archive) -> None:
    await feed(archive, [sample(5.0, {"od": float(n)}, t=float(n)) for n in range(4)])
    await Node(archive).record(sample(5.0, {"od": 9.0}), epoch=EPOCH_2, order=2)
    found = await of_experiment(archive)
    assert sorted(v for v in found.traces["od"].v if v is not None) == [0.0, 1.0, 2.0, 3.0, 9.0]


async def test_what_came_before_the_clock_started_is_kept_but_not_on_its_axis(
    archive: Archive,
) -> None:
    await feed(archive, [sample(None, {"od": 0.3}, t=-5.0), sample(0.0, {"od": 0.4})])
    found = await of_experiment(archive)
    assert points_of(found.traces["od"]) == [(0.0, 0.4)]
    of_node = await archive.history(History(node=NODE))
    assert [v for _, v in points_of(of_node.traces["od"])] == [0.3, 0.4]


async def test_others_see_of_a_nodes_past_what_concerns_everybody(archive: Archive) -> None:
    idle = sample(None, {"od": 0.1}, experiment=None, t=0.0)
    run = [sample(1.0, {"od": 0.2}, t=1.0), event(1.0, "dose", ml=1.0), event(1.0, "alarm", id="a")]
    await feed(archive, [idle, phase("executing"), *run])
    owner, other = "web:the-owner", "web:another"

    async def seen(eyes: Eyes | None) -> tuple[list[float | None], list[str]]:
        found = await archive.history(History(node=NODE, start=EPOCH_T0 - 9), eyes)
        return [*found.traces["od"].v], [event.event for event in found.events]

    whole = ([0.1, 0.2], ["dose", "alarm"])
    assert await seen(None) == whole
    assert await seen(Eyes(other, frozenset())) == ([0.1], ["alarm"])
    assert await seen(Eyes(owner, frozenset({EXPERIMENT}))) == whole  # while it runs
    await archive.finish(experiment(1, experiment_id=EXPERIMENT, user=owner))
    assert await seen(Eyes(owner, frozenset())) == whole
    assert await seen(Eyes(other, frozenset())) == ([0.1], ["alarm"])


@pytest.mark.parametrize("raw_rows", [10**9, 0], ids=["rows", "minutes"])
async def test_a_node_has_one_history_over_idle_time_and_experiments(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, raw_rows: int
) -> None:
    monkeypatch.setattr(history_module, "RAW_ROWS", raw_rows)
    idle = [sample(None, {"od": 0.1}, experiment=None, t=float(n)) for n in range(60)]
    run = [sample(float(n), {"od": 0.2}, t=60.0 + n) for n in range(60)]
    after = [sample(None, {"od": 0.3}, experiment=None, t=120.0 + n) for n in range(60)]
    await feed(archive, [*idle, *run, *after])
    found = await archive.history(
        History(node=NODE, start=EPOCH_T0, end=EPOCH_T0 + 1000, points=2000)
    )
    trace = found.traces["od"]
    assert list(trace.t) == sorted(trace.t)
    assert trace.t[0] == EPOCH_T0
    assert EPOCH_T0 + 120 <= trace.t[-1] <= EPOCH_T0 + 179
    assert list(dict.fromkeys(trace.v)) == [0.1, 0.2, 0.3]
    if raw_rows:
        found = await archive.history(History(node=NODE, start=EPOCH_T0 + 58, end=EPOCH_T0 + 61.5))
        assert [v for _, v in points_of(found.traces["od"])] == [0.1, 0.1, 0.2, 0.2]


async def test_a_node_without_bounds_shows_its_last_day(archive: Archive) -> None:
    day = 86400.0
    old = sample(None, {"od": 0.1}, experiment=None, t=-2 * day)
    new = sample(None, {"od": 0.2}, experiment=None, t=0.0)
    await feed(archive, [old, new])
    found = await archive.history(History(node=NODE))
    assert points_of(found.traces["od"]) == [(EPOCH_T0, 0.2)]


async def test_an_answer_fits_into_a_message(archive: Archive) -> None:
    names = [f"channel-{n}" for n in range(40)]
    dice = random.Random(1)  # noqa: S311  test data
    await feed(
        archive,
        [sample(n + 0.123, {name: dice.random() for name in names}) for n in range(3000)]
        + [event(float(n), "dose", text="x" * 2000) for n in range(500)],
        size=100,
    )
    found = await of_experiment(archive)
    assert len(found.traces) == 40
    assert len(found.encode()) < 700 * 1024
    assert found.events[-1].t == at(499.0)


async def test_gaps_are_told(archive: Archive) -> None:
    await feed(archive, [sample(0.0, {"od": 1.0})])
    await Node(archive).take("records", plain([sample(9.0, {"od": 1.0})]), lost=8)
    (gap,) = (await of_experiment(archive)).gaps
    assert (gap.first, gap.upto) == (2, 9)
