"""What the portal knows, as values: entries of topics, and the views that pages are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal, Protocol

import orjson
from pydantic import BaseModel, ConfigDict

from broker.messages import Alarm, ChannelInfo, Channels, Console, NodeReport, Payload, Withheld
from broker.topics import Topic

HubState = Literal["online", "offline", "unknown"]


@dataclass(frozen=True)
class Entry:
    """The last value of a retained topic.

    Attributes:
        topic: Below the root.
        seq: Grows with every message that the portal received.
        payload: Its JSON; `null` where the topic was cleared.
        value: The same, parsed; None where the topic was cleared.
    """

    topic: str
    kind: Topic
    seq: int
    at: datetime
    payload: bytes
    value: Payload | None

    @cached_property
    def snapshot(self) -> str:
        """The frame for who just subscribed."""
        return self._frame("snapshot")

    @cached_property
    def change(self) -> str:
        """The frame for who knows an earlier value."""
        return self._frame("change")

    def _frame(self, kind: str) -> str:
        return orjson.dumps(
            {
                "type": kind,
                "topic": self.topic,
                "seq": self.seq,
                "payload": orjson.Fragment(self.payload),
            }
        ).decode()


@dataclass(frozen=True, slots=True)
class Link:
    """Whether what is shown is current, and since when."""

    broker: bool
    hub: HubState
    since: datetime


@dataclass(frozen=True, slots=True)
class HubView:
    """The hub, for pages."""

    state: HubState
    since: datetime
    posture: str | None
    posture_reason: str


@dataclass(frozen=True, slots=True)
class BrokerView:
    """The portal's connection to the broker, for pages."""

    connected: bool
    since: datetime


class NodeView(BaseModel):
    """A reactor as last reported; `readings` are the last live ones by channel.

    Attributes:
        since: When it came online, or was lost.
        clock_offset: Seconds by which its clock is ahead of the portal's; null until it reports.
        withheld: Why the queue starts nothing there.
        concealed: Its readings are left out: of the experiment that runs there nothing more is
            shown than what the queue says.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    label: str
    online: bool
    since: datetime | None
    version: str | None
    clock_offset: float | None
    simulated: bool
    speed: float
    channels: Channels | None
    report: NodeReport | None
    withheld: Withheld | None
    readings: dict[str, float | None]
    concealed: bool = False

    @property
    def sensors(self) -> Sequence[ChannelInfo]:
        """Its channels that are read."""
        return self._of(sensor=True)

    @property
    def outputs(self) -> Sequence[ChannelInfo]:
        """Its channels that are set or dosed."""
        return self._of(sensor=False)

    @property
    def doubts(self) -> Mapping[str, Alarm]:
        """What alarms say of single channels, by channel."""
        alarms = self.report.alarms if self.report else ()
        return {alarm.channel: alarm for alarm in alarms if alarm.channel}

    def _of(self, *, sensor: bool) -> Sequence[ChannelInfo]:
        channels = self.channels.channels if self.channels else ()
        return [channel for channel in channels if (channel.kind == "sensor") is sensor]

    @property
    def free(self) -> bool:
        """Whether it would start an experiment now, by its last word."""
        said = self.report
        return (
            self.online
            and said is not None
            and said.accepts
            and said.activity is None
            and said.estop is None
            and self.withheld is None
        )


class Listener(Protocol):
    """Who is told of what arrives, at once and in order."""

    def changed(self, entry: Entry) -> None:
        """Tell that a retained topic has a new value, or was cleared."""

    def telemetry(self, topic: str, seq: int, payload: bytes, experiment_id: str | None) -> None:
        """Tell of a live reading, made while an experiment ran or none."""

    def console(self, topic: str, seq: int, console: Console) -> None:
        """Tell of live log lines."""

    def link_changed(self, link: Link) -> None:
        """Tell that broker or hub came or went."""
