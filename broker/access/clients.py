"""The folder that a client is given: how it reaches the broker and how it proves who it is.

`broker.toml` is what services and the command line take with `--config`; the files that are called
like the programs are what mosquitto_pub and its like read where XDG_CONFIG_HOME names the folder.
"""

from pathlib import Path
from typing import Final, TypedDict

from broker.access.certificates import Issued
from broker.identity import write_private
from broker.settings import BrokerSettings, parse_url, split_urls
from broker.toml import Value, dump

SETTINGS: Final = "broker.toml"
PASSWORD: Final = "password"  # noqa: S105  a file's name
CA_CERTIFICATE: Final = "ca.crt"
CERTIFICATE: Final = "client.crt"
KEY: Final = "client.key"
PROGRAMS: Final = ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr")


def write_secrets(folder: Path, *, password: str | None, issued: Issued | None, ca: str) -> None:
    """Write what proves who the client is; None leaves what is there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    if password is not None:
        write_private(folder / PASSWORD, password + "\n")
    if issued is not None:
        write_private(folder / CA_CERTIFICATE, ca)
        write_private(folder / KEY, issued.key)
        write_private(folder / CERTIFICATE, issued.certificate)


def write_settings(folder: Path, name: str, url: str, root: str) -> None:
    """Write how the client reaches the broker, with the secrets that its folder has."""
    settings = settings_in(folder, name, url, root)
    section: dict[str, Value] = {
        "url": url,
        "root": root,
        "username": name,
        "password_file": PASSWORD,
    }
    if settings.cert_file is not None:
        section |= {"ca_file": CA_CERTIFICATE, "cert_file": CERTIFICATE, "key_file": KEY}
    write_private(folder / SETTINGS, dump({"broker": section}))
    write_mosquitto_options(folder, settings)


def settings_in(folder: Path, name: str, url: str, root: str) -> BrokerSettings:
    """Return the settings that fit the secrets in a folder."""
    return BrokerSettings(
        url=url,
        root=root,
        username=name,
        password_file=folder / PASSWORD,
        **certified(folder, url),
    )


class Certified(TypedDict, total=False):
    """The settings of a client that has a certificate."""

    ca_file: Path
    cert_file: Path
    key_file: Path


def certified(folder: Path, url: str) -> Certified:
    """Return the settings of the certificate in a folder, where the URL asks for one."""
    if not parse_url(split_urls(url)[0]).tls or not (folder / CERTIFICATE).exists():
        return {}
    return {
        "ca_file": folder / CA_CERTIFICATE,
        "cert_file": folder / CERTIFICATE,
        "key_file": folder / KEY,
    }


def write_mosquitto_options(folder: Path, settings: BrokerSettings) -> None:
    """Write an options file for each mosquitto client (mosquitto_pub(1), "Files").

    They speak TCP alone; where the settings say WebSockets, none are written.
    """
    endpoint = settings.endpoint
    secret = settings.secret()
    if endpoint.transport != "tcp":
        return
    lines = [f"-h {endpoint.host}", f"-p {endpoint.port}"]
    if settings.username is not None and secret is not None:
        lines += [f"-u {settings.username}", f"-P {secret.get_secret_value()}"]
    if endpoint.tls and settings.ca_file is not None:
        lines.append(f"--cafile {settings.ca_file}")
    if endpoint.tls and settings.cert_file is not None:
        lines += [f"--cert {settings.cert_file}", f"--key {settings.key_file}"]
    for program in PROGRAMS:
        write_private(folder / program, "\n".join(lines) + "\n")
