"""Who may say and read what: roles become the access lists of Mosquitto and NATS.

The one source is `broker.topics.SPECS`. Every principal gets its own lines at exact depth, without
`#`: Mosquitto's `%u` patterns hold for every user alike and would give nodes the rights of scripts.
"""

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

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

_ITERATIONS: Final = 101
"""Of PBKDF2, as mosquitto_passwd has it. The passwords are 256 random bits: more adds nothing."""


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


def grants(principal: Principal, topics: Topics) -> Grants:
    """Return what the contract allows the principal."""
    publish: list[str] = []
    read: list[str] = []
    for topic, spec in SPECS.items():
        role = principal.role
        if role in spec.senders or _CLEARED_BY.get(topic) == role:
            publish.append(_filter(topic, principal, topics, sending=True))
        if role in spec.readers:
            read.append(_filter(topic, principal, topics, sending=False))
    return Grants(tuple(publish), tuple(read))


def mosquitto_acl(principals: Roles, topics: Topics) -> str:
    """Return the text of an `acl_file`."""
    lines = ["# Generated from broker/topics.py; changes are lost."]
    for principal in principals:
        allowed = grants(principal, topics)
        lines += ["", f"user {principal.name}"]
        lines += [f"topic write {topic_filter}" for topic_filter in allowed.publish]
        lines += [f"topic read {topic_filter}" for topic_filter in allowed.read]
    return "\n".join(lines) + "\n"


def mosquitto_passwords(passwords: Mapping[str, str]) -> str:
    """Return the text of a `password_file`: salted hashes."""
    lines = []
    for name, password in passwords.items():
        salt = secrets.token_bytes(12)
        digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS, 64)
        coded = "$".join(base64.b64encode(part).decode() for part in (salt, digest))
        lines.append(f"{name}:$7${_ITERATIONS}${coded}")
    return "\n".join(lines) + "\n"


def nats_authorization(
    principals: Roles, passwords: Mapping[str, str], topics: Topics
) -> JsonValue:
    """Return the `authorization` block of a NATS configuration; it holds the passwords."""
    users: list[JsonValue] = []
    for principal in principals:
        allowed = grants(principal, topics)
        users.append(
            {
                "user": principal.name,
                "password": passwords[principal.name],
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
