"""What the portal knows: the last value of each retained topic, and whether it is current.

Everything here comes from the broker and is kept in memory only; while broker or hub are away it
stays, with its age. One event loop owns it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar

import orjson

from broker.connection import Connection, Message
from broker.messages import (
    Channels,
    Console,
    ContractError,
    Experiment,
    HubStatus,
    NodeReport,
    Payload,
    Queue,
    ServiceStatus,
    Telemetry,
    Tokens,
    decode,
    utc_now,
)
from broker.topics import SPECS, Address, Topic
from portal.contract import LIVE, RETAINED, filters_of
from portal.known import BrokerView, Entry, HubState, HubView, Link, Listener, NodeView
from portal.sessions import Session

_log = logging.getLogger(__name__)
_T = TypeVar("_T", bound=Payload)

MAX_EXPERIMENTS: Final = 1000
"""The hub clears finished ones after a day; this bounds what a broken one could make us keep."""

_OF_NODES: Final = frozenset((Topic.NODE_STATUS, Topic.NODE_CHANNELS, Topic.NODE_REPORT))


class State:
    """Follows the broker from the moment it is made.

    Args:
        clock: Wall time in UTC.
    """

    def __init__(self, connection: Connection, clock: Callable[[], datetime] = utc_now) -> None:
        self._topics = connection.topics
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._readings: dict[str, Telemetry] = {}
        self._offsets: dict[str, float] = {}
        self._node_names: Sequence[str] | None = None
        self._listeners: list[Listener] = []
        self._waiting: set[asyncio.Event] = set()
        self._complained: set[str] = set()
        self._seq = 0
        self._hub: HubState = "unknown"
        self._broker = connection.connected
        self._link_since = self._broker_since = self._hub_since = clock()
        for kind in (*RETAINED, *LIVE):
            connection.subscribe(filters_of(self._topics, kind), self._receive, qos=SPECS[kind].qos)
        connection.on_connect(self._connected)
        connection.on_disconnect(self._disconnected)

    def listen(self, listener: Listener) -> None:
        """Tell this listener of everything that arrives from now on."""
        self._listeners.append(listener)

    @property
    def link(self) -> Link:
        """Whether what is known is current."""
        # at a connect the hub's status can arrive before the word that the broker is there
        return Link(self._broker, self._hub if self._broker else "unknown", self._link_since)

    @property
    def hub(self) -> HubView:
        """The hub's state and posture."""
        queue = self.queue
        return HubView(
            self.link.hub,
            self._hub_since,
            queue.posture if queue else None,
            queue.posture_reason if queue else "",
        )

    @property
    def broker(self) -> BrokerView:
        """The connection to the broker."""
        return BrokerView(self._broker, self._broker_since)

    def age(self) -> float:
        """Return for how many seconds what is known may have been out of date; 0 if current."""
        if self.link.hub == "online":
            return 0.0
        return max(0.0, (self._clock() - self._link_since).total_seconds())

    @property
    def entries(self) -> Sequence[Entry]:
        """The last value of every retained topic that has one."""
        return [entry for entry in self._entries.values() if entry.value is not None]

    def entry(self, topic: str) -> Entry | None:
        """Return the last value of a topic below the root."""
        return self._entries.get(topic)

    @property
    def queue(self) -> Queue | None:
        """The queue as last published."""
        return self._value("queue", Queue)

    @property
    def open(self) -> bool:
        """Whether everybody may see every experiment; not so until the hub has said it."""
        queue = self.queue
        return queue is not None and queue.open

    def shows(self, session: Session, experiment: Experiment) -> bool:
        """Whether somebody may see all of an experiment, not its outline alone."""
        return self.open or session.admin or experiment.user == session.user

    def private_to(self, experiment_id: str | None) -> str | None:
        """Return who alone may see what an experiment measures and writes, besides administrators.

        None: everybody. Empty: nobody else, as its owner is not known.
        """
        if self.open or not experiment_id:
            return None
        known = self.experiment(experiment_id)
        return known.user if known is not None else ""

    @property
    def tokens(self) -> Tokens | None:
        """Which tokens for scripts are admitted; None while that is not known."""
        return self._value("hub/tokens", Tokens)

    def experiment(self, experiment_id: str) -> Experiment | None:
        """Return an experiment's public state if it is among those published."""
        return self._value(f"experiments/{experiment_id}", Experiment)

    def experiments(self) -> list[Experiment]:
        """Return all published experiments, newest first."""
        found = [e.value for e in self._entries.values() if isinstance(e.value, Experiment)]
        return sorted(found, key=lambda experiment: experiment.experiment_id, reverse=True)

    def nodes(self) -> list[NodeView]:
        """Return all reactors by name."""
        return [self._node(name) for name in self._names()]

    def node(self, name: str) -> NodeView | None:
        """Return a reactor."""
        return self._node(name) if name in self._names() else None

    def nodes_for(self, session: Session) -> list[NodeView]:
        """Return all reactors by name, as somebody may see them."""
        return [self._seen(node, session) for node in self.nodes()]

    def node_for(self, session: Session, name: str) -> NodeView | None:
        """Return a reactor, as somebody may see it."""
        node = self.node(name)
        return None if node is None else self._seen(node, session)

    def _seen(self, node: NodeView, session: Session) -> NodeView:
        reading = self._readings.get(node.id)
        owner = self.private_to(reading.experiment_id if reading else None)
        if owner is None or session.admin or owner == session.user:
            return node
        return node.model_copy(update={"readings": {}, "concealed": True})

    async def until(self, met: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition on this state holds; return whether it did within the time."""
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            async with asyncio.timeout(seconds):
                while not met():
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            return False
        else:
            return True
        finally:
            self._waiting.discard(changed)

    def _value(self, topic: str, model: type[_T]) -> _T | None:
        entry = self._entries.get(topic)
        return entry.value if entry and isinstance(entry.value, model) else None

    def _names(self) -> Sequence[str]:
        """Return the names of all reactors in order; found anew after one came or went."""
        if self._node_names is None:
            names = {
                entry.topic.split("/")[1]
                for entry in self._entries.values()
                if entry.kind in _OF_NODES and entry.value is not None
            }
            self._node_names = tuple(sorted(names))
        return self._node_names

    def _node(self, name: str) -> NodeView:
        status = self._value(f"nodes/{name}/status", ServiceStatus)
        channels = self._value(f"nodes/{name}/channels", Channels)
        reading = self._readings.get(name)
        return NodeView(
            id=name,
            label=channels.label if channels else name,
            online=status is not None and status.state == "online",
            since=status.since if status else None,
            version=status.version if status else None,
            clock_offset=self._offsets.get(name),
            simulated=channels.simulated if channels else False,
            speed=channels.speed if channels else 1.0,
            channels=channels,
            report=self._value(f"nodes/{name}/report", NodeReport),
            withheld=queue.withheld.get(name) if (queue := self.queue) else None,
            readings=dict(reading.values) if reading else {},
        )

    async def _receive(self, message: Message) -> None:
        address = self._topics.parse(message.topic)
        if address is None:
            return
        topic = message.topic.removeprefix(self._topics.root + "/")
        try:
            value = self._parse(address, message.payload)
        except (ContractError, ValueError) as error:
            if topic not in self._complained and len(self._complained) < MAX_EXPERIMENTS:
                self._complained.add(topic)
                _log.warning("ignored what stands at %s: %s", topic, error)
            return
        self._complained.discard(topic)
        self._seq += 1
        if isinstance(value, Telemetry):
            self._readings[address["node"]] = value
            for listener in self._listeners:
                listener.telemetry(topic, self._seq, message.payload, value.experiment_id)
        elif isinstance(value, Console):
            for listener in self._listeners:
                listener.console(topic, self._seq, value)
        else:
            if isinstance(value, NodeReport) and not message.retain:
                self._offsets[value.node] = (value.at - self._clock()).total_seconds()
            self._keep(topic, address, message.payload, value)

    def _parse(self, address: Address, payload: bytes) -> Payload | None:
        """Return the payload's model, or None for a cleared topic.

        Raises:
            ContractError: It is not what the contract says.
            ValueError: It names another than its topic, or holds what browsers cannot read.
        """
        if not payload:
            return None
        model = RETAINED.get(address.topic) or LIVE[address.topic]
        value = decode(model, payload)
        orjson.loads(payload)  # stricter than the models: NaN inside free-form details
        match value:
            case Experiment(experiment_id=name):
                named = address["experiment"]
            case Channels(node=name) | NodeReport(node=name):
                named = address["node"]
            case _:
                return value
        if name != named:
            raise ValueError(f"it speaks of {name}")
        return value

    def _keep(self, topic: str, address: Address, payload: bytes, value: Payload | None) -> None:
        if address.topic in LIVE or (value is None and topic not in self._entries):
            return
        entry = Entry(topic, address.topic, self._seq, self._clock(), payload or b"null", value)
        if address.topic in _OF_NODES and (value is None or topic not in self._entries):
            self._node_names = None
        self._entries[topic] = entry
        if isinstance(value, HubStatus):
            self._hub_is(value.state)
        if address.topic is Topic.EXPERIMENT:
            self._prune()
        for listener in self._listeners:
            listener.changed(entry)
        if value is None:
            del self._entries[topic]
        for waiting in self._waiting:
            waiting.set()

    def _prune(self) -> None:
        """Forget the oldest experiments beyond the bound; ULIDs sort by age."""
        topics = [t for t, e in self._entries.items() if e.kind is Topic.EXPERIMENT]
        if len(topics) > MAX_EXPERIMENTS:
            del self._entries[min(topics)]

    async def _connected(self) -> None:
        self._broker, self._broker_since = True, self._clock()
        self._tell_link()

    def _disconnected(self) -> None:
        self._broker, self._broker_since = False, self._clock()
        # a broker that lost its retained messages must not leave the hub online in our eyes
        if self._hub != "unknown":
            self._hub, self._hub_since = "unknown", self._clock()
        self._tell_link()

    def _hub_is(self, state: HubState) -> None:
        if state == self._hub:
            return
        self._hub, self._hub_since = state, self._clock()
        if self._broker:
            self._tell_link()

    def _tell_link(self) -> None:
        self._link_since = self._clock()
        for listener in self._listeners:
            listener.link_changed(self.link)
        for waiting in self._waiting:
            waiting.set()
