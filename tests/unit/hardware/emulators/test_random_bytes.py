"""Whatever bytes come, an emulated device goes on, and nothing is switched on by noise."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.emulators.board import EmulatedBoard
from hardware.emulators.emulator import Source
from hardware.emulators.senseair import EmulatedSenseair
from hardware.emulators.tic import EmulatedTic, TicSettings


class Never:
    def cancel(self) -> None: ...


class Quiet:
    """A line on which time stands still unless moved."""

    def __init__(self) -> None:
        self.time = 100.0
        self.said = b""

    def send(self, data: bytes) -> None:
        self.said += data

    def later(self, _seconds: float, _action: Callable[[], None]) -> Never:
        return Never()

    def now(self) -> float:
        return self.time

    def sense(self, source: Source) -> float:
        return source()


_PIECES = st.lists(st.binary(max_size=30), max_size=8)


@given(_PIECES)
def test_a_tic(pieces: list[bytes]) -> None:
    tic = EmulatedTic(TicSettings(crc_for_commands=True, crc_for_responses=True))
    tic.line = line = Quiet()
    tic.power_up()
    for piece in pieces:
        line.time += 0.1
        tic.receive(piece)
    line.time += 10.0
    assert tic.steps() == 0
    # In step again with the next command that is sound.
    line.said = b""
    tic.receive(b"\xa1\x33\x02\x47")
    assert line.said[:2] == (12_000).to_bytes(2, "little")


@given(_PIECES)
def test_a_tic_without_crc_does_not_crash(pieces: list[bytes]) -> None:
    tic = EmulatedTic()
    tic.line = line = Quiet()
    tic.power_up()
    for piece in pieces:
        line.time += 0.1
        tic.receive(piece)


@given(_PIECES)
def test_a_senseair(pieces: list[bytes]) -> None:
    sensor = EmulatedSenseair()
    sensor.line = line = Quiet()
    sensor.power_up()
    for piece in pieces:
        sensor.receive(piece)
    sensor._forget()  # the silence between two frames
    line.said = b""
    sensor.receive(bytes.fromhex("FE0400030001D5C5"))
    assert line.said == bytes.fromhex("FE0402 0000") + line.said[5:]


@settings(max_examples=40)
@given(_PIECES)
def test_a_board(pieces: list[bytes]) -> None:
    board = EmulatedBoard()
    board.line = line = Quiet()
    board.power_up()
    for piece in pieces:
        line.time += 0.1
        board.receive(piece)
    assert all(board.output(name) == 0 for name in ("heater", "stirring", "light"))
    line.said = b""
    board.receive(b">1 read*33EC\n")
    assert b"<1 ok " in line.said
