"""The queue's rules, pure: state and event in, state and effects out.

Nothing here reads a clock, a disk or a socket, so that every rule can be read at a glance and
tested in microseconds. `decide` is the one door; `state`, `events` and `views` hold its words.
"""

from hub_service.queue.decide import decide
from hub_service.queue.events import Decision, Effect, Event
from hub_service.queue.state import Entry, Plan, QueueState

__all__ = ["Decision", "Effect", "Entry", "Event", "Plan", "QueueState", "decide"]
