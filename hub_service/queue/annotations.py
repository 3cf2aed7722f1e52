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
    words = wanted(event, known.plan.name, known.note, known.edition)
    if isinstance(words, Error):
        return Decision(state, (Refused(words),))
    if words == (known.plan.name, known.note):
        return Decision(state, (Answered("unchanged", SAME, known.id),))
    name, note = words
    changed = replace(
        known, plan=replace(known.plan, name=name), note=note, edition=known.edition + 1
    )
    return Decision(state.put(changed), (Answered("done", ANNOTATED, known.id),))


def wanted(event: AnnotateAsked, name: str, note: str, edition: int) -> tuple[str, str] | Error:
    """Return name and note as they are to be, or why not: who asks has not seen what is there.

    Nobody is told so of what is there already: it may be their own, whose answer was lost.
    """
    asked = (name if event.name is None else event.name, note if event.note is None else event.note)
    if asked == (name, note) or event.edition in {None, edition}:
        return asked
    return Error(
        code=ErrorCode.CHANGED_MEANWHILE,
        message="somebody else changed the name or the note meanwhile",
        hint="look at what stands there now, then save again",
        details={"name": name, "note": note, "edition": edition},
    )
