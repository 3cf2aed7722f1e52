"""Settings: a section of a TOML file with the environment over it, and where the broker is."""

import difflib
import logging
import re
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UndecodableError

from broker.topics import Topics

log = logging.getLogger(__name__)

S = TypeVar("S", bound=BaseSettings)

_BETWEEN_URLS: Final = re.compile(r",(?=\s*(?:[a-z]+://|$))")
"""A path may hold commas; what follows one between addresses is a scheme."""
_DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


class SettingsError(ValueError):
    """A setting that cannot be used; the message is one sentence that names where it stands."""


class UnreadableSecretError(SettingsError, OSError):
    """The file that holds a password cannot be read, or holds none."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how a broker is reached.

    Attributes:
        transport: ``unix`` has a path and neither host nor port.
        path: Of the unix socket, or of the WebSocket resource.
        tls: Whether the stream is encrypted.
    """

    transport: Literal["tcp", "websockets", "unix"]
    host: str
    port: int
    path: str
    tls: bool


def parse_url(url: str) -> Endpoint:
    """Return where the URL points to.

    Raises:
        ValueError: It is none of the forms that are understood.
    """
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("put the user name and password into their own settings, not in the URL")
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError("a unix socket is written unix:///absolute/path")
        return Endpoint("unix", "", 0, parts.path, tls=False)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError(
            "the broker's URL must look like mqtt://host:port, mqtts://host:port, "
            "ws://host:port/path, wss://host:port/path or unix:///path"
        )
    if "," in parts.netloc:
        raise ValueError("of several addresses each is written with its scheme, as mqtt://host")
    if not parts.hostname:
        raise ValueError("the broker's URL lacks its host")
    try:
        parts.hostname.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"{parts.hostname!r} cannot be the name of a host") from error
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    web = parts.scheme in {"ws", "wss"}
    if not web and parts.path not in {"", "/"}:
        raise ValueError("a path is possible with ws://, wss:// and unix:// alone")
    path = parts.path or "/"
    if parts.query:
        path += "?" + parts.query
    return Endpoint(
        "websockets" if web else "tcp",
        parts.hostname,
        port,
        path if web else "",
        tls=parts.scheme in {"mqtts", "wss"},
    )


def split_urls(urls: str) -> tuple[str, ...]:
    """Return the addresses of a cluster's servers, which are separated by commas."""
    return tuple(url.strip() for url in _BETWEEN_URLS.split(urls))


def _checked_url(urls: str) -> str:
    for url in split_urls(urls):
        parse_url(url)
    return urls


def _checked_root(root: str) -> str:
    return Topics(root).root


class BrokerSettings(BaseSettings):
    """How a service reaches the broker.

    Attributes:
        url: ``mqtt://host:port``, ``mqtts://…``, ``ws://host:port/path``, ``wss://…`` or
            ``unix:///path``. Mosquitto takes any WebSocket path, NATS wants ``/mqtt``. Of a
            cluster all servers, separated by commas: when one is gone, the next is tried.
        username: The principal's name, which is also the level it speaks in.
        password: The principal's.
        password_file: Holds the password instead; read at each connect, so that a new password
            needs no restart.
        root: The site's root of all topics, one or more levels.
        ca_file: PEM certificates to trust instead of the system's.
        cert_file: PEM certificate of this client, with ``key_file``; all three are read at each
            connect. In a settings file, paths are relative to that file.
        key_file: Its key.
        without_access_lists: The hub accepts a broker at which anybody may speak as anybody.
        keepalive: Seconds; a dead link is noticed after at most twice that.
    """

    BESIDE_THE_FILE: ClassVar = frozenset({"password_file", "ca_file", "cert_file", "key_file"})

    model_config = SettingsConfigDict(
        env_prefix="BIOREACTOR_BROKER_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    url: Annotated[str, AfterValidator(_checked_url)] = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    root: Annotated[str, AfterValidator(_checked_root)] = "bioreactor"
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive: int = Field(default=15, ge=2, le=3600)
    without_access_lists: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> "BrokerSettings":
        if self.password is not None and self.password_file is not None:
            raise ValueError("give password or password_file, not both")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        return self

    def secret(self) -> SecretStr | None:
        """Return the password, read now where it stands in a file of its own.

        Raises:
            UnreadableSecretError: The file cannot be read, or is empty.
        """
        if self.password_file is None:
            return self.password
        try:
            text = self.password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise UnreadableSecretError(
                f"the password in {self.password_file} cannot be read: {why}"
            ) from error
        if not text:
            raise UnreadableSecretError(f"{self.password_file} holds no password: it is empty")
        return SecretStr(text)

    @property
    def endpoint(self) -> Endpoint:
        """Where the URL points to; of several, the first."""
        return parse_url(split_urls(self.url)[0])

    @property
    def servers(self) -> "tuple[BrokerSettings, ...]":
        """The settings for each server alone, in their order."""
        return tuple(self.model_copy(update={"url": url}) for url in split_urls(self.url))


def load_settings(cls: type[S], section: str, path: Path | None) -> S:
    """Return the settings of a section of a TOML file, the environment overriding it.

    Args:
        cls: Its ``env_prefix`` names the environment variables.
        section: Table of the file; an absent table means defaults.
        path: None: the environment alone.

    Raises:
        SettingsError: The file cannot be read, or a key or value is wrong; the message is one
            sentence with the file (or the environment variable) and the key.
    """
    table = {} if path is None else _read_section(path, section)
    if path is not None:
        for key in getattr(cls, "BESIDE_THE_FILE", frozenset()) & table.keys():
            table[key] = path.parent / str(table[key])
    prefix = str(cls.model_config.get("env_prefix", ""))
    try:
        from_environment = EnvSettingsSource(cls)()
    except UndecodableError as error:
        field = str(error).split('"')[1]
        raise SettingsError(
            f"environment variable {(prefix + field).upper()} must be written as JSON"
        ) from error
    merged = _over(table, from_environment)
    try:
        return cls(**merged)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        keys = [str(part) for part in first["loc"]]
        if keys and keys[0] in from_environment:
            where = f"environment variable {(prefix + keys[0]).upper()}"
        else:
            where = f"{path or 'settings'}: [{section}] {'.'.join(keys)}".rstrip()
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"{where} is no setting{_meant(keys, cls)}") from None
        raise SettingsError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _read_section(path: Path, section: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            document = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no UTF-8, no TOML, or a number of too many digits
        raise SettingsError(f"{path} is not TOML: {error}") from error
    except RecursionError:
        raise SettingsError(f"{path}: its values are nested too deeply") from None
    if section not in document:
        near = difflib.get_close_matches(section, document, n=1, cutoff=0.8)
        if near:
            raise SettingsError(f"{path}: [{near[0]}] is no section, did you mean [{section}]?")
        return {}
    table = document[section]
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: {section} must be a table, written [{section}]")
    secret = {
        key
        for key in table
        if ("password" in key and not key.endswith("_file")) or "secret" in key or key == "notify"
    }
    if mode & 0o077 and secret:
        log.warning("%s holds secrets and others may read it: chmod 600 %s", path, path)
    return table


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge nested tables; what stands above wins."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _over(old, value)
        else:
            merged[key] = value
    return merged


def _meant(keys: Sequence[str], cls: type[BaseModel]) -> str:
    """Return the setting that was probably meant, of the model that the last key stands in."""
    *above, last = keys
    model = cls
    for key in above:
        field = model.model_fields.get(key)
        if field is not None:
            model = _model_in(field.annotation) or model
    near = difflib.get_close_matches(last, model.model_fields, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Return the model that an annotation is, or is a collection of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
