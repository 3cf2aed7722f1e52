"""Passwords of principals: random ones, and the hashes that the brokers keep of them.

A password is 256 random bits, so a hash needs no slowness: nobody can guess what it hides.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import bcrypt

_ITERATIONS: Final = 101
"""Of PBKDF2, as mosquitto_passwd has it."""
_COST: Final = 4
"""Of bcrypt: the smallest that there is."""


def new_password() -> str:
    """Return 256 random bits in hexadecimal."""
    return secrets.token_hex(32)


@dataclass(frozen=True, slots=True)
class Hashes:
    """What each broker is told of a password.

    Attributes:
        mosquitto: As mosquitto_passwd(1) writes it: PBKDF2-HMAC-SHA512, salted.
        nats: bcrypt, in the variant ``2a`` that the NATS server knows.
    """

    mosquitto: str
    nats: str

    @classmethod
    def of(cls, password: str) -> "Hashes":
        """Hash a password with fresh salts."""
        salt = secrets.token_bytes(12)
        digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS, 64)
        coded = "$".join(base64.b64encode(part).decode() for part in (salt, digest))
        with_salt = bcrypt.gensalt(_COST, prefix=b"2a")
        return cls(
            mosquitto=f"$7${_ITERATIONS}${coded}",
            nats=bcrypt.hashpw(password.encode(), with_salt).decode(),
        )


def hashed(passwords: Mapping[str, str]) -> dict[str, Hashes]:
    """Return the hashes of several principals' passwords."""
    return {name: Hashes.of(password) for name, password in passwords.items()}
