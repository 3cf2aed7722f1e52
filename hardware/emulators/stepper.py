"""A stepper motor that ramps: what an emulated controller moves."""

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Stepper:
    """Position in microsteps, velocity in microsteps a second, and what it is moving to.

    Moves to a position where there is one, else at the velocity that is wanted.
    """

    position: float = 0.0
    velocity: float = 0.0
    target_position: int | None = None
    target_velocity: float = 0.0
    max_speed: float = 0.0
    acceleration: float = 0.0

    def still(self) -> bool:
        """Whether it stands and nothing else is wanted."""
        return self.velocity == 0.0 and self._wanted() == 0.0

    def halt(self) -> None:
        """Stand at once."""
        self.target_position, self.target_velocity, self.velocity = None, 0.0, 0.0

    def slow_down(self) -> None:
        """Brake, then stand."""
        self.target_position, self.target_velocity = None, 0.0

    def step(self, seconds: float) -> None:
        """Let so little time pass that the velocity hardly changes."""
        wanted = self._wanted()
        change = self.acceleration * seconds
        self.velocity += min(max(wanted - self.velocity, -change), change)
        before, self.position = self.position, self.position + self.velocity * seconds
        target = self.target_position
        if target is not None and (before - target) * (self.position - target) <= 0:
            # It arrives exactly, and slowly enough to stand at once.
            self.position, self.velocity = float(target), 0.0

    def _wanted(self) -> float:
        if self.target_position is None:
            return min(max(self.target_velocity, -self.max_speed), self.max_speed)
        left = self.target_position - self.position
        braking = math.sqrt(2.0 * self.acceleration * abs(left))
        return math.copysign(min(self.max_speed, braking), left) if left else 0.0
