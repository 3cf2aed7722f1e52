"""Every topic of the contract, built and parsed in this one place.

A topic is a row of `SPECS`: its levels below the site's root, who sends it, who reads it, its
quality of service and whether it is retained. `Topics` builds topics and subscription filters
below one root and parses what arrives. Names in topics obey `NAME`: a space disconnects a NATS
client, and wildcards or slashes would change the meaning of the topic.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
"""What a principal, node, channel, client, verb or root level may be called."""

EXPERIMENT_ID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
"""A ULID in Crockford base 32, upper case, https://github.com/ulid/spec."""

ANY: Final = "+"
"""Given for a level, makes a subscription filter."""

Role = Literal["hub", "node", "portal", "administrator", "script"]
STREAMS: Final = ("records", "files")
NOTIFICATIONS: Final = ("finished", "failed", "interrupted", "alarm")
"""Kinds of notifications."""


class Topic(StrEnum):
    """The kinds of topics; the value is the pattern below the root."""

    HUB_STATUS = "hub/status"
    NODE_STATUS = "nodes/{node}/status"
    PORTAL_STATUS = "portal/{portal}/status"
    HUB_REQUEST = "hub/request/{principal}/{verb}"
    HUB_ADMIN = "hub/admin/{principal}/{verb}"
    REPLY = "reply/{principal}/{client}"
    QUEUE = "queue"
    EXPERIMENT = "experiments/{experiment}"
    NODE_CHANNELS = "nodes/{node}/channels"
    NODE_ASSIGNMENT = "nodes/{node}/assignment"
    NODE_REPORT = "nodes/{node}/report"
    NODE_TELEMETRY = "nodes/{node}/telemetry"
    NODE_CONSOLE = "nodes/{node}/console"
    NODE_JOURNAL = "nodes/{node}/journal/{stream}"
    NODE_JOURNAL_ACK = "nodes/{node}/journal/{stream}/ack"
    NODE_COMMAND = "nodes/{node}/command/{principal}/{channel}"
    NODE_MANUAL_END = "nodes/{node}/manual-end/{principal}"
    NODE_ESTOP = "nodes/{node}/estop/{principal}"
    NODE_ESTOP_RELEASE = "nodes/{node}/estop-release/{principal}"
    ERRORS = "errors/{principal}"
    NOTIFICATION = "notifications/{kind}"
    HUB_METRICS = "hub/metrics"
    HUB_TOKENS = "hub/tokens"


@dataclass(frozen=True, slots=True)
class Spec:
    """How one kind of topic is used.

    Attributes:
        senders: Roles that publish it; a `{principal}`, `{node}` or `{portal}` level is the
            sender's own name unless the sender is the hub.
        readers: Roles that may subscribe to it.
        qos: 0 for what is only for eyes, 1 for everything else.
        retained: The broker keeps the last message for those who come later.
        summary: One line for the reference documentation.
    """

    senders: frozenset[Role]
    readers: frozenset[Role]
    qos: Literal[0, 1]
    retained: bool
    summary: str


def _spec(senders: str, readers: str, qos: Literal[0, 1], kept: str, summary: str) -> Spec:
    roles: Mapping[str, Role] = {
        "hub": "hub", "node": "node", "portal": "portal",
        "administrator": "administrator", "script": "script",
    }  # fmt: skip
    return Spec(
        frozenset(roles[r] for r in senders.split()),
        frozenset(roles[r] for r in readers.split()),
        qos,
        kept == "retained",
        summary,
    )


_ALL = "hub node portal administrator script"
_EYES = "hub portal administrator script"

SPECS: Final[Mapping[Topic, Spec]] = MappingProxyType(
    {
        Topic.HUB_STATUS: _spec(
            "hub", _ALL, 1, "retained",
            "The hub is online or offline; its store's identity and generation. Last will.",
        ),
        Topic.NODE_STATUS: _spec(
            "node", "hub node portal administrator script", 1, "retained",
            "The node is online or offline, its version and boot id. Last will.",
        ),
        Topic.PORTAL_STATUS: _spec(
            "portal", _EYES, 1, "retained", "The portal is online or offline. Last will."
        ),
        Topic.HUB_REQUEST: _spec(
            "portal administrator script", "hub", 1, "live",
            "A request to the hub: the verb is the last level, the sender the one before.",
        ),
        Topic.HUB_ADMIN: _spec(
            "portal administrator", "hub", 1, "live",
            "An administrator's request to the hub.",
        ),
        Topic.REPLY: _spec(
            "hub node", "portal administrator script", 1, "live",
            "The hub's reply to the request with the same id, or a node's to manual control; only "
            "its asker may read it.",
        ),
        Topic.QUEUE: _spec(
            "hub", _EYES, 1, "retained", "The queue: posture, what runs, what waits in what order."
        ),
        Topic.EXPERIMENT: _spec(
            "hub", _EYES, 1, "retained",
            "An experiment's public state; cleared 24 h after it finished.",
        ),
        Topic.NODE_CHANNELS: _spec(
            "node", _EYES, 1, "retained", "The node's sensors and actuators with units and limits."
        ),
        Topic.NODE_ASSIGNMENT: _spec(
            "hub", "node", 1, "retained",
            "Desired: what the node shall do. Absent or empty is no opinion and stops nothing.",
        ),
        Topic.NODE_REPORT: _spec(
            "node", _EYES, 1, "retained",
            "Reported: what runs, its phase, the container, lease, safety.",
        ),
        Topic.NODE_TELEMETRY: _spec("node", _EYES, 0, "live", "Live samples, for eyes."),
        Topic.NODE_CONSOLE: _spec("node", _EYES, 0, "live", "Live log lines, for eyes."),
        Topic.NODE_JOURNAL: _spec(
            "node", "hub", 1, "live", "A batch of the record: ordered, numbered, acknowledged."
        ),
        Topic.NODE_JOURNAL_ACK: _spec(
            "hub", "node", 1, "retained", "What the hub has committed, cumulative for each epoch."
        ),
        Topic.NODE_COMMAND: _spec(
            "portal administrator", "node", 1, "live",
            "Manual control of one channel while no experiment holds the reactor.",
        ),
        Topic.NODE_MANUAL_END: _spec(
            "portal administrator", "node", 1, "live",
            "Ends manual control: everything is made safe.",
        ),
        Topic.NODE_ESTOP: _spec(
            "hub portal administrator", "node", 1, "retained",
            "Emergency stop: any non-empty payload latches; an empty one never releases.",
        ),
        Topic.NODE_ESTOP_RELEASE: _spec(
            "portal administrator", "node", 1, "live",
            "Releases the emergency stop whose latch it names.",
        ),
        Topic.ERRORS: _spec(
            "hub node", "portal administrator script", 1, "live",
            "What was wrong with a message that asked for no reply.",
        ),
        Topic.NOTIFICATION: _spec(
            "hub", _EYES, 1, "live",
            "An experiment finished, failed or was interrupted, or an alarm was raised; told at "
            "least once, a repeat has the same id.",
        ),
        Topic.HUB_METRICS: _spec(
            "hub", "hub portal administrator", 1, "retained",
            "The hub's figures for Prometheus, every ten seconds.",
        ),
        Topic.HUB_TOKENS: _spec(
            "hub", "portal administrator", 1, "retained",
            "The tokens for scripts that portals admit, without what their holders send.",
        ),
    }
)  # fmt: skip


class BadNameError(ValueError):
    """A level of a topic that the contract does not allow."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed topic.

    Attributes:
        topic: Its kind.
        levels: The variable levels by name, for example ``{"node": "reactor-1"}``.
    """

    topic: Topic
    levels: Mapping[str, str]

    def __getitem__(self, level: str) -> str:
        """Return the value of a variable level."""
        return self.levels[level]


_FIELD = re.compile(r"\{(\w+)\}")
_LEVEL_RULES: Mapping[str, re.Pattern[str]] = {
    "experiment": EXPERIMENT_ID,
    "stream": re.compile("|".join(STREAMS)),
    "kind": re.compile("|".join(NOTIFICATIONS)),
}


def check_name(name: str) -> str:
    """Return the name if it may stand as a level of a topic.

    Raises:
        BadNameError: It may not; the message says what a name looks like.
    """
    if NAME.fullmatch(name) is None:
        raise BadNameError(
            f"{name!r} cannot be used as a name: use 1 to 48 of a-z, 0-9, '-' and '_', "
            "starting with a letter or a digit"
        )
    return name


class Topics:
    """The topics of one site.

    Args:
        root: One or more levels, each a name, for example ``bioreactor`` or ``bioreactor/lab-7``.

    Raises:
        BadNameError: A level of the root is no name.
    """

    def __init__(self, root: str = "bioreactor") -> None:
        for level in root.split("/"):
            check_name(level)
        self.root = root
        self._parsers = [
            (topic, re.compile(_FIELD.sub(r"(?P<\1>[^/]+)", topic.value))) for topic in Topic
        ]

    def build(self, topic: Topic, /, **levels: str) -> str:
        """Return the full topic, or a subscription filter where a level is `ANY`.

        Raises:
            BadNameError: A level breaks its rule.
            KeyError: A level is missing.
        """

        def fill(match: re.Match[str]) -> str:
            field = match[1]
            value = levels[field]
            if value == ANY:
                return value
            rule = _LEVEL_RULES.get(field)
            if rule is None:
                return check_name(value)
            if rule.fullmatch(value) is None:
                raise BadNameError(f"{value!r} cannot be used as {field} in a topic")
            return value

        return f"{self.root}/{_FIELD.sub(fill, topic.value)}"

    def parse(self, text: str) -> Address | None:
        """Return what the topic means, or None if it is not one of ours."""
        prefix = self.root + "/"
        if not text.startswith(prefix):
            return None
        below = text[len(prefix) :]
        for topic, pattern in self._parsers:
            match = pattern.fullmatch(below)
            if match is None:
                continue
            levels = match.groupdict()
            for field, value in levels.items():
                if _LEVEL_RULES.get(field, NAME).fullmatch(value) is None:
                    return None
            return Address(topic, MappingProxyType(levels))
        return None
