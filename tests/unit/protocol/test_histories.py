"""Single histories of hub and nodes that were got wrong once."""

from collections.abc import Iterator

import pytest

from broker.messages import Posture
from tests.unit.protocol.test_protocol import ProtocolMachine


@pytest.fixture
def world() -> Iterator[ProtocolMachine]:
    """A hub and two nodes; whatever a test leaves is brought to its end and checked."""
    world = ProtocolMachine()
    yield world
    world.teardown()


def submit(world: ProtocolMachine, count: int = 1) -> list[str]:
    before = set(world.promised)
    for number in range(count):
        user = ("alice", "bob", "carol")[number % 3]
        world.somebody_submits(user, (), None, "fail")
    return [one for one in world.promised if one not in before]


def posture(world: ProtocolMachine) -> Posture:
    return world.hub.state.posture


def test_a_backup_of_a_hub_that_lived_on_is_known_as_one(world: ProtocolMachine) -> None:
    """Its generation is no older than what the nodes saw; the revisions of its words are."""
    world.a_node_is_killed("reactor-2", reboot=False, stays_away=True)
    world.flow()
    submit(world, 2)
    world.a_backup_is_made()
    first, second = list(world.promised)
    world.flow()
    world.a_script_ends("reactor-1", 0)
    world.flow()
    assert world.nodes["reactor-1"].started == {(first, 1): 1, (second, 1): 1}

    # The other reactor has seen nothing of it, and is heard first.
    world.the_backup_is_restored()
    world.to_hub.reverse()
    world.nodes["reactor-2"].start()
    world.to_hub.reverse()
    world.flow()
    assert posture(world) is Posture.RECOVERY
    assert world.nodes["reactor-2"].started == {}


def test_a_node_that_lost_its_memory_runs_nothing_again(world: ProtocolMachine) -> None:
    """As one whose disk was put back from an older copy: the hub's word finds it empty."""
    (one,) = submit(world)
    world.flow()
    name = next(name for name, node in world.nodes.items() if node.started)
    node = world.nodes[name]
    world.a_node_is_killed(name, reboot=True, stays_away=True)
    world.flow()
    node.runs.clear()
    node.outbox.clear()
    node.seen_revision, node.assignment = 0, None
    world.a_node_starts(name)
    world.flow()
    assert node.started == {(one, 1): 1}
    assert world.hub.state.entries == {}


def test_a_recovery_that_was_ended_does_not_begin_again(world: ProtocolMachine) -> None:
    """What was found running needs no word, so the node goes on naming a higher revision."""
    world.a_backup_is_made()
    submit(world, 3)
    world.flow()
    world.a_node_is_killed("reactor-2", reboot=True, stays_away=False)
    world.flow()
    world.the_backup_is_restored()
    world.flow()
    assert posture(world) is Posture.RECOVERY
    assert len(world.hub.state.entries) == 2
    world.an_administrator_ends_a_recovery()
    for name in world.nodes:
        world.a_node_connects_again(name)
    world.flow()
    assert posture(world) is Posture.RUNNING
