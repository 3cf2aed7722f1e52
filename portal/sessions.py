"""Who a browser or script is: a secret of its own, and what is derived from it.

The secret lives in a signed cookie or comes in the header `X-Session-ID`. Everything else sees
only `web:` and a keyed hash of it, and a friendly handle: the secret never enters MQTT, a page or
a log.
"""

import base64
import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from itsdangerous import BadSignature, URLSafeSerializer

from broker.messages import Actor, ContractError, ErrorCode
from portal.handles import handle_of
from portal.rotation import Rotation

COOKIE: Final = "bioreactor_session"
HEADER: Final = "X-Session-ID"
COOKIE_SECONDS: Final = 400 * 86400
"""The longest that browsers keep a cookie."""
RENEW_SECONDS: Final = 86400
"""A cookie older than this is replaced: who comes back stays who they are, a copy does not."""
ADMIN_SECONDS: Final = 12 * 3600
"""How long a login lasts."""
KEY_BYTES: Final = 32
_MIN_SECRET, _MAX_SECRET = 8, 128
_BROWSER: Final = "browser."
"""Begins the secrets that are good in a cookie alone: one that was copied dies with its cookie."""


class SiteKeyError(Exception):
    """The site key's file cannot be used; the message says why and what to do."""


def load_site_key(data_dir: Path) -> bytes:
    """Return the site key, made on first use in `data_dir/site.key`, readable by its owner only.

    The key is on disk when this returns; a crash before leaves no key or a whole one.

    Raises:
        SiteKeyError: The file is damaged or others may read it.
    """
    path = data_dir / "site.key"
    data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = data_dir / f".site.key.{os.getpid()}"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, secrets.token_bytes(KEY_BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(draft, path)  # unlike a rename it never replaces another portal's key
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SiteKeyError(f"others may read {path}: run chmod 600 on it, or delete it")
    key = path.read_bytes()
    if not key or len(key) % KEY_BYTES:
        raise SiteKeyError(f"{path} is damaged: restore it, or delete it to begin new sessions")
    return key


def rotate_site_key(data_dir: Path) -> None:
    """Sign cookies with a new key from now on; those of the key before stay good, all older do not.

    The first key stays: it makes people's ids, which must not change, and signs nothing any more
    from the second rotation on. Running portals read the new key when they start again.

    Raises:
        SiteKeyError: As `load_site_key`.
    """
    old = load_site_key(data_dir)
    previous = old[-KEY_BYTES:] if len(old) > KEY_BYTES else b""
    path, draft = data_dir / "site.key", data_dir / f".site.key.{os.getpid()}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, old[:KEY_BYTES] + previous + secrets.token_bytes(KEY_BYTES))
        os.fsync(handle)
    finally:
        os.close(handle)
    draft.replace(path)


@dataclass(frozen=True, slots=True)
class Session:
    """Who asks.

    Attributes:
        user: `web:` and the keyed hash of the secret.
        handle: A name that others may see.
        admin: May use the administrator's controls.
        admin_until: Unix time at which a login ends by itself; None where none does.
    """

    user: str
    handle: str
    admin: bool
    admin_until: int | None = None

    @property
    def actor(self) -> Actor:
        """The person behind a request to the hub."""
        return Actor(user=self.user, name=self.handle, admin=self.admin)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a cookie carries: the secret, when it was signed and until when it administrates.

    Attributes:
        serial: Grows each time that the cookie is replaced.
        proof: Which password was given: another one ends the logins by the one before.
    """

    secret: str
    signed_at: int
    admin_until: int = 0
    serial: int = 0
    proof: str = ""


class Sessions:
    """Makes and knows sessions.

    Args:
        site_key: Shared by the portals of a site.
        rotation: Which cookies were replaced.
        everybody_admin: Every session may administrate.
        password: What a login must give; absent if nobody can log in.
        now: Unix time in seconds.
    """

    def __init__(
        self,
        site_key: bytes,
        rotation: Rotation,
        *,
        everybody_admin: bool,
        password: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._site_key = site_key
        self._cookies = signer(site_key[-KEY_BYTES:], "cookie")
        self._older = signer(site_key, "cookie")
        self._rotation = rotation
        self._everybody_admin = everybody_admin
        self._proof = None if password is None else self._proof_of(password)
        self._now = now

    def new_ticket(self, *, browser: bool) -> Ticket:
        """Return a ticket with a fresh secret of 192 bits.

        Args:
            browser: The secret is not told to anybody: it is good in the cookie alone.
        """
        prefix = _BROWSER if browser else ""
        return Ticket(prefix + secrets.token_urlsafe(24), int(self._now()))

    def seal(self, ticket: Ticket) -> str:
        """Return the signed value of a cookie."""
        parts = [
            ticket.secret, ticket.signed_at, ticket.admin_until, ticket.serial, ticket.proof,
        ]  # fmt: skip
        return str(self._cookies.dumps(parts))

    def open(self, cookie: str) -> Ticket | None:
        """Return what a cookie carries; None if this site did not sign it, or has replaced it.

        One that the key before signed is to be replaced, and makes nobody an administrator.
        """
        ticket = _read(self._cookies, cookie)
        if ticket is None:
            older = _read(self._older, cookie)
            ticket = older and replace(older, signed_at=0, admin_until=0)
        if ticket is None or not self._rotation.shown(self._user(ticket.secret), ticket.serial):
            return None
        return ticket

    def stale(self, ticket: Ticket) -> bool:
        """Whether the cookie should be replaced."""
        return self._now() - ticket.signed_at > RENEW_SECONDS

    def renewed(self, ticket: Ticket) -> Ticket:
        """Return the same session, signed now; the cookie before dies when this one is shown."""
        return replace(ticket, signed_at=int(self._now()), serial=ticket.serial + 1)

    def from_ticket(self, ticket: Ticket) -> Session:
        """Return whose cookie it is."""
        user = self._user(ticket.secret)
        logged_in = (
            ticket.admin_until > self._now()
            and ticket.proof == self._proof
            and not self._rotation.logged_out(user, ticket.serial)
        )
        return self._session(ticket.secret, ticket.admin_until if logged_in else None)

    def from_header(self, value: str) -> Session:
        """Return whose `X-Session-ID` it is.

        Raises:
            ContractError: MALFORMED, not 8 to 128 characters, or taken from a browser's cookie.
        """
        if value.startswith(_BROWSER):
            raise ContractError(
                ErrorCode.MALFORMED,
                f"{HEADER} is the secret of a browser, which is good in its cookie alone",
                "send a long random text of the script's own, and the same one each time",
                field=HEADER,
            )
        if not _MIN_SECRET <= len(value) <= _MAX_SECRET:
            raise ContractError(
                ErrorCode.MALFORMED,
                f"{HEADER} has {len(value)} characters, {_MIN_SECRET} to {_MAX_SECRET} are wanted",
                "send a long random text, and the same one each time",
                field=HEADER,
            )
        return self._session(value)

    def logged_in(self, ticket: Ticket, password: str) -> Ticket | None:
        """Return the ticket with an administrator's rights, or None if the password is wrong."""
        if self._proof is None or not hmac.compare_digest(self._proof_of(password), self._proof):
            return None
        until = int(self._now()) + ADMIN_SECONDS
        return replace(self.renewed(ticket), admin_until=until, proof=self._proof)

    def logged_out(self, ticket: Ticket) -> Ticket:
        """Return the ticket without an administrator's rights; those before have none either."""
        self._rotation.log_out(self._user(ticket.secret), ticket.serial)
        return replace(self.renewed(ticket), admin_until=0)

    def _proof_of(self, password: str) -> str:
        return _short(_digest(self._site_key, "login", password))

    def _session(self, secret: str, admin_until: int | None = None) -> Session:
        digest = _digest(self._site_key, "user", secret)
        user, handle = self._user(secret), handle_of(digest[-4:])
        if self._everybody_admin:
            return Session(user, handle, admin=True)
        return Session(user, handle, admin_until is not None, admin_until)

    def _user(self, secret: str) -> str:
        return user_of(self._site_key, "user", secret)


def _read(cookies: URLSafeSerializer, cookie: str) -> Ticket | None:
    try:
        parts = cookies.loads(cookie)
    except BadSignature:
        return None
    match parts:
        case [str(secret), int(signed_at), int(admin_until), int(serial), str(proof)] if secret:
            return Ticket(secret, signed_at, admin_until, serial, proof)
        case [str(secret), int(signed_at), int(), int(serial)] if secret:  # before logins had proof
            return Ticket(secret, signed_at, 0, serial)
        case [str(secret), int(signed_at), int(admin_until)] if secret:  # before cookies rotated
            return Ticket(secret, signed_at, admin_until)
        case _:
            return None


def user_of(site_key: bytes, purpose: str, secret: str) -> str:
    """Return `web:` and the keyed hash of what somebody is known by."""
    return "web:" + _short(_digest(site_key, purpose, secret))


def _short(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest[:24]).decode()


def _digest(site_key: bytes, purpose: str, secret: str) -> bytes:
    key = _derive(site_key[:KEY_BYTES], purpose)
    return hmac.digest(key, secret.encode("utf-8", "surrogatepass"), "sha256")


def signer(site_key: bytes, purpose: str) -> URLSafeSerializer:
    """Return a serializer whose signatures are good for one purpose only.

    It signs with the newest key, and knows the signatures of the one before.
    """
    keys = [site_key[at : at + KEY_BYTES] for at in range(0, len(site_key), KEY_BYTES)][-2:]
    return URLSafeSerializer(
        [_derive(key, purpose) for key in keys],
        salt=purpose,
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )


def _derive(site_key: bytes, purpose: str) -> bytes:
    return hmac.digest(site_key, b"bioreactor portal " + purpose.encode(), "sha256")
