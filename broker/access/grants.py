"""Who may say and read what: roles become the access lists of Mosquitto and NATS.

The one source is `broker.topics.SPECS`. Every principal gets its own lines at exact depth, without
`#`: Mosquitto's `%u` patterns hold for every user alike and would give nodes the rights of scripts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from broker.access.passwords import Hashes
from broker.topics import ANY, SPECS, Role, Topic, Topics, check_name

_CLEARED_BY: Final[Mapping[Topic, Role]] = {
    Topic.HUB_REQUEST: "hub",
    Topic.HUB_ADMIN: "hub",
    Topic.NODE_COMMAND: "node",
    Topic.NODE_MANUAL_END: "node",
    Topic.NODE_ESTOP: "node",
    Topic.NODE_ESTOP_RELEASE: "node",
}
"""Commands that somebody retained would return at every reconnect: whoever reads them clears them,
by publishing an empty retained message. The contract gives an empty one no other meaning there."""

_SPEAKS_FOR_ITSELF: Final = frozenset[Role]({"portal", "administrator", "script"})
"""Roles for which a level `{principal}` is their own name; the hub and nodes address others."""

_FIELDS: Final = (
    *("node", "portal", "principal", "verb", "client"),
    *("experiment", "channel", "stream", "kind"),
)


@dataclass(frozen=True, slots=True)
class Principal:
    """A user of the broker. Its name is the level it speaks in; nodes are called by their id.

    Raises:
        BadNameError: The name cannot stand in a topic.
    """

    name: str
    role: Role

    def __post_init__(self) -> None:
        check_name(self.name)


Roles = Iterable[Principal]
"""The users of a broker."""


@dataclass(frozen=True, slots=True)
class Grants:
    """Subscription filters that cover exactly what a principal may publish and read."""

    publish: tuple[str, ...]
    read: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Right:
    """One thing that a principal may do.

    Attributes:
        sending: May publish; else may read.
        topic_filter: What it covers.
        topic: Whose specification says so.
    """

    sending: bool
    topic_filter: str
    topic: Topic


def rights(principal: Principal, topics: Topics) -> Iterator[Right]:
    """Yield what the contract allows the principal, in its order."""
    role = principal.role
    for topic, spec in SPECS.items():
        if role in spec.senders or _CLEARED_BY.get(topic) == role:
            yield Right(True, _filter(topic, principal, topics, sending=True), topic)
        if role in spec.readers:
            yield Right(False, _filter(topic, principal, topics, sending=False), topic)


def grants(principal: Principal, topics: Topics) -> Grants:
    """Return what the contract allows the principal."""
    allowed = tuple(rights(principal, topics))
    return Grants(
        publish=tuple(right.topic_filter for right in allowed if right.sending),
        read=tuple(right.topic_filter for right in allowed if not right.sending),
    )


def mosquitto_acl(principals: Roles, topics: Topics) -> str:
    """Return the text of an `acl_file`."""
    lines = ["# Generated from broker/topics.py; changes are lost."]
    for principal in principals:
        allowed = grants(principal, topics)
        lines += ["", f"user {principal.name}"]
        lines += [f"topic write {topic_filter}" for topic_filter in allowed.publish]
        lines += [f"topic read {topic_filter}" for topic_filter in allowed.read]
    return "\n".join(lines) + "\n"


def mosquitto_passwords(hashes: Mapping[str, Hashes]) -> str:
    """Return the text of a `password_file`."""
    return "".join(f"{name}:{of.mosquitto}\n" for name, of in hashes.items())


def nats_authorization(
    principals: Roles, hashes: Mapping[str, Hashes], topics: Topics
) -> dict[str, list[JsonValue]]:
    """Return the `authorization` block of a NATS configuration."""
    users: list[JsonValue] = []
    for principal in principals:
        allowed = grants(principal, topics)
        users.append(
            {
                "user": principal.name,
                "password": hashes[principal.name].nats,
                # The NATS protocol would let a user listen to what others are sent with QoS 1.
                "allowed_connection_types": ["MQTT", "MQTT_WS"],
                "permissions": {
                    "publish": {"allow": [_subject(f) for f in allowed.publish]},
                    "subscribe": {"allow": [*map(_subject, allowed.read), "$MQTT.sub.>"]},
                },
            }
        )
    return {"users": users}


def _filter(topic: Topic, principal: Principal, topics: Topics, *, sending: bool) -> str:
    own = {
        "node": principal.role == "node",
        "portal": principal.role == "portal" and sending,
        "principal": principal.role in _SPEAKS_FOR_ITSELF,
    }
    levels = {field: principal.name if own.get(field) else ANY for field in _FIELDS}
    return topics.build(topic, **levels)


def _subject(topic_filter: str) -> str:
    """Return the NATS subject for an MQTT filter whose levels are names or `+`."""
    return topic_filter.replace("/", ".").replace("+", "*")
