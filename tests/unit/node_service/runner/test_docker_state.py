"""What the engine says, in our words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from node_service.runner import docker_state

ZERO = "0001-01-01T00:00:00Z"
NOW = datetime(2026, 11, 23, 12, 0, 10, tzinfo=UTC)


def container(**state: Any) -> dict[str, Any]:
    defaults = {
        "Status": "exited", "Running": False, "Paused": False, "OOMKilled": False, "ExitCode": 0,
        "Error": "", "StartedAt": "2026-11-23T12:00:00.123456789Z",
        "FinishedAt": "2026-11-23T12:00:05.5Z",
    }  # fmt: skip
    return {
        "Id": "c0ffee",
        "Image": "sha256:1",
        "HostConfig": {"Memory": 64},
        "Config": {"Labels": {}},
        "State": defaults | state,
    }


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Status": "running", "Running": True}, "running"),
        ({"Status": "paused", "Running": True, "Paused": True}, "paused"),
        ({"Status": "created", "StartedAt": ZERO, "FinishedAt": ZERO}, "created"),
        ({}, "exited"),
        ({"Status": "dead"}, "exited"),
    ],
)
def test_states(state: dict[str, Any], expected: str) -> None:
    inspected = container(**state)
    assert docker_state.state_of(inspected) == expected
    assert (docker_state.exit_of(inspected) is not None) == (expected == "exited")


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, (0, None)), (1, (1, None)), (128, (128, None)), (137, (-9, 9)), (139, (-11, 11)),
     (143, (-15, 15)), (255, (255, None))],
)  # fmt: skip
def test_exit_codes(code: int, expected: tuple[int, int | None]) -> None:
    assert docker_state.split_exit_code(code) == expected


def test_load_is_measured_between_two_readings() -> None:
    def stats(processor: int, second: int) -> dict[str, Any]:
        return {
            "read": f"2026-11-23T12:00:{second:02}.000000000Z",
            "cpu_stats": {"cpu_usage": {"total_usage": processor}},
            "memory_stats": {"usage": 30, "stats": {"total_inactive_file": 10}},
            "pids_stats": {"current": 3},
        }

    running = container(Status="running", Running=True)
    first, usage = docker_state.status(running, stats(10**9, 4), NOW, None)
    assert (first.cpu_percent, first.memory, first.memory_limit, first.pids) == (0.0, 20, 64, 3)
    assert first.uptime == pytest.approx(9.876544)
    second, usage = docker_state.status(running, stats(2 * 10**9, 6), NOW, usage)
    assert second.cpu_percent == 50.0
    same, _ = docker_state.status(running, stats(2 * 10**9, 6), NOW, usage)
    assert same.cpu_percent == 0.0


def test_an_ended_one_uses_nothing_and_keeps_its_time() -> None:
    later = NOW + timedelta(days=1)
    status, _ = docker_state.status(container(), {}, later, None)
    assert (status.state, status.pids, status.memory) == ("exited", 0, 0)
    assert status.uptime == pytest.approx(5.376544)
