from node_service.watchdog.vigil import MOST_COUNTED, Vigil


def test_who_is_heard_again_in_time_is_not_overdue() -> None:
    vigil = Vigil()
    for _ in range(50):
        vigil.heard("loop", 0.3)
        assert vigil.passed(0.2) is None


def test_who_is_silent_for_too_long_is_named() -> None:
    vigil = Vigil()
    vigil.heard("loop", 10.0)
    vigil.heard("control", 0.3)
    assert vigil.passed(0.2) is None
    assert vigil.passed(0.2) == "control"


def test_nobody_is_waited_for_who_promised_nothing() -> None:
    assert Vigil().passed(1000.0) is None


def test_a_machine_that_stood_still_is_no_silence() -> None:
    vigil = Vigil()
    vigil.heard("loop", 2 * MOST_COUNTED)
    assert vigil.passed(3600.0) is None
    assert vigil.passed(3600.0) == "loop"
