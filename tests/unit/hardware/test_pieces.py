from hypothesis import given
from hypothesis import strategies as st

from hardware.pieces import pieces


@given(st.floats(0.001, 100.0), st.floats(0.05, 10.0))
def test_pieces_make_the_dose_and_none_is_too_small_or_too_large(ml: float, most: float) -> None:
    made = list(pieces(ml, most))
    assert abs(sum(made) - ml) < 1e-6
    assert max(made) <= most + 1e-6
    assert min(made) >= min(ml, most / 2) - 1e-6


def test_nothing_is_no_piece() -> None:
    assert list(pieces(0.0, 1.0)) == []
