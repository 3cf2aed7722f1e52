import pytest

from broker.spreadsheets import harmless


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_what_begins_a_formula_is_quoted(start: str) -> None:
    assert harmless(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("text", ["", "od", "a=b", " =1"])
def test_other_text_stays(text: str) -> None:
    assert harmless(text) == text
