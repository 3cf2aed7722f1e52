"""What people should look at on this node, beside what the reactor itself raises."""

from collections.abc import Callable
from typing import Final, Literal

from broker.messages import Alarm, EventRecord, Record
from hardware.clock import Clock

NOT_SAFE: Final = "reactor-not-safe"
STORAGE: Final = "storage"
ENGINE: Final = "engine"
WATCHDOG: Final = "watchdog"
TWIN: Final = "twin"
ASSIGNMENT: Final = "assignment"


class Alarms:
    """The node's own alarms by id; each is recorded when it comes and when it goes."""

    def __init__(self, clock: Clock, record: Callable[[Record], None]) -> None:
        self._clock = clock
        self._record = record
        self._current: dict[str, Alarm] = {}

    @property
    def current(self) -> tuple[Alarm, ...]:
        """The alarms that are on, oldest first."""
        return tuple(self._current.values())

    def on(self, id_: str, severity: Literal["warning", "critical"], message: str) -> bool:
        """Raise an alarm; True if it or its words are new."""
        known = self._current.get(id_)
        if known is not None and (known.severity, known.message) == (severity, message):
            return False
        since = self._clock.now() if known is None else known.since
        self._current[id_] = Alarm(id=id_, severity=severity, message=message, since=since)
        if known is None:
            self._event("alarm", id_, {"severity": severity, "message": message})
        return True

    def off(self, id_: str) -> bool:
        """Clear an alarm; True if it was on."""
        if self._current.pop(id_, None) is None:
            return False
        self._event("alarm-cleared", id_, {})
        return True

    def _event(self, event: str, id_: str, data: dict[str, str]) -> None:
        self._record(
            EventRecord(
                t=self._clock.now(),
                mono=self._clock.monotonic(),
                event=event,
                data={"alarm": id_, **data},
            )
        )
