"""Why an experiment is where it is: one sentence for people."""

from datetime import datetime

from broker.messages import Phase, Posture
from hub_service.queue.settle import may_run
from hub_service.queue.state import Entry, QueueState, Stage


def detail(state: QueueState, entry: Entry) -> str:
    """Return one sentence on what an experiment waits for, empty where there is nothing to say."""
    if entry.stage is Stage.WAITING:
        return "" if entry.held else _why_waiting(state, entry)
    if entry.stage is Stage.ENDED:
        return ""
    away = unreachable(state, entry)
    if away:
        return away
    if entry.stage is Stage.RELEASED:
        return "the script has ended, results are on their way"
    awaited = (
        entry.stage is Stage.ASSIGNED
        or entry.phase in {Phase.PAUSING, Phase.RESUMING}
        or (entry.want == "stop" and entry.stage is not Stage.STOPPING)
    )
    return f"waiting for the reactor since {since(entry):%H:%M} UTC" if awaited else ""


def since(entry: Entry) -> datetime:
    """Return when the phase began: with the wish where the node has not followed it yet."""
    wish = entry.want_since
    following = entry.phase in {Phase.PAUSING, Phase.RESUMING, Phase.STOPPING}
    if wish is None or not following or entry.stage is Stage.STOPPING:
        return entry.since
    return wish


def unreachable_since(state: QueueState, entry: Entry) -> datetime | None:
    """Return when the reactor of an experiment was last heard of, None while it is there."""
    if entry.node is None or entry.stage in {Stage.WAITING, Stage.ENDED}:
        return None
    node = state.node(entry.node)
    return None if node.online else node.heard


def unreachable(state: QueueState, entry: Entry) -> str:
    """Return a sentence on a reactor that is away with its experiment, else nothing."""
    if entry.node is None or state.node(entry.node).online:
        return ""
    heard = state.node(entry.node).heard
    if heard is None:
        return f"nothing was heard of {entry.node} since the hub started; it may well be running on"
    if entry.stage is Stage.RELEASED:
        return (
            f"{entry.node} is unreachable since {heard:%Y-%m-%d %H:%M} UTC; "
            "its results come when it is back"
        )
    wish = {"stop": "; it is told to stop when it is back", "pause": "; it is told to pause then"}
    return (
        f"{entry.node} is unreachable since {heard:%Y-%m-%d %H:%M} UTC; it may well be running on"
        + wish.get(entry.want, "")
    )


def _why_waiting(state: QueueState, entry: Entry) -> str:
    suitable = {n: k for n, k in state.nodes.items() if may_run(entry, n, k)}
    if not suitable:
        return _unsatisfied(state, entry)
    if state.posture is not Posture.RUNNING:
        return f"the queue is {state.posture}"
    if all(node.withheld is not None for node in suitable.values()):
        (name, withheld), *others = [(n, k.withheld) for n, k in suitable.items() if k.withheld]
        why = f"{name} is {withheld.reason}: nothing is started there"
        return f"{why}, nor on the others that satisfy it" if others else why
    if not any(node.online for node in suitable.values()):
        return "its reactor is offline" if len(suitable) == 1 else "its reactors are offline"
    return ""


def _unsatisfied(state: QueueState, entry: Entry) -> str:
    """Say what it is that no reactor has, judged by those that it may run on at all."""
    plan = entry.plan
    wanted = entry.pinned or plan.node
    offers = {n: k.offer for n, k in state.nodes.items() if k.offer is not None}
    if not offers:
        return "no reactor has said yet what it offers"
    if wanted is not None:
        if wanted not in offers:
            return f"it waits for {wanted}: there is no such reactor now"
        offers = {wanted: offers[wanted]}
    who = "no reactor has it" if wanted is None else f"{wanted} does not have it"
    who_all = who.replace(" it", " them")
    missing = [c for c in plan.needs if not any(c in o.channels for o in offers.values())]
    if missing:
        return f"needs {', '.join(missing)}: {who if len(missing) == 1 else who_all}"
    with_image = [o for o in offers.values() if plan.image in o.images]
    if not with_image:
        return f"needs the image {plan.image}: {who}"
    lacking = [p for p in plan.packages if not any(p in o.images[plan.image] for o in with_image)]
    if lacking:
        return f"imports {', '.join(lacking)}: {who if len(lacking) == 1 else who_all}"
    return "no single reactor has all the channels and packages that it needs"
