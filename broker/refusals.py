"""Why a broker cannot be reached, in one sentence that says what to do about it."""

import ssl
from dataclasses import dataclass
from typing import Final

from broker.messages import ContractError, ErrorCode
from broker.session import NotConnectedError, RefusedError
from broker.settings import BrokerSettings, UnreadableSecretError
from broker.streams import BadCertificateFileError

# X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_REVOKED: Final = 23
_WRONG_NAME: Final = frozenset({62, 64})

_ALERTS: Final = {
    "CERTIFICATE_EXPIRED": "our certificate has expired",
    "CERTIFICATE_REVOKED": "our certificate was revoked",
    "UNKNOWN_CA": "our certificate is not from its authority",
    "UNSUPPORTED_CERTIFICATE": "our certificate is not one for clients",
    "CERTIFICATE_UNKNOWN": "our certificate is not one that it accepts",
    "BAD_CERTIFICATE": "our certificate is not one that it accepts",
    "CERTIFICATE_REQUIRED": "it wants a certificate, and the settings name none",
    "HANDSHAKE_FAILURE": "it wants a certificate, and accepts none that the settings name",
}


class AccessRefusedError(ContractError):
    """The broker, or we, refuse the connection, and waiting will not change that."""

    def __init__(self, refusal: "Refusal", url: str) -> None:
        super().__init__(
            ErrorCode.UNAUTHENTICATED, f"no connection to {url}: {refusal.why}", refusal.remedy
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no connection.

    Attributes:
        why: For people.
        remedy: What to do; empty where waiting is all that there is to do.
    """

    why: str
    remedy: str = ""

    @property
    def lasting(self) -> bool:
        """Whether it stays so until somebody does something."""
        return bool(self.remedy)

    def __str__(self) -> str:
        """Both in one sentence."""
        return f"{self.why}; {self.remedy}" if self.remedy else self.why


def explain(error: OSError, settings: BrokerSettings) -> Refusal:
    """Return what an attempt to connect failed of."""
    cause: BaseException = error
    if isinstance(error, NotConnectedError) and isinstance(error.__cause__, ssl.SSLError):
        cause = error.__cause__
    match cause:
        case UnreadableSecretError():
            return Refusal(str(cause), "make the file readable for this service")
        case BadCertificateFileError():
            return Refusal(
                str(cause), "name files in PEM that this service may read: ca_file, cert_file, …"
            )
        case RefusedError(credentials=True):
            return Refusal(
                f"the broker refuses {settings.username or 'whoever gives no user name'}: "
                "wrong password, or no such principal",
                "`bioreactor access list` at the broker shows the principals, "
                "`rotate` makes a new password",
            )
        case ssl.SSLCertVerificationError():
            return _their_certificate(cause, settings)
        case ssl.SSLError():
            return _tls(cause)
        case TimeoutError():
            return Refusal(str(error) or "it does not answer")
        case _:
            return Refusal(str(error) or type(error).__name__)


def _their_certificate(error: ssl.SSLCertVerificationError, settings: BrokerSettings) -> Refusal:
    host = settings.endpoint.host
    if error.verify_code == _EXPIRED:
        return Refusal(
            "the broker's certificate has expired",
            "`bioreactor access certificates --renew` at the broker makes a new one",
        )
    if error.verify_code == _NOT_YET_VALID:
        return Refusal(
            "the broker's certificate is not valid yet",
            "set the clock of this machine, or of the one where it was made, right",
        )
    if error.verify_code in _WRONG_NAME:
        return Refusal(
            f"the broker's certificate is not for the name {host}",
            f"call the broker by a name that it is for, or run `bioreactor access certificates "
            f"--name {host}` at the broker",
        )
    if error.verify_code == _REVOKED:
        return Refusal(
            "the broker's certificate was revoked",
            "`bioreactor access certificates --renew` at the broker makes a new one",
        )
    trusted = "the system trusts" if settings.ca_file is None else f"{settings.ca_file} trusts"
    return Refusal(
        f"the broker's certificate is from no authority that {trusted} ({error.verify_message})",
        "set ca_file to the ca.crt of this broker, from the folder that `bioreactor access` made",
    )


def _tls(error: ssl.SSLError) -> Refusal:
    reason = error.reason or str(error)
    if reason == "WRONG_VERSION_NUMBER":
        return Refusal(
            "what answers there does not speak TLS",
            "take the broker's encrypted port, or mqtt:// (ws://) for the plain one",
        )
    for alert, why in _ALERTS.items():
        if reason.endswith(alert):
            return Refusal(
                f"the broker refuses: {why}",
                "copy the principal's folder again from the broker, after `bioreactor access "
                "certificates --renew` or `rotate` there",
            )
    return Refusal(f"no encrypted connection: {reason.lower().replace('_', ' ')}")
