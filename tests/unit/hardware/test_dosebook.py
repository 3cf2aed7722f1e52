import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.messages import ContractError
from hardware import dosebook
from hardware.clock import ManualClock
from hardware.reactor import Reactor
from tests.unit.hardware.drivers.broken import BrokenDevice
from tests.unit.hardware.equipment import bench

AT = datetime(2026, 2, 17, 14, 26, tzinfo=UTC)
BOOTED = AT - timedelta(days=2)


@asynccontextmanager
async def node(
    path: Path, at: datetime, *, measured: bool = True, set_forward: timedelta = timedelta()
) -> AsyncIterator[tuple[Reactor, ManualClock]]:
    """Run a node from a time on, on a machine whose wall clock was set forward meanwhile."""
    clock = ManualClock(at + set_forward)
    device = BrokenDevice(clock)
    device.values["volume"] = 6.0
    equipment = bench(measured=measured)

    def uptime() -> float:
        return (clock.now() - set_forward - BOOTED).total_seconds()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dosebook, "uptime", uptime)
        async with Reactor(equipment, [device], clock, doses_file=path) as reactor:
            await clock.advance(1.0)
            yield reactor, clock


async def dose(reactor: Reactor, clock: ManualClock, ml: float, channel: str = "media") -> None:
    """Dose in steps of time, for the book is kept in a thread meanwhile."""
    task = asyncio.ensure_future(reactor.dose(channel, ml))
    async with asyncio.timeout(10):
        while not task.done():
            await asyncio.sleep(0.001)
            await clock.advance(0.5)
    await task


async def left(reactor: Reactor) -> tuple[object, object]:
    with pytest.raises(ContractError) as caught:
        await reactor.dose("media", 5.0)
    details = caught.value.error.details
    return details["limit"], details["left"]


async def test_a_restart_gives_no_volume_back(tmp_path: Path) -> None:
    path = tmp_path / "doses.json"
    async with node(path, AT) as (reactor, clock):
        await dose(reactor, clock, 4.0)
        await clock.advance(600.0)
        await dose(reactor, clock, 4.5)
    async with node(path, AT + timedelta(minutes=20)) as (reactor, clock):
        assert await left(reactor) == ("max_hourly_ml", pytest.approx(3.5))
        assert (await reactor.read())["media"] == pytest.approx(8.5)
        await clock.advance(46 * 60.0)
        await dose(reactor, clock, 5.0)


async def test_a_dose_that_a_crash_cut_off_counts_in_full(tmp_path: Path) -> None:
    path = tmp_path / "doses.json"
    async with node(path, AT) as (reactor, _):
        task = asyncio.ensure_future(reactor.dose("media", 5.0))
        async with asyncio.timeout(10):
            while not path.exists():  # noqa: ASYNC110 - a file cannot wake us
                await asyncio.sleep(0.001)
        crashed = path.read_text()  # what is on the disk before the pump has moved
        task.cancel()
        await asyncio.wait([task])
    path.write_text(crashed)
    async with node(path, AT) as (reactor, _):
        assert (await reactor.read())["media"] == 5.0


async def test_a_new_run_counts_its_total_from_zero_but_not_the_hour(tmp_path: Path) -> None:
    path = tmp_path / "doses.json"
    for start in range(2):
        async with node(path, AT + timedelta(minutes=start)) as (reactor, clock):
            await reactor.begin_run()
            await dose(reactor, clock, 4.0)
    async with node(path, AT + timedelta(minutes=2)) as (reactor, _):
        assert (await reactor.read())["media"] == 4.0
        assert await left(reactor) == ("max_hourly_ml", pytest.approx(4.0))


async def test_a_wall_clock_that_goes_back_gives_nothing_back(tmp_path: Path) -> None:
    path = tmp_path / "doses.json"
    async with node(path, AT) as (reactor, clock):
        await dose(reactor, clock, 5.0)
        await dose(reactor, clock, 5.0)
    async with node(path, AT - timedelta(days=1)) as (reactor, _):
        assert await left(reactor) == ("max_hourly_ml", pytest.approx(2.0))


async def test_a_wall_clock_that_is_set_forward_gives_nothing_free(tmp_path: Path) -> None:
    """As where a machine without a clock of its own learns the time after its node began."""
    path = tmp_path / "doses.json"
    async with node(path, AT) as (reactor, clock):
        await dose(reactor, clock, 5.0)
        await dose(reactor, clock, 5.0)
    forward = timedelta(days=1)
    async with node(path, AT + timedelta(minutes=5), set_forward=forward) as (reactor, _):
        assert await left(reactor) == ("max_hourly_ml", pytest.approx(2.0))


async def test_over_a_boot_the_wall_clock_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "doses.json"
    async with node(path, AT) as (reactor, clock):
        await dose(reactor, clock, 5.0)
    monkeypatch.setattr(dosebook, "machine_boot", lambda: "another")
    async with node(path, AT + timedelta(minutes=70)) as (reactor, clock):
        for _ in range(2):
            await dose(reactor, clock, 5.0)
        assert await left(reactor) == ("max_hourly_ml", pytest.approx(2.0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"schema": 2}',
        '{"schema": 1, "at": "2026-02-17T14:26Z", "pumps": {"media": {"total": -1, "hour": []}}}',
        '{"schema": 1, "at": "never", "pumps": {}}',
        '{"schema": 1, "at": "2026-02-17T14:26Z", "volume": NaN, "pumps": {}}',
        '{"schema": 1, "at": "2026-02-17T14:26Z", "volume": "15", "pumps": {}}',
    ],
)
async def test_a_damaged_file_is_kept_beside(tmp_path: Path, text: str) -> None:
    path = tmp_path / "doses.json"
    path.write_text(text)
    async with node(path, AT) as (reactor, _):
        assert (await reactor.read())["media"] == 0.0
    assert (tmp_path / "doses.json.damaged").read_text() == text


async def fits(reactor: Reactor) -> object:
    """Return what still fits into the vessel, mL."""
    with pytest.raises(ContractError) as caught:
        await reactor.dose("base", 4.9)
    assert caught.value.error.details["limit"] == "vessel_high"
    return caught.value.error.details["left"]


async def test_a_restart_empties_no_vessel_that_nothing_measures(tmp_path: Path) -> None:
    path = tmp_path / "doses.json"
    async with node(path, AT, measured=False) as (reactor, clock):
        await dose(reactor, clock, 3.0)
        assert await fits(reactor) == 0.0
    for _ in range(2):
        async with node(path, AT, measured=False) as (reactor, _):
            await reactor.begin_run()  # nobody has said that the vessel is another
            assert await fits(reactor) == 0.0
    async with node(path, AT, measured=False) as (reactor, clock):
        await dose(reactor, clock, 1.5, "waste")
    async with node(path, AT, measured=False) as (reactor, _):
        assert await fits(reactor) == pytest.approx(1.5)


async def test_a_dose_that_a_crash_cut_off_is_in_the_vessel(tmp_path: Path) -> None:
    path = tmp_path / "doses.json"
    async with node(path, AT, measured=False) as (reactor, _):
        task = asyncio.ensure_future(reactor.dose("media", 2.0))
        async with asyncio.timeout(10):
            while not path.exists():  # noqa: ASYNC110 - a file cannot wake us
                await asyncio.sleep(0.001)
        crashed = path.read_text()
        task.cancel()
        await asyncio.wait([task])
    path.write_text(crashed)
    async with node(path, AT, measured=False) as (reactor, _):
        assert await fits(reactor) == pytest.approx(1.0)


async def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "doses.json"
    pumps = '{"media": {"total": 2.0, "hour": []}}'
    path.write_text(f'{{"schema": 1, "at": "{AT.isoformat()}", "pumps": {pumps}}}')
    async with node(path, AT, measured=False) as (reactor, _):
        assert (await reactor.read())["media"] == 2.0
        assert await fits(reactor) == pytest.approx(3.0)  # as configured: 15 of 18 mL


async def test_a_full_disk_does_not_stop_the_pumps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "doses.json"
    path.with_name("doses.json.part").mkdir()  # nothing can be written there
    async with node(path, AT) as (reactor, clock):
        await dose(reactor, clock, 1.0)
        assert (await reactor.read())["media"] == 1.0
    assert "could not be kept" in caplog.text
