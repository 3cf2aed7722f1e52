from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.clock import ManualClock
from hardware.reactors import replayed_reactor
from hardware.replay.recording import RecordingError, read_recording
from tests.unit.hardware.simulation.recording import CSV

RUN = """\
time,elapsed_time,OD_135_V,temperature_C,CO2_ppm,pump
09:00:00,0.001,0.05,25.5,790,off
09:00:20,20.001,0.06,,800,off
09:00:40,40.001,0.07,26.0,nan,on
09:05:00,300.001,0.08,30.0,810,off
09:05:20,320.001,0.09,30.1,820,off
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run.csv"
    path.write_text(RUN)
    return path


def test_columns_of_numbers_are_channels(run: Path) -> None:
    recording = read_recording(run)
    assert [(c.name, c.unit) for c in recording.columns] == [
        ("od-135", "V"),
        ("temperature", "°C"),
        ("co2", "ppm"),
    ]
    assert recording.period == 20.0
    assert recording.duration == pytest.approx(340.0)


async def test_sensors_show_again_what_they_showed_gaps_and_all(run: Path) -> None:
    clock = ManualClock()
    shown = []
    async with replayed_reactor(clock, run) as reactor:
        await reactor.begin_run()
        for _ in range(7):
            shown.append(tuple((await reactor.read()).values()))
            await clock.advance(20.0)
        await clock.advance(300.0 - clock.monotonic() + 1.0)
        late = tuple((await reactor.read()).values())
    assert shown[:3] == [(0.05, 25.5, 790.0), (0.06, None, 800.0), (0.07, 26.0, None)]
    assert shown[3:] == [(None, None, None)] * 4  # nobody measured between 60 s and 300 s
    assert late == (0.08, 30.0, 810.0)


async def test_the_end_is_a_fault_and_a_new_run_begins_again(run: Path) -> None:
    clock = ManualClock()
    async with replayed_reactor(clock, run) as reactor:
        await clock.advance(341.0)
        assert set((await reactor.read()).values()) == {None}
        assert any("recording is over" in alarm.message for alarm in reactor.alarms)
        await reactor.begin_run()
        assert (await reactor.read())["od-135"] == 0.05
        assert reactor.alarms == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: no column of seconds"),
        ("a,b\n1,2\n", "line 1: no column of seconds"),
        ("t,a\n0,1\n", "two rows at least"),
        ("t,a\n0,1\n0,2\n", "line 3: t is '0'; it must be a number that grows"),
        ("t,a\n0,1\nsoon,2\n", "line 3: t is 'soon'"),
        ("t,a\n0,1\n1,2,3\n", "line 3: 3 fields, the first line names 2"),
        ("t,a,A\n0,1,1\n1,2,2\n", "two columns are called a"),
        ("t,§\n0,1\n1,2\n", "cannot be a channel's name"),
        ("t,a\n0,x\n1,y\n", "0 columns of numbers"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_line(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "run.csv"
    path.write_text(text)
    with pytest.raises(RecordingError, match=r"run\.csv") as refused:
        read_recording(path)
    assert complaint in str(refused.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        read_recording(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"t,a\n0,\xff\xfe\n")
    with pytest.raises(RecordingError, match="UTF-8"):
        read_recording(tmp_path / "bytes.csv")


@given(st.binary(max_size=400))
def test_whatever_a_file_holds_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(b"t,a\n" + data)
    try:
        recording = read_recording(path)
    except RecordingError:
        return
    assert recording.times[0] == 0.0
    assert len(recording.times) == len(recording.rows)


@pytest.mark.skipif(not CSV.exists(), reason="the recorded runs are not beside the code")
async def test_the_recorded_run_of_43_hours() -> None:
    recording = read_recording(CSV)
    assert len(recording.times) == 7854
    assert recording.duration / 3600 == pytest.approx(43.6, abs=0.1)
    clock = ManualClock()
    async with replayed_reactor(clock, CSV) as reactor:
        await reactor.begin_run()
        assert (await reactor.read())["temperature"] == 25.5
        await clock.advance(3600.0)
        assert (await reactor.read())["temperature"] == pytest.approx(30.0, abs=0.3)
