from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hardware.calibration.curve import Point, fit
from hardware.calibration.record import Calibration, CalibrationBook, CalibrationFileError

AT = datetime(2026, 2, 17, 14, 26, 1, tzinfo=UTC)
POINTS = (Point(600.0, 0.0), Point(1010.0, 1.0), Point(1390.0, 2.0))


def optical(at: datetime = AT) -> Calibration:
    return Calibration("od", at, "curve", "OD", POINTS, fit(POINTS), note="Ada, latex beads")


def test_what_was_kept_is_found_and_the_newest_is_in_force(tmp_path: Path) -> None:
    book = CalibrationBook(tmp_path)
    assert book.current("od") is None
    old, new = optical(), optical(AT + timedelta(days=3))
    assert book.keep(new).name == "od-20260220T142601Z.json"
    book.keep(old)
    pump = Calibration("media", AT, "volume", "mL", (Point(1.0, 0.93),), factor=0.93)
    book.keep(pump)
    book.keep(Calibration("od-signal", AT, "device", "mV", ()))
    assert book.history("od") == (new, old)
    assert book.current("media") == pump
    assert pump.residuals == (0.0,)
    assert max(abs(off) for off in old.residuals) < 0.03


def test_the_newest_can_be_taken_back(tmp_path: Path) -> None:
    book = CalibrationBook(tmp_path)
    old, new = optical(), optical(AT + timedelta(days=3))
    for one in (old, new):
        book.keep(one)
    assert book.revert("od") == old
    assert book.current("od") == old
    assert book.revert("od") is None
    assert book.revert("od") is None
    assert len(list(tmp_path.glob("*.reverted"))) == 2


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema": 9}', '{"schema": 1, "channel": "od"}'],
)
def test_a_damaged_one_is_named_and_never_passed_over(tmp_path: Path, text: str) -> None:
    book = CalibrationBook(tmp_path)
    path = book.keep(optical())
    path.write_text(text)
    with pytest.raises(CalibrationFileError, match=r"od-20260217T142601Z\.json is damaged.*again"):
        book.current("od")


@pytest.mark.parametrize(("find", "replace"), [('"curve"', '"magic"'), ("600.0", '"many"')])
def test_numbers_and_kinds_are_checked(tmp_path: Path, find: str, replace: str) -> None:
    book = CalibrationBook(tmp_path)
    path = book.keep(optical())
    path.write_text(path.read_text().replace(find, replace))
    with pytest.raises(CalibrationFileError):
        book.current("od")
