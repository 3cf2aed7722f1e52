"""Alarms that were: paired from the events of a reactor's record."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel

from broker.messages import Alarm, Estop, EventRecord

KINDS: Final = ("alarm", "alarm-cleared", "estop", "estop-released")
"""Events that alarms are made of."""

_ESTOP: Final = "estop"
_OVER: Final = {"alarm-cleared": "alarm", "estop-released": _ESTOP}


class PastAlarm(BaseModel):
    """An alarm, or an emergency stop.

    Attributes:
        until: When it went; null while it stands, or if nobody saw it go.
        stands: Whether it is on now.
        times: How often it was, where `gathered` has put like ones together.
    """

    id: str
    severity: Literal["warning", "critical"]
    message: str
    channel: str | None
    since: datetime
    until: datetime | None = None
    stands: bool = False
    times: int = 1


def past_alarms(
    events: Sequence[EventRecord], alarms: Iterable[Alarm], estop: Estop | None
) -> list[PastAlarm]:
    """Return what the events tell of alarms, newest first.

    A node that was restarted raises again what still stands; that an alarm went meanwhile is not
    on record, and then `until` is the moment of the next one.

    Args:
        events: Of the kinds `KINDS`, oldest first; others are passed over.
        alarms: That are on now.
        estop: That is latched now.
    """
    on = {alarm.id for alarm in alarms}
    found: list[PastAlarm] = []
    open_: dict[str, PastAlarm] = {}
    stop: PastAlarm | None = None
    for event in events:
        key = _key(event)
        if key is None:
            continue
        last = open_.pop(key, None)
        if key == _ESTOP:
            # The reactor tells it, and the node too, which knows who and why.
            stop = last or stop
            if event.event in _OVER and stop is not None and event.data.get("reason"):
                stop.message += f"; released by {event.data['reason']}"
            if event.event not in _OVER and last is not None:
                open_[key] = last
                if event.data.get("by"):
                    last.message = _began(event, key).message
                continue
        if last is not None:
            last.until = event.t
        if event.event not in _OVER:
            open_[key] = _began(event, key)
            found.append(open_[key])
    for key, alarm in open_.items():
        alarm.stands = estop is not None if key == _ESTOP else key in on
    return found[::-1]


def gathered(alarms: Iterable[PastAlarm]) -> list[PastAlarm]:
    """Return each alarm once, with how often it was and when it was last; newest first."""
    found: dict[tuple[str, str], PastAlarm] = {}
    for alarm in alarms:
        newest = found.setdefault((alarm.id, alarm.message), alarm)
        if newest is not alarm:
            newest.times += 1
    return list(found.values())


def _key(event: EventRecord) -> str | None:
    """Return which alarm an event speaks of; None if of none."""
    kind = _OVER.get(event.event, event.event)
    if kind == _ESTOP:
        return _ESTOP
    named = event.data.get("id", event.data.get("alarm"))
    return named if kind == "alarm" and isinstance(named, str) else None


def _began(event: EventRecord, key: str) -> PastAlarm:
    if key == _ESTOP:
        by, reason = event.data.get("by"), event.data.get("reason")
        message = "emergency stop" + (f" by {by}" if by else "") + (f": {reason}" if reason else "")
        return PastAlarm(id=key, severity="critical", message=message, channel=None, since=event.t)
    return PastAlarm(
        id=key,
        severity="critical" if event.data.get("severity") == "critical" else "warning",
        message=str(event.data.get("message", key)),
        channel=event.channel,
        since=event.t,
    )
