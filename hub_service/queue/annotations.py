"""Names and notes, which people change whatever an experiment is doing."""

from dataclasses import replace

from broker.messages import Error, ErrorCode
from hub_service.queue.commands import found
from hub_service.queue.events import AnnotateAsked, Answered, Decision, Refused, refuse
from hub_service.queue.state import QueueState, Stage

ANNOTATED = "name and note are kept"
SAME = "name and note are these already"


def annotate(state: QueueState, event: AnnotateAsked) -> Decision:
    """Change name and note of one that is not over."""
    entry = state.entries.get(event.experiment_id)
    if entry is not None and entry.stage is Stage.ENDED:
        return refuse(
            state,
            ErrorCode.UNAVAILABLE,
            "the experiment has ended and is being put into the archive",
            "ask again in a moment",
        )
    known = found(state, event.experiment_id)
    if isinstance(known, Decision):
        return known
    if event.edition is not None and event.edition != known.edition:
        crossed = conflict(known.plan.name, known.note, known.edition)
        return Decision(state, (Refused(crossed),))
    name = known.plan.name if event.name is None else event.name
    note = known.note if event.note is None else event.note
    if (name, note) == (known.plan.name, known.note):
        return Decision(state, (Answered("unchanged", SAME, known.id),))
    changed = replace(
        known, plan=replace(known.plan, name=name), note=note, edition=known.edition + 1
    )
    return Decision(state.put(changed), (Answered("done", ANNOTATED, known.id),))


def conflict(name: str, note: str, edition: int) -> Error:
    """Return what is told to who would overwrite what they have not seen."""
    return Error(
        code=ErrorCode.CHANGED_MEANWHILE,
        message="somebody else changed the name or the note meanwhile",
        hint="look at what stands there now, then save again",
        details={"name": name, "note": note, "edition": edition},
    )
