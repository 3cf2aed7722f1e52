"""How an attempt ended, in one sentence with a remedy. Pure."""

import signal
from datetime import datetime

from broker.messages import Error, ErrorCode, Estop, RunLimits
from node_service.remedies import last_words, remedy
from node_service.runner.interface import Exit, RunnerError
from node_service.runs import Ending

_CUTS_OFF = frozenset({signal.SIGTERM, signal.SIGKILL})
"""What an engine or a machine that stops sends; see docs/decisions/0029-who-sent-a-signal.md.

A script can send them to itself as well, or exit with 128 and their number, and nobody can tell
that from the other: it counts as interrupted.
"""
_REPEAT = (
    'the data up to then is kept; set on_interruption = "requeue" in the script to have such a run '
    "repeated"
)

LOST = Ending(
    outcome="failed",
    interrupted=True,
    error=Error(
        code=ErrorCode.INTERRUPTED,
        message="the run was cut off: its container was gone when the node came back",
        hint=_REPEAT,
    ),
)
SHUT_DOWN = Ending(
    outcome="failed",
    interrupted=True,
    error=Error(
        code=ErrorCode.INTERRUPTED,
        message="the run was stopped because its node was shut down",
        hint="the data up to then is kept; submit the experiment again if it is still wanted",
    ),
)


def of_exit(
    ended: Exit | None,
    limits: RunLimits,
    *,
    booted_at: datetime | None = None,
    complaint: str = "",
) -> Ending:
    """Return what a container's end means for the experiment.

    Args:
        ended: None if the container is gone.
        limits: Of the run.
        booted_at: When the machine was started, if that was after the script began.
        complaint: The last line that the script wrote to standard error.
    """
    if ended is None or (booted_at is not None and ended.finished_at >= booted_at):
        return LOST
    if ended.signal in _CUTS_OFF and not ended.oom_killed and not ended.error:
        return _cut_off(ended.exit_code, signal.Signals(ended.signal))
    error = _why(ended, limits, complaint)
    return Ending(
        outcome="completed" if error is None else "failed", exit_code=ended.exit_code, error=error
    )


def _cut_off(exit_code: int, by: signal.Signals) -> Ending:
    """Return the ending of a run that nobody at the node ended: perhaps its script, by a signal."""
    return Ending(
        outcome="failed",
        interrupted=True,
        exit_code=exit_code,
        error=Error(
            code=ErrorCode.INTERRUPTED,
            message=f"the run was cut off: its script was ended by {by.name}, which this node did "
            "not send: the container engine or the machine was stopped, or the script sent it",
            hint=f"{_REPEAT}; a script that ends itself must do so with sys.exit",
            details={"signal": int(by)},
        ),
    )


def over_time(limits: RunLimits) -> Ending:
    """Return the ending of a run that took longer than it may."""
    return _limit(
        "max_duration",
        limits.max_duration,
        f"the experiment took longer than its {limits.max_duration:g} s",
        "set a longer max_duration in the script, or have the script end in time",
    )


def silent(limits: RunLimits) -> Ending:
    """Return the ending of a run whose script said nothing for too long."""
    seconds = limits.max_silence or 0.0
    return _limit(
        "max_silence",
        seconds,
        f"the script said nothing to its reactor for {seconds:g} s",
        "it may hang; set a longer max_silence if it works that long without reading or acting",
    )


def emergency(estop: Estop) -> Ending:
    """Return the ending of a run that an emergency stop cut off."""
    return Ending(
        outcome="failed",
        error=Error(
            code=ErrorCode.ESTOP,
            message=f"the emergency stop was engaged by {estop.by}"
            + (f": {estop.reason}" if estop.reason else ""),
            hint="look at the reactor, release the stop, then submit the experiment again",
            details={"latch": estop.latch},
        ),
    )


def doubted(channel: str | None, why: str) -> Ending:
    """Return the ending of a run whose reactor cannot believe one of its sensors."""
    return Ending(
        outcome="failed",
        error=Error(
            code=ErrorCode.HARDWARE,
            message=f"the run was stopped, as configured for this sensor: {why}",
            hint="put the sensor right, then submit the experiment again",
            details={} if channel is None else {"channel": channel},
        ),
    )


def faulty(device: str, why: str) -> Ending:
    """Return the ending of a run whose reactor has lost one of its devices."""
    return Ending(
        outcome="failed",
        error=Error(
            code=ErrorCode.HARDWARE,
            message=f"the run was stopped and everything made safe: {device}: {why}",
            hint="look at the device, its power and its cable, then submit the experiment again; "
            f"on_fault of [devices.{device}] in reactor.toml says what happens",
            details={"device": device},
        ),
    )


def not_started(error: RunnerError) -> Ending:
    """Return the ending of a run whose container could not be started."""
    return Ending(
        outcome="failed",
        error=Error(
            code=ErrorCode.ENGINE,
            message=f"the container could not be started: {error.message}",
            hint=error.hint or "an administrator must look at the node's container engine",
        ),
    )


def no_image(error: RunnerError) -> Ending:
    """Return the ending of a run whose image this node does not offer, or not any more."""
    return Ending(
        outcome="failed",
        error=Error(
            code=ErrorCode.NOT_FOUND,
            message=error.message,
            hint=f"{error.hint}: name one of these in the script, or ask an administrator for it",
        ),
    )


def damaged() -> Ending:
    """Return the ending of a run whose script is not the one that was submitted."""
    return Ending(
        outcome="failed",
        error=Error(
            code=ErrorCode.MALFORMED,
            message="the script that reached the node is not the one that was submitted",
            hint="submit the experiment again",
        ),
    )


def sentence(ending: Ending, elapsed: float) -> str:
    """Return what the experiment's log says at its end."""
    if ending.outcome == "completed":
        return f"The script ended by itself after {elapsed:.1f} s."
    verb = "was cancelled" if ending.outcome == "cancelled" else "failed"
    why = "" if ending.error is None else f": {ending.error.message}"
    return f"The experiment {verb} after {elapsed:.1f} s{why}."


def _why(ended: Exit, limits: RunLimits, complaint: str) -> Error | None:
    # A script that saw one of its processes killed and still ended well has done its work.
    if ended.oom_killed and ended.exit_code != 0:
        return _limit(
            "memory",
            limits.memory,
            f"the script used more than its {limits.memory // 1024**2} MiB of memory",
            "hold less data at a time, or ask an administrator for a higher limit",
        ).error
    if ended.error:
        return Error(
            code=ErrorCode.ENGINE,
            message=f"the container engine could not run the script: {ended.error}",
            hint="an administrator must look at the node's container engine",
        )
    if ended.exit_code == 0:
        return None
    if ended.signal is not None:
        name = signal.Signals(ended.signal).name if ended.signal in _SIGNALS else "unknown"
        return Error(
            code=ErrorCode.SCRIPT_FAILED,
            message=f"the script was ended by signal {ended.signal} ({name})",
            hint="the end of its log may say more; a crash in a compiled package looks like this",
            details={"signal": ended.signal},
        )
    words = last_words(complaint)
    return Error(
        code=ErrorCode.SCRIPT_FAILED,
        message=f"the script ended with exit code {ended.exit_code}"
        + (f": {words}" if words else ""),
        hint=remedy(words, limits) or "the end of its log says why",
        details={"exit_code": ended.exit_code},
    )


_SIGNALS = frozenset(signal.Signals)


def _limit(limit: str, value: float, message: str, hint: str) -> Ending:
    return Ending(
        outcome="failed",
        error=Error(
            code=ErrorCode.LIMIT,
            message=message,
            hint=hint,
            details={"limit": limit, "value": value},
        ),
    )
