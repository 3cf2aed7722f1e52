"""Alarms that were, out of a reactor's events."""

from datetime import UTC, datetime, timedelta

from pydantic import JsonValue
from ulid import ULID

from broker.messages import Alarm, Estop, EventRecord
from portal.alarmlog import gathered, past_alarms

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def event(seconds: float, kind: str, channel: str | None = None, **data: JsonValue) -> EventRecord:
    return EventRecord(t=at(seconds), event=kind, channel=channel, data=data)


def alarm(name: str) -> Alarm:
    return Alarm(id=name, severity="warning", message=name, since=T0)


def test_an_alarm_goes_from_when_it_was_raised_to_when_it_was_cleared() -> None:
    events = [
        event(0, "alarm", "do", id="do-low", severity="critical", message="oxygen is low"),
        event(1, "dose", "media"),
        event(2, "alarm", alarm="storage", severity="warning", message="the disk is full"),
        event(5, "alarm-cleared", "do", id="do-low"),
    ]
    storage, oxygen = past_alarms(events, [alarm("storage")], None)
    assert (oxygen.message, oxygen.channel, oxygen.severity) == ("oxygen is low", "do", "critical")
    assert (oxygen.since, oxygen.until, oxygen.stands) == (at(0), at(5), False)
    assert (storage.until, storage.stands) == (None, True)


def test_what_a_restarted_node_raises_again_is_two() -> None:
    events = [event(n, "alarm", id="a", severity="warning", message=f"number {n}") for n in (0, 9)]
    second, first = past_alarms(events, [], None)
    assert (first.until, first.stands) == (at(9), False)
    assert (second.until, second.stands) == (None, False)  # nobody saw it go


def test_an_emergency_stop_says_who_and_why_and_who_released_it() -> None:
    latch = str(ULID())
    events = [
        event(0, "estop"),  # as the reactor tells it
        event(0, "estop", latch=latch, by="portal", reason="ada: foam"),
        event(60, "estop-released"),
        event(60, "estop-released", latch=latch, by="portal", reason="bob: tube replaced"),
        event(90, "estop", latch=latch, by="node", reason=""),
    ]
    held = Estop(latch=latch, by="node", since=at(90))
    last, first = past_alarms(events, [], held)
    assert first.message == "emergency stop by portal: ada: foam; released by bob: tube replaced"
    assert (first.since, first.until) == (at(0), at(60))
    assert (last.message, last.stands) == ("emergency stop by node", True)


def test_events_that_say_nothing_are_passed_over() -> None:
    assert past_alarms([event(0, "alarm"), event(1, "alarm-cleared", id="x")], [], None) == []


def test_what_comes_again_and_again_is_one_line() -> None:
    events = [
        event(n, kind, id="a", severity="warning", message="hot")
        for n, kind in enumerate(("alarm", "alarm-cleared") * 3)
    ]
    (one,) = gathered(past_alarms(events, [], None))
    assert (one.times, one.since, one.until) == (3, at(4), at(5))
