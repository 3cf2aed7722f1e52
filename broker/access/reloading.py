"""Has a running broker read its files again, without a restart."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Final

from broker.access.register import Target
from broker.messages import ContractError, ErrorCode

_PROGRAMS: Final = frozenset({"mosquitto", "nats-server"})
_COMMAND_TIMEOUT_S: Final = 30.0


def reload(target: Target) -> bool:
    """Tell the broker; return whether one runs that could be told.

    It reads its files a moment later. Without a pid file no broker runs: it will read them when it
    starts.

    Raises:
        ContractError: UNAVAILABLE; it could not be told.
    """
    if target.reload:
        _run(target.reload)
        return True
    if target.pid_file is None:
        raise ContractError(
            ErrorCode.UNAVAILABLE,
            "nothing says how the broker is told to read its files again",
            "run `bioreactor access init` once more, with --pid-file or --reload",
        )
    return _signal(target.pid_file)


def _signal(pid_file: Path) -> bool:
    try:
        pid = int(pid_file.read_text(encoding="ascii").strip())
        handle = os.pidfd_open(pid)
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise _not_told(f"{pid_file} names no running process ({error})") from error
    try:
        # The number may have passed to another program, which the signal would end.
        program = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        if program not in _PROGRAMS:
            raise _not_told(f"{pid_file} names process {pid}, which is no broker but {program}")
        signal.pidfd_send_signal(handle, signal.SIGHUP)
    except OSError as error:
        raise _not_told(f"process {pid} of {pid_file} was not told: {error.strerror}") from error
    finally:
        os.close(handle)
    return True


def _run(command: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _not_told(f"`{' '.join(command)}` did not work: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise _not_told(
            f"`{' '.join(command)}` ended with status {done.returncode}: {said[-1][:300]}"
        )


def _not_told(why: str) -> ContractError:
    return ContractError(
        ErrorCode.UNAVAILABLE,
        f"the change is written down, but the broker was not told: {why}",
        "restart the broker, or mend --pid-file or --reload with `bioreactor access init`",
    )
