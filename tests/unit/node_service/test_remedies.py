"""Each wall of the isolation has a sentence that says which it was, and what to do."""

import pytest

from broker.messages import ContainerStatus, ErrorCode, RunLimits
from node_service import endings
from node_service.remedies import MAX_WORDS, last_words, limits_reached, remedy
from tests.unit.node_service.test_endings import ended

LIMITS = RunLimits(memory=256 * 1024**2, pids=32, tmp=8 * 1024**2, results=16 * 1024**2)


@pytest.mark.parametrize(
    ("complaint", "word"),
    [
        ("OSError: [Errno 28] No space left on device: '/tmp/full'", "/tmp 8 MiB"),  # noqa: S108
        ("RuntimeError: can't start new thread", "32 processes"),
        ("BlockingIOError: [Errno 11] Resource temporarily unavailable", "32 processes"),
        ("MemoryError", "256 MiB"),
        ("OSError: [Errno 24] Too many open files: '/tmp/x'", "1024 files"),
        ("OSError: [Errno 101] Network is unreachable", "no network"),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "no network"),
        ("OSError: [Errno 30] Read-only file system: '/etc/x'", "/results"),
        ("ModuleNotFoundError: No module named 'torch'", "image offers"),
        ("PermissionError: [Errno 1] Operation not permitted", "no rights"),
    ],
)
def test_a_wall_is_named(complaint: str, word: str) -> None:
    ending = endings.of_exit(ended(1), LIMITS, complaint=complaint)
    assert ending.error is not None
    assert ending.error.code is ErrorCode.SCRIPT_FAILED
    assert ending.error.message == f"the script ended with exit code 1: {complaint}"
    assert word in ending.error.hint


def test_an_error_of_the_scripts_own_is_quoted_and_left_to_its_author() -> None:
    ending = endings.of_exit(ended(1), LIMITS, complaint="ZeroDivisionError: division by zero")
    assert ending.error is not None
    assert ending.error.message.endswith("exit code 1: ZeroDivisionError: division by zero")
    assert ending.error.hint == "the end of its log says why"
    assert remedy("ZeroDivisionError: division by zero", LIMITS) is None


def test_last_words_fit_into_a_sentence() -> None:
    assert last_words("\x1b[31mred\x1b[0m\x00") == "\ufffd[31mred\ufffd[0m\ufffd"
    assert len(last_words("x" * 10_000)) == MAX_WORDS
    words = "OutOfRangeError: " + "37.5 is above what it allows, " * 20
    assert last_words(words) == words.strip()
    assert last_words("several words " * 1000).endswith("several words …")
    assert last_words("  \n") == ""


def test_a_script_that_outlived_the_kill_of_its_child_has_completed() -> None:
    assert endings.of_exit(ended(0, oom=True), LIMITS).outcome == "completed"
    ending = endings.of_exit(ended(1, oom=True), LIMITS, complaint="BrokenProcessPool: …")
    assert ending.error is not None
    assert ending.error.details["limit"] == "memory"


def test_limits_that_are_reached_are_said_while_the_script_runs_on() -> None:
    status = ContainerStatus(
        container_id="c", image="i", state="running", cpu_percent=0, memory=0,
        memory_limit=LIMITS.memory, pids=5, results_bytes=1000, uptime=1,
    )  # fmt: skip
    assert list(limits_reached(status, LIMITS)) == []
    full = status.model_copy(update={"pids": 32, "results_bytes": LIMITS.results})
    many, results = limits_reached(full, LIMITS)
    assert "32 processes" in many
    assert "16 MiB" in results
