"""The portal's settings: section `[portal]` of the configuration file, or `BIOREACTOR_PORTAL_*`."""

import ssl
from pathlib import Path
from typing import ClassVar, Final, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker.logs import Format, Level
from broker.messages import Name

MIN_PASSWORD: Final = 8
_HERE = Path(__file__).resolve().parent


def _own_examples() -> Path | None:
    """Return the folder that comes with the portal: in a wheel beside this file."""
    folders = (_HERE / "example_scripts", _HERE.parent / "examples")
    return next((folder for folder in folders if folder.is_dir()), None)


class PortalSettings(BaseSettings):
    """How one portal runs.

    Attributes:
        id: The portal's principal at the broker; the hub believes `actor` only from the
            principals that its own setting `portals` lists.
        host: The address to listen on. Loopback unless told otherwise.
        port: The port to listen on; 0 picks a free one, which the log names.
        certificate: PEM certificate, with those between it and its authority, to serve HTTPS with;
            read at the start. In a settings file, paths are relative to that file.
        key: The certificate's key.
        data_dir: Holds the site key. Portals of one site share the key, so that a browser is the
            same user at each of them.
        admin: Who may use the administrator's controls: ``everybody`` who reaches the portal, for
            a trusted laboratory, or only who gave `admin_password` at ``/login``.
        admin_password: Wanted with ``admin = "login"``, at least 8 characters.
        allowed_hosts: Names under which browsers reach the portal, besides localhost and `host`.
            Others are refused: a page elsewhere could otherwise point its own name here.
        trusted_proxies: Addresses or networks of reverse proxies whose `X-Forwarded-For` and
            `X-Forwarded-Proto` are believed; nobody else's are.
        examples: A folder of Python files that the upload page offers to start from; left out:
            those that come with it.
        reads_per_second: Sustained rate of reads of one session; short bursts may be 4 s of it.
        writes_per_second: The same for what changes something.
        max_viewers: The most open WebSockets.
        stall_seconds: A WebSocket that takes nothing for so long is dropped.
        ask_timeout: Seconds to wait for the hub's answer to a command.
        log_format: For people, or one JSON object a line.
        log_level: The least that is written.
    """

    model_config = SettingsConfigDict(
        env_prefix="BIOREACTOR_PORTAL_", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    BESIDE_THE_FILE: ClassVar = frozenset({"certificate", "key"})

    id: Name = "portal"
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    certificate: Path | None = None
    key: Path | None = None
    data_dir: Path = Path("/var/lib/bioreactor/portal")
    admin: Literal["everybody", "login"] = "everybody"
    admin_password: SecretStr | None = None
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    examples: Path | None = Field(default_factory=_own_examples)
    reads_per_second: float = Field(default=50.0, gt=0)
    writes_per_second: float = Field(default=5.0, gt=0)
    max_viewers: int = Field(default=1000, ge=1)
    stall_seconds: float = Field(default=5.0, gt=0)
    ask_timeout: float = Field(default=10.0, gt=0)
    log_format: Format = "human"
    log_level: Level = "info"

    @model_validator(mode="after")
    def _login_needs_a_password(self) -> "PortalSettings":
        password = self.admin_password
        if self.admin == "login" and (
            password is None or len(password.get_secret_value()) < MIN_PASSWORD
        ):
            raise ValueError(
                f'admin = "login" needs an admin_password of at least {MIN_PASSWORD} characters'
            )
        return self

    @model_validator(mode="after")
    def _certificate_fits_its_key(self) -> "PortalSettings":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if self.certificate is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
            except OSError as error:
                why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
                raise ValueError(
                    f"{self.certificate} and {self.key} cannot be used: {why}; "
                    "name a certificate and its key in PEM that this service may read"
                ) from error
        return self
