"""What reaches a running script from outside: its parameters, and messages with numbers to ask on.

The numbers are milliseconds of the wall clock, made to grow: a node that starts again numbers on
above what the script has seen, without keeping anything.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker.messages import Parameters

MAX_MESSAGES: Final = 500


@dataclass(frozen=True, slots=True)
class Message:
    """One message: a text for people, or parameters that changed."""

    n: int
    t: datetime
    text: str | None = None
    parameters: Parameters | None = None


class Inbox:
    """Holds the latest parameters and the last few hundred messages of one attempt.

    Attributes:
        parameters: As the author last set them.
        revision: Grows with each change of the parameters.

    Args:
        seen: Whether the script is known to have these parameters: those that it begins with. Of a
            script that ran before the node came back that is not known, so its next look counts.
    """

    def __init__(
        self,
        parameters: Parameters,
        revision: int,
        now: Callable[[], datetime],
        *,
        seen: bool = True,
    ) -> None:
        self.parameters = parameters
        self.revision = revision
        self._seen = revision if seen else None
        self._now = now
        self._messages: deque[Message] = deque(maxlen=MAX_MESSAGES)
        self._last = int(now().timestamp() * 1000)

    def say(self, text: str) -> None:
        """Tell the script something."""
        n, t = self._number()
        self._messages.append(Message(n, t, text=text))

    def change(self, parameters: Parameters, changed: Parameters, revision: int) -> None:
        """Give the script new parameters, all of them, and tell which changed."""
        self.parameters = parameters
        self.revision = revision
        n, t = self._number()
        self._messages.append(Message(n, t, parameters=changed))

    def look(self) -> bool:
        """Note that the script was given the parameters; whether it had not seen these before."""
        new = self.revision != self._seen
        self._seen = self.revision
        return new

    def after(self, n: int) -> Sequence[Message]:
        """Return the messages with a higher number, oldest first."""
        return [message for message in self._messages if message.n > n]

    def _number(self) -> tuple[int, datetime]:
        now = self._now()
        self._last = max(self._last + 1, int(now.timestamp() * 1000))
        return self._last, now
