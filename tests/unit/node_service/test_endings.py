"""How a run ended, in a sentence with a remedy."""

import signal
from datetime import UTC, datetime, timedelta

import pytest

from broker.messages import ErrorCode, Estop, RunLimits
from node_service import endings
from node_service.runner.interface import Exit

AT = datetime(2026, 2, 17, 14, 26, tzinfo=UTC)
LIMITS = RunLimits()


def ended(code: int = 0, number: int | None = None, *, oom: bool = False, error: str = "") -> Exit:
    return Exit(code, number, oom, error, AT)


def test_exit_code_zero_is_completed() -> None:
    ending = endings.of_exit(ended(), LIMITS)
    assert (ending.outcome, ending.exit_code, ending.error) == ("completed", 0, None)


@pytest.mark.parametrize(
    ("end", "code", "word"),
    [
        (ended(3), ErrorCode.SCRIPT_FAILED, "exit code 3"),
        (ended(-11, 11), ErrorCode.SCRIPT_FAILED, "SIGSEGV"),
        (ended(-64, 64), ErrorCode.SCRIPT_FAILED, "signal 64"),
        (ended(-9, 9, oom=True), ErrorCode.LIMIT, "512 MiB"),
        (ended(127, error="no such file"), ErrorCode.ENGINE, "no such file"),
    ],
)
def test_everything_else_failed_and_says_why(end: Exit, code: ErrorCode, word: str) -> None:
    ending = endings.of_exit(end, LIMITS)
    assert ending.outcome == "failed"
    assert not ending.interrupted
    assert ending.error is not None
    assert ending.error.code is code
    assert word in ending.error.message
    assert ending.error.hint


def test_a_lost_container_was_interrupted() -> None:
    assert endings.of_exit(None, LIMITS) is endings.LOST


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_that_the_node_did_not_send_interrupted_it(number: signal.Signals) -> None:
    """Whoever sent it: the reason does not claim that the script did not."""
    ending = endings.of_exit(ended(-number, number), LIMITS)
    assert (ending.outcome, ending.interrupted, ending.exit_code) == ("failed", True, -number)
    assert ending.error is not None
    assert ending.error.code is ErrorCode.INTERRUPTED
    assert f"ended by {number.name}, which this node did not send" in ending.error.message
    assert "or the script sent it" in ending.error.message
    assert "sys.exit" in ending.error.hint


def test_an_exit_after_a_reboot_is_the_reboots_not_the_scripts() -> None:
    booted = AT - timedelta(seconds=1)
    assert endings.of_exit(ended(255), LIMITS, booted_at=booted) is endings.LOST
    earlier = endings.of_exit(ended(3), LIMITS, booted_at=AT + timedelta(seconds=1))
    assert earlier.exit_code == 3


def test_every_ending_reads_as_a_sentence() -> None:
    estop = Estop(latch="01M8484W2PZNQ8AFSJTHSMYSMF", by="ada", since=AT, reason="smoke")
    for ending in (
        endings.over_time(LIMITS),
        endings.silent(RunLimits(max_silence=60)),
        endings.emergency(estop),
        endings.damaged(),
        endings.LOST,
        endings.SHUT_DOWN,
    ):
        assert ending.error is not None
        assert ending.error.hint
        assert endings.sentence(ending, 12.0).startswith("The experiment failed after 12.0 s: ")
    completed = endings.of_exit(ended(), LIMITS)
    assert endings.sentence(completed, 3.0) == "The script ended by itself after 3.0 s."


def test_a_sensor_that_lies_ended_the_run() -> None:
    ending = endings.doubted("ph", "ph: 1.2 pH cannot be: look at the probe")
    assert ending.error is not None
    assert (ending.outcome, ending.error.code) == ("failed", ErrorCode.HARDWARE)
    assert ending.error.message.endswith("ph: 1.2 pH cannot be: look at the probe")
    assert ending.error.details == {"channel": "ph"}
