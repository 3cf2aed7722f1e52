"""What a reactor tells those who listen: events, and the alarms that stand."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from broker.messages import Alarm
from hardware.clock import Clock
from hardware.interlocks import Note
from hardware.plausibility import Doubted
from hardware.polling import Fault

log = logging.getLogger(__name__)

_DEVICE: Final = "device-"
_DOUBT: Final = "doubt-"


@dataclass(frozen=True, slots=True)
class ReactorEvent:
    """Something that happened.

    Attributes:
        event: set, off (by itself: duration over, on-time spent, interlock), dose, dose-refused
            (a controller's), alarm, alarm-cleared, silence (a device owes an answer: outputs and
            pumps rest), answers (they go on), fault (a device is lost), hold, safe, estop,
            estop-released, run, calibrations (those in force from now on, by channel).
        t: Wall time in UTC.
        mono: Seconds of the reactor's clock.
    """

    event: str
    t: datetime
    mono: float
    channel: str | None = None
    value: float | None = None
    data: Mapping[str, JsonValue] = field(default_factory=dict)


Listener = Callable[[ReactorEvent], None]


class Announcements:
    """Passes events on and keeps the alarms that stand."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: list[Listener] = []
        self._alarms: dict[str, Alarm] = {}

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms that stand, oldest first."""
        return tuple(self._alarms.values())

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every event; return what ends that."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def emit(
        self,
        event: str,
        channel: str | None = None,
        value: float | None = None,
        data: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Tell everybody; one who fails does not keep the others from hearing it."""
        happened = ReactorEvent(
            event, self._clock.now(), self._clock.monotonic(), channel, value, data or {}
        )
        for listener in tuple(self._listeners):
            try:
                listener(happened)
            except Exception:
                log.exception("a listener failed on the event %s", event)

    def rules(self, notes: Mapping[str, Note]) -> None:
        """Let exactly these alarms of the safety rules stand."""
        ours = [name for name in self._alarms if not name.startswith((_DEVICE, _DOUBT))]
        self._clear(name for name in ours if name not in notes)
        for name, note in notes.items():
            if name not in self._alarms:
                self._raise(
                    Alarm(
                        id=name,
                        severity=note.severity,
                        message=note.message,
                        channel=note.channel,
                        since=self._clock.now(),
                    )
                )

    def devices(self, faults: Mapping[str, str]) -> None:
        """Let exactly these devices be faulty."""
        ours = [name for name in self._alarms if name.startswith(_DEVICE)]
        self._clear(name for name in ours if name.removeprefix(_DEVICE) not in faults)
        for device, message in faults.items():
            if _DEVICE + device not in self._alarms:
                self._raise(
                    Alarm(
                        id=_DEVICE + device,
                        severity="critical",
                        message=f"{device}: {message}",
                        since=self._clock.now(),
                    )
                )

    def fault(self, device: str, fault: Fault) -> None:
        """Tell what is done about a device that is lost."""
        self.emit(
            "fault", data={"device": device, "message": fault.message, "policy": fault.policy}
        )

    def silence(self, device: str, count: int) -> None:
        """Tell that a device does not answer, for the so-manieth time within a minute."""
        self.emit("silence", data={"device": device, "count": count})

    def answers(self, device: str) -> None:
        """Tell that a device that was silent answers again."""
        self.emit("answers", data={"device": device})

    def doubts(self, doubts: Mapping[str, Doubted]) -> None:
        """Let exactly these sensors be doubted; the event says what the run's policy is."""
        ours = [name for name in self._alarms if name.startswith(_DOUBT)]
        self._clear(name for name in ours if name.removeprefix(_DOUBT) not in doubts)
        for channel, doubted in doubts.items():
            if _DOUBT + channel not in self._alarms:
                alarm = Alarm(
                    id=_DOUBT + channel,
                    severity="warning",
                    message=doubted.why,
                    channel=channel,
                    since=self._clock.now(),
                )
                self._raise(alarm, {"doubt": doubted.doubt, "policy": doubted.rule.policy})

    def _raise(self, alarm: Alarm, more: Mapping[str, JsonValue] | None = None) -> None:
        self._alarms[alarm.id] = alarm
        data: dict[str, JsonValue] = {
            "id": alarm.id,
            "severity": alarm.severity,
            "message": alarm.message,
            **(more or {}),
        }
        self.emit("alarm", alarm.channel, data=data)

    def _clear(self, names: Iterable[str]) -> None:
        for name in list(names):
            alarm = self._alarms.pop(name)
            self.emit("alarm-cleared", alarm.channel, data={"id": name})
