import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.drivers.tic.protocol import (
    FASTEST,
    MOTION,
    SETTINGS,
    STATUS,
    VIN,
    Command,
    Fault,
    State,
    TicReplyError,
    ahead,
    answer,
    crc7,
    moved,
    parse_motion,
    parse_settings,
    parse_status,
    quick,
    read_block,
    sentences,
    write_32,
)

VELOCITY = (0x26, 4)
TABLE = [
    (write_32(Command.SET_TARGET_VELOCITY, 0), "E30000000000 22"),
    (write_32(Command.SET_TARGET_VELOCITY, 2_000_000), "E30300041E00 0E"),
    (write_32(Command.SET_TARGET_VELOCITY, -2_000_000), "E30D007B617F 2A"),
    (quick(Command.EXIT_SAFE_START), "83 1A"),
    (quick(Command.ENERGIZE), "85 2F"),
    (quick(Command.DEENERGIZE), "86 7D"),
    (quick(Command.HALT_AND_HOLD), "89 45"),
    (quick(Command.RESET_COMMAND_TIMEOUT), "8C 22"),
    (quick(Command.ENTER_SAFE_START), "8F 70"),
    (quick(Command.RESET), "B0 53"),
    (read_block(Command.GET_VARIABLE, VELOCITY), "A12604 3D"),
    (read_block(Command.GET_VARIABLE, VIN), "A13302 47"),
    # The user's guide's own examples (0J71, section 9).
    (write_32(Command.SET_TARGET_POSITION, 1_234_567_890)[:-1], "E0 05 52 02 16 49"),
]


@pytest.mark.parametrize(("packet", "expected"), TABLE)
def test_packets_are_those_of_the_table(packet: bytes, expected: str) -> None:
    assert packet == bytes.fromhex(expected)


def test_the_check_of_the_guide() -> None:
    assert crc7(bytes([0x83, 0x01])) == 0x17


@given(st.integers(-(2**31), 2**32 - 1))
def test_a_number_survives_its_seven_bit_bytes(value: int) -> None:
    _, high, *low = write_32(Command.SET_TARGET_POSITION, value)[:-1]
    assert all(byte < 128 for byte in (high, *low))
    number = sum((byte | (high >> i & 1) << 7) << 8 * i for i, byte in enumerate(low))
    assert number == value % 2**32


@pytest.mark.parametrize("value", [-(2**31) - 1, 2**32])
def test_a_number_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="32 bits"):
        write_32(Command.SET_TARGET_POSITION, value)


@given(st.binary(max_size=20), st.integers(1, 14), st.booleans())
def test_random_bytes_are_an_answer_only_with_the_right_length_and_seal(
    data: bytes, length: int, crc: bool
) -> None:
    try:
        carried = answer(data, length, crc=crc)
    except TicReplyError:
        return
    assert carried == data[:length]
    assert data == carried + (bytes([crc7(carried)]) if crc else b"")


@given(st.binary(min_size=1, max_size=14), st.data())
def test_no_burst_of_up_to_seven_bits_passes(payload: bytes, data: st.DataObject) -> None:
    sent = payload + bytes([crc7(payload)])
    start = data.draw(st.integers(0, 8 * len(sent) - 7))
    burst = data.draw(st.integers(1, 127)) << start
    came = (int.from_bytes(sent, "little") ^ burst).to_bytes(len(sent), "little")
    with pytest.raises(TicReplyError):
        answer(came, len(payload), crc=True)


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=11, max_size=11))
def test_what_is_understood_is_possible(eight: bytes, eleven: bytes) -> None:
    for parse in (parse_status, parse_motion):
        try:
            parse(eight)
        except TicReplyError:
            continue
    assert 0 <= parse_settings(eleven).timeout_ms < 2**16


def test_status_is_understood() -> None:
    status = parse_status(bytes.fromhex("0a 01 c4 00 00000800"))
    assert status.state is State.NORMAL
    assert status.energized
    assert status.errors == Fault.SAFE_START | Fault.COMMAND_TIMEOUT | Fault.LOW_VIN
    assert status.occurred == Fault.SERIAL_CRC
    with pytest.raises(TicReplyError, match="no state 3"):
        parse_status(bytes.fromhex("03 00 0000 00000000"))


def test_motion_is_understood() -> None:
    motion = parse_motion((-5).to_bytes(4, "little", signed=True) + (7).to_bytes(4, "little"))
    assert (motion.position, motion.velocity) == (-5, 7)
    with pytest.raises(TicReplyError, match="impossible"):
        parse_motion(bytes(4) + (FASTEST + 1).to_bytes(4, "little"))


def test_settings_are_understood() -> None:
    settings = parse_settings(bytes.fromhex("00 00 00 00 00 00 00 00 e803 03"))
    assert settings.serial_control
    assert settings.safe_start
    assert settings.timeout_ms == 1000
    assert settings.crc_for_commands
    assert settings.crc_for_responses
    assert not parse_settings(bytes.fromhex("01 00 01 00 00 00 00 00 0000 00")).safe_start
    assert STATUS[1] == MOTION[1] == 8
    assert SETTINGS[1] == 11


def test_every_error_is_a_sentence() -> None:
    for fault in Fault:
        (sentence,) = sentences(fault)
        assert not sentence.startswith("error")
    assert list(sentences(Fault(1 << 25))) == ["error 25"]
    assert list(sentences(Fault(0))) == []


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**20), 2**20))
def test_the_position_wraps_around(position: int, steps: int) -> None:
    after = ahead(position, steps)
    assert -(2**31) <= after < 2**31
    assert moved(position, after) == steps
