"""Events for properties: few names, so that they meet each other often."""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from broker.messages import Phase, Posture
from hub_service.queue.events import (
    AnnotateAsked,
    Archived,
    CancelAsked,
    Collected,
    Event,
    Evidence,
    Identified,
    LimitsAsked,
    MoveAsked,
    NodeOffered,
    NodePresence,
    NodeReported,
    PauseAsked,
    PostureAsked,
    ResumeAsked,
    RunNowAsked,
    SendAsked,
    StoreDoubted,
    Submitted,
    Ticked,
)
from hub_service.queue.state import Offer, Plan
from tests.unit.hub_service.builders import (
    IMAGES,
    OTHER_STORE,
    STORE,
    boot,
    phase,
    plan,
    report,
    ulid,
)

NUMBERS = st.integers(1, 9)
IDS = NUMBERS.map(ulid)
NODES = st.sampled_from(["reactor-1", "reactor-2"])
ATTEMPTS = st.integers(1, 4)
PHASES = [
    "accepted", "executing", "paused", "resumed", "stopping", "released", "finished", "interrupted",
]  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    return plan(
        draw(NUMBERS),
        draw(st.sampled_from(["mqtt:ada", "mqtt:bob", "web:caesar00"])),
        needs=draw(st.sampled_from([(), ("od",), ("ph",)])),
        node=draw(st.sampled_from([None, None, "reactor-2"])),
        on_interruption=draw(st.sampled_from(["fail", "requeue"])),
        max_duration=draw(st.sampled_from([None, 60.0])),
        parameters=draw(st.sampled_from([{}, {"a": 1}, {"a": 1.0, "b": True, "c": "é"}])),
    )


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    name = draw(st.sampled_from(PHASES))
    more: dict[str, Any] = {}
    if name == "finished":
        more["outcome"] = draw(st.sampled_from(["completed", "failed", "cancelled"]))
    if name in {"finished", "interrupted"}:
        more["files_upto"] = draw(st.sampled_from([None, (ulid(1, "EPC"), 3)]))
    return Evidence(draw(NODES), phase(draw(NUMBERS), name, draw(ATTEMPTS), **more))


@st.composite
def reports(draw: st.DrawFn) -> NodeReported:
    node = draw(NODES)
    return NodeReported(
        node,
        report(
            node,
            boot_number=draw(st.integers(1, 2)),
            seen=draw(st.integers(0, 30)),
            accepts=draw(st.booleans()),
            running=draw(st.none() | st.tuples(IDS, ATTEMPTS)),
            phase=draw(st.sampled_from(list(Phase))),
            ledger=draw(
                st.lists(
                    st.tuples(
                        IDS,
                        ATTEMPTS,
                        st.sampled_from(["accepted", "released", "finished"]),
                        st.sampled_from([None, "completed", "failed"]),
                    ),
                    max_size=2,
                )
            ),
            store=draw(st.sampled_from([None, STORE, STORE, OTHER_STORE])),
            generation=draw(st.integers(0, 3)),
        ),
    )


COMMANDS: st.SearchStrategy[Event] = st.one_of(
    st.builds(CancelAsked, IDS, st.just("eve")),
    st.builds(PauseAsked, IDS),
    st.builds(ResumeAsked, IDS),
    st.builds(MoveAsked, IDS, position=st.integers(1, 9)),
    st.builds(MoveAsked, IDS, before=IDS),
    st.builds(MoveAsked, IDS, after=IDS, user=st.sampled_from([None, "mqtt:ada"])),
    st.builds(RunNowAsked, IDS, st.just("eve"), node=st.none() | NODES, stop_running=st.booleans()),
    st.builds(SendAsked, IDS, st.just({"a": 2})),
    st.builds(AnnotateAsked, IDS, st.sampled_from([None, "other"]), st.sampled_from([None, "n"])),
    st.builds(
        PostureAsked,
        st.sampled_from([Posture.RUNNING, Posture.RUNNING, Posture.PAUSED, Posture.DRAINING]),
        st.just("eve"),
    ),
    st.builds(LimitsAsked, per_user=st.integers(1, 6)),
)
NODE_EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(NodePresence, NODES, st.sampled_from([boot(1), boot(2)]), st.booleans()),
    st.builds(
        NodeOffered,
        NODES,
        st.sampled_from(
            [Offer(frozenset({"od"}), IMAGES), Offer(frozenset({"od", "ph"}), IMAGES, 10.0)]
        ),
    ),
    reports(),
    evidence(),
)
OWN_EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Collected, IDS),
    st.builds(Archived, IDS),
    st.builds(Identified, plans()),
    st.builds(StoreDoubted, st.just("a test doubts it")),
    st.just(Ticked()),
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Submitted, plans()), COMMANDS, NODE_EVENTS, OWN_EVENTS
)
DELAYS = st.sampled_from([timedelta(0), timedelta(seconds=1), timedelta(seconds=90)])


@st.composite
def cooperative_node(draw: st.DrawFn, name: str = "reactor-1") -> list[Event]:
    """A node that comes up idle, so that properties often see something run."""
    number = draw(st.integers(1, 2))
    return [
        NodePresence(name, boot(number), online=True),
        NodeOffered(name, Offer(frozenset({"od", "ph"}), IMAGES)),
        NodeReported(name, report(name, boot_number=number)),
    ]
