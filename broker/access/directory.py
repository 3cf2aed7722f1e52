"""The access directory: who the principals are, and everything that is made from that.

```
access/
  principals.toml   the register: roles and hashes of passwords
  authority/        ca.crt, ca.key; there once certificates were made
  clients/NAME/     what the client is given: broker.toml, password, certificate
```

A change is written into the register first, durably; then what the broker reads; then the client's
folder; then the broker is told. A crash in between is mended by doing it again, or by `rotate`.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

from broker.access import clients
from broker.access.certificates import Authority, Issued, Revoked
from broker.access.grants import Principal, Roles
from broker.access.handover import write_for_broker
from broker.access.passwords import Hashes, new_password
from broker.access.register import Certificate, Entry, Register, Revocation, Target
from broker.brokers import CA_CERTIFICATE, CERTIFICATE, KEY, REVOKED, access_files
from broker.messages import ContractError, ErrorCode, utc_now
from broker.settings import BrokerSettings
from broker.topics import BadNameError, Role, Topics

DAYS: Final = 365
"""How long a certificate is valid unless told otherwise."""


class AccessDirectory:
    """Changes who may do what. Nothing here tells the broker: see `broker.access.reloading`.

    Args:
        path: Made when the register is written first; mode 0700.
        clock: Returns the time, with its zone.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        self.path = path
        self._clock = clock

    @property
    def register_file(self) -> Path:
        """Where the register stands."""
        return self.path / "principals.toml"

    def client_folder(self, name: str) -> Path:
        """Return the folder that a client is given."""
        return self.path / "clients" / name

    def settings_of(self, name: str) -> BrokerSettings:
        """Return how a client connects with what its folder holds."""
        target = self.read().broker
        return clients.settings_in(self.client_folder(name), name, target.url, target.root)

    def read(self) -> Register:
        """Return the register.

        Raises:
            ContractError: There is none, or it cannot be used.
        """
        return Register.load(self.register_file)

    def describe(self, target: Target) -> None:
        """Say which broker it is; principals that are there stay."""
        with self._locked():
            register = self.read() if self.register_file.exists() else Register(broker=target)
            certified = register.broker.certified
            self._put(register.changed(broker=target.model_copy(update={"certified": certified})))

    def manage(self, target: Target, roles: Roles, hashes: Mapping[str, Hashes]) -> Register:
        """Make the principals of `bioreactor up` what they should be; leave people's own alone."""
        with self._locked():
            there = self.read() if self.register_file.exists() else Register(broker=target)
            before = there.principals
            managed = {
                principal.name: Entry(
                    role=principal.role,
                    since=self._clock(),
                    mosquitto=hashes[principal.name].mosquitto,
                    nats=hashes[principal.name].nats,
                    managed=True,
                    certificates=before[principal.name].certificates
                    if principal.name in before
                    else (),
                )
                for principal in roles
            }
            own = {n: e for n, e in before.items() if not e.managed and n not in managed}
            register = there.changed(
                broker=target.model_copy(update={"certified": there.broker.certified}),
                principals=managed | own,
            )
            self._put(register)
            return register

    def add(self, name: str, role: Role) -> None:
        """Admit a principal.

        Raises:
            ContractError: MALFORMED: a bad name. WRONG_STATE: there is one of that name.
        """
        try:
            Principal(name, role)
        except BadNameError as error:
            raise ContractError(
                ErrorCode.MALFORMED, str(error), "choose a name like ada or reactor-3"
            ) from None
        with self._locked():
            register = self.read()
            if name in register.principals:
                raise ContractError(
                    ErrorCode.WRONG_STATE,
                    f"there is a principal {name!r} already, a {register.principals[name].role}",
                    "choose another name; `rotate` gives this one a new password, `remove` ends it",
                )
            self._admit(register, name, role, issued=self._issue(register, name, DAYS))

    def rotate(self, name: str) -> None:
        """Give a principal a new password, and a new certificate where there are certificates.

        Raises:
            ContractError: NOT_FOUND; or WRONG_STATE: `bioreactor up` keeps its password.
        """
        with self._locked():
            register = self.read()
            entry = register.entry(name)
            if entry.managed:
                raise ContractError(
                    ErrorCode.WRONG_STATE,
                    f"{name!r} belongs to `bioreactor up`, whose services know its password",
                    "stop it, delete passwords.json in its broker directory and start it again: "
                    "all its principals get new passwords",
                )
            issued = self._issue(register, name, DAYS)
            revoked = (*register.revoked, *self._revocations(entry))
            self._admit(register.changed(revoked=revoked), name, entry.role, issued=issued)

    def remove(self, name: str) -> None:
        """End a principal; its certificates are revoked. Its folder stays until `forget`."""
        with self._locked():
            register = self.read()
            entry = register.entry(name)
            rest = {n: e for n, e in register.principals.items() if n != name}
            revoked = (*register.revoked, *self._revocations(entry))
            self._put(register.changed(principals=rest, revoked=revoked))

    def forget(self, name: str) -> None:
        """Delete the folder of a client that was removed."""
        shutil.rmtree(self.client_folder(name), ignore_errors=True)

    def certify(
        self, names: Sequence[str] = (), days: float = DAYS, *, renew: bool = False
    ) -> None:
        """Make the authority if there is none, and every certificate that is missing.

        Args:
            names: By which clients call the broker; none: those of before, else this machine's.
            days: How long what is made is valid.
            renew: Make all anew. Those of before stay valid until they expire.
        """
        with self._locked():
            register = self.read()
            if not Authority.exists(self._authority):
                self._authority.mkdir(mode=0o700, parents=True, exist_ok=True)
                Authority.create(self._authority, register.broker.root, self._clock())
            wanted = tuple(names) or register.broker.certified or _OF_THIS_MACHINE
            if renew or wanted != register.broker.certified:
                self._certify_broker(register.broker, wanted, days)
            entries = dict(register.principals)
            issued: dict[str, Issued] = {}
            for name, entry in entries.items():
                if renew or all(c.until <= self._clock() for c in entry.certificates):
                    issued[name] = self._opened().client(name, self._clock(), days)
                    entries[name] = self._with_certificate(entry, issued[name])
            target = register.broker.model_copy(update={"certified": wanted})
            self._put(register.changed(broker=target, principals=entries))
            for name, certificate in issued.items():
                self._write_client(register.broker, name, None, certificate)

    @property
    def _authority(self) -> Path:
        return self.path / "authority"

    def _opened(self) -> Authority:
        return Authority.open(self._authority)

    def _issue(self, register: Register, name: str, days: float) -> Issued | None:
        if not register.broker.certified:
            return None
        return self._opened().client(name, self._clock(), days)

    def _admit(self, register: Register, name: str, role: Role, *, issued: Issued | None) -> None:
        password = new_password()
        hashes = Hashes.of(password)
        entry = Entry(role=role, since=self._clock(), mosquitto=hashes.mosquitto, nats=hashes.nats)
        if issued is not None:
            entry = self._with_certificate(entry, issued)
        self._put(register.changed(principals={**register.principals, name: entry}))
        self._write_client(register.broker, name, password, issued)

    def _with_certificate(self, entry: Entry, issued: Issued) -> Entry:
        now = self._clock()
        valid = tuple(c for c in entry.certificates if c.until > now)
        new = Certificate(serial=issued.serial, until=issued.until)
        return entry.model_copy(update={"certificates": (*valid, new)})

    def _revocations(self, entry: Entry) -> Iterator[Revocation]:
        for certificate in entry.certificates:
            yield Revocation(serial=certificate.serial, since=self._clock())

    def _certify_broker(self, target: Target, names: Sequence[str], days: float) -> None:
        authority = self._opened()
        issued = authority.server(names, self._clock(), days, among_servers=target.kind == "nats")
        write_for_broker(
            target,
            {
                CA_CERTIFICATE: authority.certificate,
                KEY: issued.key,
                CERTIFICATE: issued.certificate,
            },
        )

    def _put(self, register: Register) -> None:
        """Write the register, then what the broker reads."""
        register.save(self.register_file)
        target = register.broker
        files = dict(
            access_files(target.kind, register.roles, register.hashes, Topics(target.root))
        )
        if target.certified and target.kind == "mosquitto":
            revoked = [Revoked(r.serial, r.since) for r in register.revoked]
            files[REVOKED] = self._opened().revocations(revoked, self._clock())
        write_for_broker(target, files)
        for name, entry in register.principals.items():
            if not entry.managed and (self.client_folder(name) / clients.PASSWORD).exists():
                clients.write_settings(self.client_folder(name), name, target.url, target.root)

    def _write_client(
        self, target: Target, name: str, password: str | None, issued: Issued | None
    ) -> None:
        folder = self.client_folder(name)
        ca = "" if issued is None else self._opened().certificate
        clients.write_secrets(folder, password=password, issued=issued, ca=ca)
        if (folder / clients.PASSWORD).exists():
            clients.write_settings(folder, name, target.url, target.root)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other changes out meanwhile.

        Raises:
            ContractError: UNAVAILABLE; the directory cannot be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"{self.path} cannot be written: {error.strerror}",
                "run it as the directory's owner, or name another --directory",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


_OF_THIS_MACHINE: Final = ("localhost", "127.0.0.1")
