"""What the safety rules remember of a reactor, and the one way to tell them something."""

from collections.abc import Callable, Mapping

from hardware.announcements import Announcements
from hardware.channels import Equipment
from hardware.clock import Clock
from hardware.dosebook import Kept
from hardware.events import Event, Measured, Tick
from hardware.interlocks import believed
from hardware.safety import Decision, State, decide, due, initial


class Ruled:
    """One reactor under the rules.

    Args:
        equipment: The reactor.
        clock: Whose seconds count.
        announcements: People are told of alarms, and of what goes off by itself.
        plan: Told when the rules must be asked again at the latest, after each event.
    """

    def __init__(
        self,
        equipment: Equipment,
        clock: Clock,
        announcements: Announcements,
        plan: Callable[[float], None],
    ) -> None:
        self._equipment = equipment
        self._clock = clock
        self._announcements = announcements
        self._plan = plan
        self.state: State = initial(equipment, clock.monotonic())

    def begin(self, kept: Kept) -> None:
        """Forget everything but what was kept on the disk."""
        now = self._clock.monotonic()
        self.state = initial(self._equipment, now, kept.moved, kept.volume)

    def apply(self, event: Event) -> Decision:
        """Tell the rules of an event; return what follows from it."""
        before = self.state
        decision = decide(self._equipment, before, event, self._clock.monotonic())
        self.state = decision.state
        if decision.state.alarms is not before.alarms:
            self._announcements.rules(decision.state.alarms)
        if isinstance(event, Tick | Measured):
            for name, output in decision.state.outputs.items():
                channel = self._equipment.channels[name]
                over = output.target == channel.safe != before.outputs[name].target
                if over and channel.wired and not channel.controlled:
                    self._announcements.emit("off", name, channel.safe)
        self._plan(due(self._equipment, self.state))
        return decision

    @property
    def at_rest(self) -> bool:
        """Whether every output shall have its safe value, and no pump runs."""
        return all(
            output.value == output.target == self._equipment.channels[name].safe
            for name, output in self.state.outputs.items()
        ) and not any(pump.busy for pump in self.state.pumps.values())

    def setpoints(self) -> Mapping[str, float]:
        """Return the setpoints that are not at their safe value."""
        channels = self._equipment.channels
        return {
            name: output.target
            for name, output in self.state.outputs.items()
            if channels[name].info.kind == "setpoint" and output.target != channels[name].safe
        }

    def latest(self, channel: str) -> float | None:
        """Return a sensor's last value; None: not sound, or stale."""
        reading = self.state.readings.get(channel)
        now = self._clock.monotonic()
        if reading is None or not believed(self._equipment, self.state.readings, channel, now):
            return None
        return reading.value

    def commanded(self) -> Mapping[str, float]:
        """Return what outputs are set to, and what pumps moved in this run, mL."""
        outputs = {name: output.value for name, output in self.state.outputs.items()}
        pumps = {
            name: pump.budget.total + pump.pending - pump.left
            for name, pump in self.state.pumps.items()
        }
        return {**outputs, **pumps}
