"""The way from a script to its reactor: HTTP over the unix socket that the script was lent.

Standard library only. Whatever changes something carries an id, so a call that was cut off, for
example because the node restarted, is repeated with the same id and happens once.
"""

import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from types import FrameType
from typing import Any, BinaryIO, Final

SOCKET_VARIABLE: Final = "BIOREACTOR_SOCKET"
PATIENCE: Final = 3600.0
"""Seconds that a call waits for a node that does not answer."""
_LAST_PATIENCE: Final = 3.0
"""The same once the experiment is being stopped."""
_SILENCE: Final = 900.0
"""Seconds without an answer after which a call is repeated."""
_AWAY: Final = (ConnectionError, FileNotFoundError, TimeoutError, BlockingIOError)
"""What connecting to a node that restarts, or has too much to do, ends with."""
_PAUSES: Final = (0.0, 0.05, 0.1, 0.2, 0.5)
_SAY_AFTER: Final = 4.0
"""Seconds of waiting for a node after which that is said."""


class BioreactorError(Exception):
    """Base of everything that the reactor refuses or cannot do.

    Attributes:
        code: Stable, for programs; see the reference of error codes.
        message: One sentence: what is wrong.
        hint: One sentence: what to do.
        details: Facts for programs, for example ``{"limit": "max_hourly_ml", "left": 0.4}``.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "INTERNAL",
        hint: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details: Mapping[str, Any] = details or {}


class NoReactorError(SystemExit):
    """The script runs where no reactor was lent to it.

    A SystemExit, so that a script run by hand ends with one sentence and without a traceback.
    """

    def __init__(self) -> None:
        script = os.path.basename(sys.argv[0]) or "the script"  # noqa: PTH119 - a name, no path
        super().__init__(
            f"{script} has no reactor here: queue it with `bioreactor submit {script} --follow`, "
            "or upload it on the portal."
        )


class UnknownChannel(BioreactorError):  # noqa: N818 - reads better in an except clause
    """The reactor has no channel of that name."""


class NotAnActuator(BioreactorError):  # noqa: N818 - reads better in an except clause
    """The channel cannot be set, or is not a pump."""


class OutOfRangeError(BioreactorError):
    """The value is outside the channel's range; nothing was changed."""


class LimitError(BioreactorError):
    """A limit would be broken; nothing was changed. `details` say which one and what is left."""


class DoseLimitError(LimitError):
    """A pump's limit would be broken; `details` say which one and how many mL are left of it."""


class InterlockError(BioreactorError):
    """The reactor's state forbids it, for example a full vessel."""


class EmergencyStop(BioreactorError):  # noqa: N818 - it is no error of the script
    """Somebody stopped the reactor; the experiment is about to end."""


class LeaseEnded(BioreactorError):  # noqa: N818 - it is no error of the script
    """The reactor is no longer lent to this experiment."""


class OutputsReset(BioreactorError):  # noqa: N818 - it is no error of the script
    """The node restarted: direct outputs are off, setpoints were restored. Told once.

    The call that told it did nothing, unless it is a dose that was under way then: its details
    say in ``delivered_ml`` how much came at most. Set what must be on again, then go on.
    """


class HardwareError(BioreactorError):
    """A device does not do what it was asked to."""


class UnavailableError(BioreactorError):
    """The node did not answer for an hour."""


_BY_CODE: Final[Mapping[str, type[BioreactorError]]] = {
    "UNKNOWN_CHANNEL": UnknownChannel,
    "NOT_AN_ACTUATOR": NotAnActuator,
    "OUT_OF_RANGE": OutOfRangeError,
    "LIMIT": LimitError,
    "INTERLOCK": InterlockError,
    "ESTOP": EmergencyStop,
    "LEASE_ENDED": LeaseEnded,
    "OUTPUTS_RESET": OutputsReset,
    "HARDWARE": HardwareError,
    "UNAVAILABLE": UnavailableError,
}


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("reactor", timeout=_SILENCE)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


class Gateway:
    """Calls to the gateway. Safe in threads: each call has a connection of its own.

    Args:
        path: Of the unix socket.
        patience: Seconds that a call waits for a node that does not answer.
    """

    def __init__(self, path: str, *, patience: float = PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self.stopping = False

    def get(self, path: str, **query: object) -> Any:
        """Ask for something.

        Raises:
            BioreactorError: It was refused, or the node did not answer for too long.
        """
        if query:
            path += "?" + urllib.parse.urlencode(query)
        return self._call("GET", path, lambda: None, {})

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Do something once, however often the call must be repeated.

        Raises:
            BioreactorError: It was refused, or the node did not answer for too long.
        """
        text = json.dumps({**body, "id": uuid.uuid4().hex}, allow_nan=False).encode()
        return self._call("POST", path, lambda: text, {"Content-Type": "application/json"})

    def put(self, path: str, content: Callable[[], BinaryIO], size: int) -> Any:
        """Store a file.

        Args:
            path: Of the call; quoted here.
            content: Opens the content from its start, once for each try.
            size: Bytes in it.

        Raises:
            BioreactorError: It was refused, or the node did not answer for too long.
        """
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return self._call("PUT", urllib.parse.quote(path), content, headers)

    def _call(
        self,
        method: str,
        path: str,
        content: Callable[[], bytes | BinaryIO | None],
        headers: Mapping[str, str],
    ) -> Any:
        since, tries, said = time.monotonic(), 0, False
        while True:
            try:
                status, answer = self._once(method, path, content(), headers)
            except (*_AWAY, http.client.HTTPException):
                status, answer = http.HTTPStatus.SERVICE_UNAVAILABLE, b""
            if status < http.HTTPStatus.BAD_REQUEST:
                return json.loads(answer)
            error = _error(status, answer, dosing=path.endswith("/dose"))
            waited = time.monotonic() - since
            patience = _LAST_PATIENCE if self.stopping else self._patience
            if not isinstance(error, UnavailableError) or waited > patience:
                raise error
            if waited > min(_SAY_AFTER, patience) and not said:
                print("bioreactor: the node does not answer, waiting for it", file=sys.stderr)
                said = True
            time.sleep(_PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1

    def _once(
        self, method: str, path: str, content: bytes | BinaryIO | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        try:
            with closing(_UnixConnection(self._path)) as connection:
                # A gateway that refuses a large body answers and hangs up before all is sent.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, "/v1" + path, content, dict(headers))
                response = connection.getresponse()
                return response.status, response.read()
        finally:
            if content is not None and not isinstance(content, bytes):
                content.close()


def _error(status: int, answer: bytes, *, dosing: bool) -> BioreactorError:
    try:
        told = json.loads(answer)["error"]
        code, message = str(told["code"]), str(told["message"])
        hint, details = str(told.get("hint", "")), dict(told.get("details", {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        hint, details = "", {}
        if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            # The gateway gives reasons for its errors: this is a node that ends in mid-call.
            code, message = "UNAVAILABLE", "the node does not answer"
        else:
            code, message = "INTERNAL", f"the node answered with HTTP status {status}"
    kind = _BY_CODE.get(code, BioreactorError)
    kind = DoseLimitError if dosing and kind is LimitError else kind
    return kind(message, code=code, hint=hint, details=details)


_lock = threading.Lock()
_gateways: dict[str, Gateway] = {}


def gateway() -> Gateway:
    """Return the way to the reactor that was lent to this process.

    Raises:
        NoReactorError: None was.
    """
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        raise NoReactorError
    with _lock:
        return _gateways.setdefault(path, Gateway(path))


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """End the script as `sys.exit` would, so that its ``finally`` blocks run in the time left."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for way in _gateways.values():
        way.stopping = True
    raise SystemExit(128 + signal.SIGTERM)


if SOCKET_VARIABLE in os.environ and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, _stop)
