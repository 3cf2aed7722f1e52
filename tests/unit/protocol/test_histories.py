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


def test_a_backup_of_a_hub_that_lived_on_is_known_as_one(world: ProtocolMachine) -> None:
    """Its generation is no older than what the nodes saw; the revisions of its words are."""
    world.nodes["reactor-2"].kill()
    world.say_to_hub("reactor-2", "status", world.retained["hub", "reactor-2", "status"])
    submit(world, 2)
    world.a_backup_is_made()
    first, second = list(world.promised)
    world.flow()
    assert world.nodes["reactor-1"].started == {(first, 1): 1}
    world.a_script_ends("reactor-1", 0)
    world.flow()
    assert world.nodes["reactor-1"].started == {(first, 1): 1, (second, 1): 1}

    world.the_backup_is_restored()
    world.a_message_reaches_the_hub(0, again=False)
    world.flow()
    assert world.hub.state.posture is Posture.RECOVERY
