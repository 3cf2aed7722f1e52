"""Who may say and read what at the broker: principals, their passwords, their certificates."""

from broker.access.grants import (
    Grants,
    Principal,
    Roles,
    grants,
    mosquitto_acl,
    mosquitto_passwords,
    nats_authorization,
)
from broker.access.passwords import Hashes, hashed

__all__ = [
    "Grants",
    "Hashes",
    "Principal",
    "Roles",
    "grants",
    "hashed",
    "mosquitto_acl",
    "mosquitto_passwords",
    "nats_authorization",
]
