import threading
import time

from node_service.watchdog.rescuing import Outcome, rescue


class Device:
    """Obeys from a certain call on."""

    def __init__(self, obeys_from: int, error: Exception | None = None) -> None:
        self.calls = 0
        self._obeys_from = obeys_from
        self._error = error or OSError("no answer")

    def __call__(self) -> None:
        self.calls += 1
        if self.calls < self._obeys_from:
            raise self._error


def never() -> bool:
    return False


def test_every_device_is_made_safe_whatever_another_does() -> None:
    devices = {"pump": Device(1), "heater": Device(3), "odd": Device(2, ZeroDivisionError("bug"))}
    told: list[dict[str, str]] = []
    outcome = rescue(
        devices, taken_over=never, changed=lambda outcome: told.append(dict(outcome.unsafe))
    )
    assert set(outcome.safe) == set(devices)
    assert outcome.unsafe == {}
    assert devices["heater"].calls == 3
    assert {"heater": "no answer", "odd": "bug"}.items() <= {
        name: why for seen in told for name, why in seen.items()
    }.items()


def test_a_device_that_hangs_keeps_no_other_waiting() -> None:
    hung, freed = threading.Event(), threading.Event()

    def hang() -> None:
        hung.set()
        freed.wait()

    seen: list[Outcome] = []
    began = time.monotonic()
    outcome = rescue(
        {"hangs": hang, "heater": Device(1)}, taken_over=hung.is_set, changed=seen.append
    )
    freed.set()
    assert outcome.safe["heater"] < 1.0
    assert set(outcome.unsafe) == {"hangs"}
    assert time.monotonic() - began > 2.0  # it was given its time


def test_what_does_not_change_is_told_once() -> None:
    broken = Device(5)
    told: list[dict[str, str]] = []
    rescue(
        {"broken": broken},
        taken_over=lambda: broken.calls == 4,
        changed=lambda outcome: told.append(dict(outcome.unsafe)),
    )
    assert told == [{"broken": "no answer"}]


def test_it_gives_way_once_each_was_tried() -> None:
    broken = Device(10**9)
    outcome = rescue({"broken": broken}, taken_over=lambda: True, changed=lambda _: None)
    assert broken.calls == 1
    assert outcome.unsafe == {"broken": "no answer"}


def test_nothing_is_safe_at_once() -> None:
    assert rescue({}, taken_over=never, changed=lambda _: None) == Outcome()
