"""What becomes of a submission: its plan, and where it stands or would stand."""

from datetime import datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final

from broker.messages import Check, Prospect, StartForecast, Submit
from broker.requests import Asked
from hub_service.authority import handle
from hub_service.queue import Plan, QueueState, decide, events
from hub_service.queue.durations import Durations
from hub_service.queue.estimates import forecast
from hub_service.queue.reasons import detail
from hub_service.scripts import Verdict

_NAME_LENGTH: Final = 120
_NOBODY: Final = "0" * 26
"""The id of what is only imagined."""


def plan_of(asked: Asked, request: Submit | Check, verdict: Verdict, experiment_id: str) -> Plan:
    """Return the experiment that a request asks for."""
    info = verdict.info
    given, filename = (
        (request.name, request.filename) if isinstance(request, Submit) else (None, None)
    )
    return Plan(
        experiment_id=experiment_id,
        name=given or info.name or _title(filename),
        user=asked.user,
        owner=handle(asked),
        script_sha256=verdict.sha256,
        image=info.image,
        needs=info.needs,
        packages=verdict.packages,
        node=info.node,
        duration=info.duration,
        max_duration=info.max_duration,
        max_silence=info.max_silence,
        on_interruption=info.on_interruption,
        parameters=verdict.parameters,
        warnings=verdict.warnings,
    )


def outlook(
    state: QueueState, experiment_id: str, durations: Durations, now: datetime
) -> tuple[int | None, StartForecast | None, str]:
    """Return an experiment's place in the queue, when it starts, and what keeps it from that."""
    entry = state.entries[experiment_id]
    place = state.position(experiment_id)
    start = forecast(state, now, durations, experiment_id)
    return place, start, detail(state, entry) if place is not None else ""


def prospect(
    state: QueueState,
    asked: Asked,
    request: Check,
    verdict: Verdict,
    *,
    durations: Durations,
    now: datetime,
) -> Prospect:
    """Return where a submission would stand; the queue is played on, and nothing changed."""
    imagined = plan_of(asked, request, verdict, _NOBODY)
    decision = decide(state, events.Submitted(imagined), now)
    if decision.refusal is not None:
        return Prospect(refusal=decision.refusal)
    place, start, why = outlook(decision.state, _NOBODY, durations, now)
    return Prospect(queue_position=place, forecast=start, waiting_for=why)


def _title(filename: str | None) -> str:
    """Return a name for an experiment from its file's, without folders and ending."""
    name = PurePosixPath(PureWindowsPath(filename or "").as_posix()).stem
    plain = "".join(ch for ch in name if ch.isprintable()).strip()[:_NAME_LENGTH].strip()
    return plain or "experiment"
