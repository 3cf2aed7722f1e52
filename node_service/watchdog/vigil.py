"""Who must be heard of, and until when. Pure."""

from typing import Final

MOST_COUNTED: Final = 0.25
"""Seconds of silence that one look can count. Where the whole machine stood still, or had no time
for anybody, the one who listens was late as well and must not take that for a silence."""


class Vigil:
    """Counts down for each who promised to be heard again."""

    def __init__(self) -> None:
        self._left: dict[str, float] = {}

    def heard(self, name: str, within: float) -> None:
        """Note a sign of life, and in how many seconds there shall be another."""
        self._left[name] = within

    def passed(self, seconds: float) -> str | None:
        """Let time pass; return who is overdue."""
        counted = min(seconds, MOST_COUNTED)
        for name in self._left:
            self._left[name] -= counted
        return next((name for name, left in self._left.items() if left <= 0), None)
