import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.drivers.board.lines import (
    BoardReplyError,
    Reply,
    known,
    parse,
    quantity,
    request,
)
from hardware.firmware.board.line import opened, sealed


@given(st.integers(0, 65535), st.from_regex(r"[a-z]{1,8}( [a-z0-9.%-]{1,8}){0,3}", fullmatch=True))
def test_the_firmware_understands_what_the_host_says(number: int, text: str) -> None:
    assert opened(request(number, text)[:-1]) == (number, text.split(" "))


@given(
    st.integers(0, 65535),
    st.dictionaries(
        st.from_regex(r"[a-z-]{1,9}", fullmatch=True),
        st.from_regex(r"-|-?[0-9]{1,6}(\.[0-9]{1,3})?(%|rpm|C)", fullmatch=True),
        max_size=5,
    ),
)
def test_the_host_understands_what_the_firmware_says(number: int, said: dict[str, str]) -> None:
    words = "".join(f" {name}={value}" for name, value in said.items())
    assert parse(b"noise" + sealed(f"<{number} ok{words}")[:-1]) == Reply(number, True, "", said)


def test_refusals_are_understood() -> None:
    assert parse(sealed("<- error damaged")[:-1]) == Reply(None, False, "damaged")
    reply = parse(sealed("<7 error unit wanted=%")[:-1])
    assert reply == Reply(7, False, "unit", {"wanted": "%"})


@given(st.binary(max_size=120))
def test_random_bytes_are_no_reply(data: bytes) -> None:
    reply = parse(data)
    # Only what is sealed rightly is one, and random bytes are not.
    assert reply is None or data[data.rfind(b"<") :].count(b"*") == 1


@given(st.data())
def test_one_wrong_bit_is_noticed(data: st.DataObject) -> None:
    line = sealed("<7 ok temperature=36.914C heater=35.0%")[:-1]
    at = data.draw(st.integers(0, 8 * len(line) - 1))
    wrong = bytearray(line)
    wrong[at // 8] ^= 1 << at % 8
    assert parse(bytes(wrong)) is None


def test_quantities() -> None:
    fields = {"a": "-36.914C", "b": "-", "c": "1e3C", "d": "5", "e": "1C"}
    assert quantity(fields, "a", "C") == -36.914
    assert quantity(fields, "b", "C") is None
    assert quantity(fields, "d", "") == 5
    for name, unit in (("c", "C"), ("d", "C"), ("e", "%"), ("nothing", "C")):
        with pytest.raises(BoardReplyError, match=name):
            quantity(fields, name, unit)
    with pytest.raises(BoardReplyError, match="does not know"):
        known(fields, "b", "C")
