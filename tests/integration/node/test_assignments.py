"""Assignments that are old, foreign or malformed: told, and nothing else comes of them."""

import json
from itertools import pairwise
from typing import Any

import pytest
from ulid import ULID

from broker.messages import Assignment
from broker.topics import Topic
from tests.support.node import Hub, Node
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

SCRIPT = """
    from bioreactor import experiment, reactor
    reactor.set("stirring", 200)
    print("waiting")
    while not experiment.parameters["go"]:
        experiment.sleep(0.1)
"""


@pytest.mark.parametrize("node_settings", [{"runner": "docker"}], ids=["docker"])
async def test_no_bad_assignment_touches_what_runs(running: Node, hub: Hub) -> None:
    assignment = await hub.run(SCRIPT, parameters={"go": False})
    experiment = str(assignment.experiment_id)
    await hub.until_said(experiment, "waiting")
    for payload in _malformed(assignment):
        await _publish(hub, payload)
        await eventually(lambda: _alarms(hub))
        await _publish(hub, assignment.encode())  # what was said before, said again
        await eventually(lambda: not _alarms(hub))
    for payload in _harmless(assignment):
        await _publish(hub, payload)
    assert hub.report.activity is not None
    assert hub.report.activity.experiment_id == experiment

    await hub.again(assignment, parameters={"go": True})
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed"
    assert hub.phases(experiment) == ["accepted", "executing", "released", "finished"]
    times = [sample.mono for sample in hub.samples(experiment)]
    assert max(b - a for a, b in pairwise(times)) < 1.5  # none is left out, 0.2 s apart
    await eventually(lambda: hub.report.safe)


async def _publish(hub: Hub, payload: bytes) -> None:
    topic = hub.connection.topics.build(Topic.NODE_ASSIGNMENT, node=hub.node)
    await hub.connection.publish(topic, payload, retain=True)


def _alarms(hub: Hub) -> bool:
    return any(alarm.id == "assignment" for alarm in hub.report.alarms)


def _malformed(good: Assignment) -> list[bytes]:
    """Return what is no assignment; each would be news by its revision."""
    spoilt: list[dict[str, Any]] = [
        {"desired": "dance"},
        {"revision": -1},
        {"revision": float("nan")},
        {"unknown": True},
        {"experiment_id": "../../etc/passwd"},
        {"limits": {"memory": "all of it"}},
        {"experiment_id": None, "attempt": None},
    ]
    base = json.loads(good.encode())
    whole = [{**base, "revision": good.revision + 1000, **one} for one in spoilt]
    texts = [b"\xff\x00", b"[]", b"[" * 50_000]
    return [*texts, *(json.dumps(one).encode() for one in whole)]


def _harmless(good: Assignment) -> list[bytes]:
    """Return what is understood and changes nothing: an old word, and no word at all."""
    old = good.model_copy(update={"revision": 1, "desired": "stop"})
    foreign = good.model_copy(update={"revision": 1, "experiment_id": str(ULID())})
    return [b"", old.encode(), foreign.encode()]
