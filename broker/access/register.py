"""The register: who the principals of a broker are, and how that broker is told, in one file."""

import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from broker.access.grants import Principal
from broker.access.passwords import Hashes
from broker.brokers import Kind
from broker.identity import write_private
from broker.messages import ContractError, ErrorCode
from broker.settings import parse_url, split_urls
from broker.toml import Value, dump
from broker.topics import BadNameError, Role, Topics

_HEAD: Final = "# Written by `bioreactor access`, which also tells the broker of every change.\n\n"


def _checked_url(url: str) -> str:
    for one in split_urls(url):
        parse_url(one)
    return url


def _checked_root(root: str) -> str:
    return Topics(root).root


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Target(_Model):
    """The broker that is told.

    Attributes:
        url: How clients reach it.
        files: Where it reads from who may do what, and its certificates.
        pid_file: Names its process, which then gets SIGHUP.
        reload: A command that has it read its files again, where it has no such file here.
        certified: Names and addresses that its certificate is for; empty: it has none.
    """

    kind: Kind
    url: Annotated[str, AfterValidator(_checked_url)]
    root: Annotated[str, AfterValidator(_checked_root)] = "bioreactor"
    files: Path
    pid_file: Path | None = None
    reload: tuple[str, ...] = ()
    certified: tuple[str, ...] = ()


class Certificate(_Model):
    """One that was issued.

    Attributes:
        serial: In hexadecimal.
    """

    serial: str
    until: datetime


class Entry(_Model):
    """A principal.

    Attributes:
        mosquitto: Hash of its password, as that broker wants it.
        nats: Likewise.
        managed: It belongs to `bioreactor up`, which knows its password and brings it back.
        certificates: All that were issued to it and have not expired.
    """

    role: Role
    since: datetime
    mosquitto: str
    nats: str
    managed: bool = False
    certificates: tuple[Certificate, ...] = ()

    @property
    def hashes(self) -> Hashes:
        """Of its password, for both brokers."""
        return Hashes(self.mosquitto, self.nats)


class Revocation(_Model):
    """A certificate that is no longer to be believed."""

    serial: str
    since: datetime


class Register(_Model):
    """What the file says."""

    broker: Target
    principals: Mapping[str, Entry] = {}
    revoked: tuple[Revocation, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            ContractError: NOT_FOUND: there is none. UNAVAILABLE: it cannot be read or understood.
        """
        try:
            register = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
            for name, entry in register.principals.items():
                Principal(name, entry.role)
        except FileNotFoundError:
            raise ContractError(
                ErrorCode.NOT_FOUND,
                f"there is no register of principals: {path} does not exist",
                "start `bioreactor up`, name another --directory, or describe a broker of your own "
                "with `bioreactor access init`",
            ) from None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise _unusable(path, f"{where}: {first['msg']}") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, BadNameError) as error:
            raise _unusable(path, str(error)) from error
        return register

    def save(self, path: Path) -> None:
        """Write the file durably, mode 0600."""
        sections: dict[str, dict[str, Value] | list[dict[str, Value]]] = {
            "broker": _table(self.broker)
        }
        for name, entry in self.principals.items():
            table = _table(entry)
            certificates = table.pop("certificates", None)
            sections[f"principals.{name}"] = table
            if certificates:
                sections[f"principals.{name}.certificates"] = list(map(_table, entry.certificates))
        if self.revoked:
            sections["revoked"] = list(map(_table, self.revoked))
        write_private(path, _HEAD + dump(sections))

    def principal(self, name: str) -> Principal:
        """Return one of them.

        Raises:
            ContractError: NOT_FOUND.
        """
        return Principal(name, self.entry(name).role)

    def entry(self, name: str) -> Entry:
        """Return what is known of one.

        Raises:
            ContractError: NOT_FOUND.
        """
        try:
            return self.principals[name]
        except KeyError:
            raise ContractError(
                ErrorCode.NOT_FOUND,
                f"there is no principal {name!r}",
                "`bioreactor access list` shows them all",
            ) from None

    def changed(self, **fields: object) -> "Register":
        """Return a copy with other fields."""
        return self.model_copy(update=fields)

    @property
    def roles(self) -> tuple[Principal, ...]:
        """All principals."""
        return tuple(Principal(name, entry.role) for name, entry in self.principals.items())

    @property
    def hashes(self) -> dict[str, Hashes]:
        """Of all passwords."""
        return {name: entry.hashes for name, entry in self.principals.items()}


def _table(model: BaseModel) -> dict[str, Value]:
    table: dict[str, Value] = model.model_dump(mode="json", exclude_none=True)
    return {key: value for key, value in table.items() if value not in ((), [])}


def _unusable(path: Path, why: str) -> ContractError:
    return ContractError(
        ErrorCode.UNAVAILABLE,
        f"{path} cannot be used: {why}",
        "mend it, or restore it from a backup; the broker goes on with what it was told before",
    )
