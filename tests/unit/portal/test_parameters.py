"""How far a change of an experiment's parameters came."""

from datetime import UTC, datetime, timedelta

from broker.messages import Milestone
from portal.parameters import delivery

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def told(what: str, revision: int, seconds: float, attempt: int = 1) -> Milestone:
    t = T0 + timedelta(seconds=seconds)
    return Milestone.model_validate(
        {"attempt": attempt, "what": what, "t": t, "revision": revision}
    )


def test_the_script_has_seen_what_its_look_came_after() -> None:
    first, look = told("parameters", 4, 1), told("parameters-seen", 4, 2)
    second = told("parameters", 5, 3)
    assert delivery([], 1).sent is None
    assert delivery([first], 1).seen is None
    assert delivery([first, look], 1).seen == look
    now = delivery([first, look, second], 1)
    assert (now.sent, now.seen) == (second, None)
    both = delivery([first, told("parameters-seen", 5, 4), second], 1)
    assert both.seen is not None
    again = delivery([first, look, told("parameters-seen", 4, 9)], 1)
    assert again.seen == look, "the first look counts"


def test_a_clock_that_was_set_back_hides_no_look() -> None:
    look = told("parameters-seen", 4, -3600)
    assert delivery([look, told("parameters", 4, 1)], 1).seen == look
    late = told("parameters", 5, -3000)
    assert delivery([late, told("parameters", 4, 1)], 1).sent == late


def test_another_attempt_began_with_what_was_sent_before() -> None:
    earlier = [told("parameters", 7, 1), told("parameters-seen", 7, 2)]
    assert delivery(earlier, 2).sent is None
    assert delivery([*earlier, told("parameters", 3, 9, attempt=2)], 2).seen is None
