"""A small certificate authority of a site: it vouches for the broker and for its clients.

Keys are P-256, which every TLS library of the last ten years speaks. Nothing here is encrypted with
a passphrase that would have to stand beside it: the files are of mode 0600, and the authority's key
is wanted by nobody but `bioreactor access`.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.identity import write_private
from broker.messages import ContractError, ErrorCode

AUTHORITY_DAYS: Final = 3650
_CLOCKS_DIFFER: Final = timedelta(hours=1)
"""Certificates are valid from so long ago: no two clocks agree."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, in PEM.

    Attributes:
        serial: In hexadecimal.
        until: When it expires, UTC.
    """

    certificate: str
    key: str
    serial: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Revoked:
    """A certificate that is no longer to be believed."""

    serial: str
    since: datetime


class Authority:
    """Signs certificates; made by `create` or `open`."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, directory: Path, site: str, now: datetime) -> Self:
        """Make an authority and keep it in a directory.

        Args:
            directory: Gets `ca.crt` and `ca.key` (0600).
            site: Whose authority it is; stands in its name.
            now: With its zone; it is valid for ten years.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"Bioreactor authority of {site}"[:64])
        certificate = (
            _begun(name, name, key.public_key(), now, timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        write_private(directory / "ca.key", _pem_of_key(key))
        write_private(directory / "ca.crt", _pem(certificate))
        return cls(certificate, key)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read what `create` wrote.

        Raises:
            ContractError: UNAVAILABLE; there is none, or its files cannot be used.
        """
        try:
            certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
            key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        except (OSError, ValueError) as error:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"the certificate authority in {directory} cannot be used: {error}",
                "restore the directory from a backup; or remove it and make a new authority with "
                "`bioreactor access certificates`, whose certificates every client then needs",
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"{directory / 'ca.key'} is no key of this system's authority",
                "restore it from a backup",
            )
        return cls(certificate, key)

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether an authority was made there."""
        return (directory / "ca.crt").exists() or (directory / "ca.key").exists()

    @property
    def certificate(self) -> str:
        """What clients and broker need to believe it, in PEM."""
        return _pem(self._certificate)

    @property
    def until(self) -> datetime:
        """When it expires, and everything that it signed, UTC."""
        return self._certificate.not_valid_after_utc

    def server(
        self, names: Sequence[str], now: datetime, days: float, *, among_servers: bool = False
    ) -> Issued:
        """Return a certificate for a broker or a portal.

        Args:
            names: Host names and addresses by which clients call it.
            now: With its zone.
            days: How long it is valid; not longer than the authority.
            among_servers: It is shown to the other servers of a cluster, too.
        """
        called = [_general_name(name) for name in names]
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH]
        if among_servers:
            purposes.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._issue(
            names[0],
            purposes,
            now,
            days,
            (x509.SubjectAlternativeName(called), False),
        )

    def client(self, name: str, now: datetime, days: float) -> Issued:
        """Return a certificate for a principal."""
        return self._issue(name, [ExtendedKeyUsageOID.CLIENT_AUTH], now, days)

    def revocations(self, revoked: Iterable[Revoked], now: datetime) -> str:
        """Return the list of certificates not to be believed, in PEM.

        It is valid as long as the authority: a broker refuses everybody once its list is too old.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - _CLOCKS_DIFFER)
            .next_update(self.until)
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
            .add_extension(self._signer(), critical=False)
        )
        for one in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(one.serial, 16))
                .revocation_date(one.since)
                .build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM).decode()

    def _issue(
        self,
        name: str,
        purposes: Sequence[x509.ObjectIdentifier],
        now: datetime,
        days: float,
        *more: tuple[x509.ExtensionType, bool],
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        valid = min(timedelta(days=days), self.until - now)
        builder = (
            _begun(_name(name[:64]), self._certificate.subject, key.public_key(), now, valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(self._signer(), critical=False)
        )
        for extension, critical in more:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(
            _pem(certificate),
            _pem_of_key(key),
            f"{certificate.serial_number:x}",
            certificate.not_valid_after_utc,
        )

    def _signer(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


_PEM: Final = serialization.Encoding.PEM


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    valid: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + valid) - _CLOCKS_DIFFER)
        .not_valid_after(now + valid)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name.encode("idna").decode())
    except UnicodeError:
        raise ContractError(
            ErrorCode.MALFORMED,
            f"{name!r} cannot be the name of a host",
            "give the names and addresses by which clients call the broker",
        ) from None


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(_PEM).decode()


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        _PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
