"""What each node is to do, as the assignment that tells it."""

from broker.messages import Assignment, RunLimits
from hub_service.queue import QueueState
from hub_service.queue.state import Stage


def script_of(state: QueueState, name: str) -> str | None:
    """Return the hash of the script that a node's assignment must carry, None if none."""
    node = state.nodes[name]
    intent = node.intent
    if intent is None or intent.desired not in {"run", "pause"} or intent.experiment_id is None:
        return None
    entry = state.entries.get(intent.experiment_id)
    if entry is None or entry.adopted or entry.stage is not Stage.ASSIGNED:
        return None  # the node has its script; one that lost its memory must not run it again
    return entry.plan.script_sha256


def assignment(
    state: QueueState, name: str, limits: RunLimits, script: str | None
) -> Assignment | None:
    """Return what is desired of a node; None where the hub has no opinion yet.

    Nothing is desired of a node before its present report was read in this life of the hub.

    Args:
        state: The queue's, durable.
        name: The node.
        limits: What a run may use where its script declares nothing less.
        script: The text that `script_of` asks for.
    """
    node = state.nodes.get(name)
    if node is None or not node.known or node.intent is None:
        return None
    intent = node.intent
    plain = Assignment(
        revision=node.revision,
        store_id=state.store_id,
        generation=state.generation,
        desired=intent.desired,
        experiment_id=intent.experiment_id,
        attempt=intent.attempt,
        parameters=intent.parameters,
        stop_reason=intent.reason,
    )
    entry = None if intent.experiment_id is None else state.entries.get(intent.experiment_id)
    if entry is None or not intent.about(entry.run):
        return plain
    granted = limits.max_duration if entry.granted is None else entry.granted
    return plain.model_copy(
        update={
            "name": entry.plan.name,
            "owner": entry.plan.owner,
            "script": script,
            "script_sha256": None if script is None else entry.plan.script_sha256,
            "image": entry.plan.image,
            "limits": limits.model_copy(
                update={
                    "max_duration": granted,
                    "max_silence": entry.plan.max_silence,
                }
            ),
        }
    )
