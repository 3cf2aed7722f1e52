"""Every command in every state by every door: the same outcome, the same error.

The table of the design, against one hub, one broker, one node that follows the contract, one portal
and the command line.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from broker.embedded import Kind
from broker.messages import Done, OnExperiment
from hub_service.queue import QueueState
from hub_service.queue.state import Stage
from tests.integration.hub.conftest import Person, Site, unknown_id
from tests.integration.hub.doors import Answer, CommandLineDoor, Door, MqttDoor, RestDoor
from tests.support.contract_node import ContractNode
from tests.support.portal import SESSION, portal_on
from tests.support.waiting import eventually

STATES: Final = ("queued", "paused, waiting", "running", "paused, running", "finished", "unknown")
REFUSED: Final = "WRONG_STATE"
UNKNOWN: Final = "NOT_FOUND"
TABLE: Final = {
    # command: outcome in each of STATES
    "pause": ("done", "unchanged", "accepted", "unchanged", REFUSED, UNKNOWN),
    "resume": (REFUSED, "done", REFUSED, "accepted", REFUSED, UNKNOWN),
    "cancel": ("done", "done", "accepted", "accepted", REFUSED, UNKNOWN),
    "move to a position": ("done", "done", REFUSED, REFUSED, REFUSED, UNKNOWN),
    "move before another": ("done", "done", REFUSED, REFUSED, REFUSED, UNKNOWN),
    "move after another": ("unchanged", "unchanged", REFUSED, REFUSED, REFUSED, UNKNOWN),
    "run-now": ("done", "done", REFUSED, REFUSED, REFUSED, UNKNOWN),
    "send": (REFUSED, REFUSED, "accepted", "accepted", REFUSED, UNKNOWN),
    "annotate": ("done", "done", "done", "done", "done", UNKNOWN),
    "restore": ("unchanged", "unchanged", "unchanged", "unchanged", "unchanged", UNKNOWN),
    "delete": (REFUSED, REFUSED, REFUSED, REFUSED, "done", UNKNOWN),
}
NOT_BY: Final = {
    # what a door does not have is refused as such, whatever the state
    "request": frozenset({"run-now"}),
    "admin": frozenset({"send"}),
}


@pytest.fixture
def broker_kind() -> Kind:
    """The rules do not depend on the broker."""
    return "mosquitto"


class House:
    """A hub with all its doors, and a reactor."""

    def __init__(self, site: Site, doors: list[Door], person: Person, node: ContractNode) -> None:
        self.site, self.doors, self.node = site, doors, node
        self._person = person
        self.ahead = ""

    async def begin(self) -> None:
        """Have one run, and one wait that is passed over: a mark for moves."""
        occupant = await self._submit()
        await self._until(occupant, Stage.EXECUTING)
        self.ahead = await self._submit()
        self._occupant = occupant

    async def subject(self, state: str) -> str:
        """Bring an experiment into a state."""
        if state == "unknown":
            return unknown_id()
        on_reactor = state in {"running", "paused, running"}
        if on_reactor and self._occupant:
            # The reactor is wanted: the mark waits paused from here on.
            await self._tell("pause", self.ahead)
            await self._tell("cancel", self._occupant)
            await eventually(lambda: self.node.holder is None)
            self._occupant = ""
        one = await self._submit()
        if on_reactor:
            await self._until(one, Stage.EXECUTING)
        if state.startswith("paused"):
            await self._tell("pause", one)
        if state == "paused, running":
            await self._until(one, Stage.FROZEN)
        if state == "finished":
            await self._tell("cancel", one)
            await self._gone(one)
        return one

    async def dispose(self, one: str) -> None:
        """End an experiment, wherever a command has brought it."""
        entry = self._state.entries.get(one)
        if entry is not None and entry.want != "stop" and entry.stage is not Stage.ENDED:
            await self._tell("cancel", one)
        await self._gone(one)
        await eventually(lambda: self.node.holder is None or bool(self._occupant), every=0.005)

    @property
    def _state(self) -> QueueState:
        assert self.site.hub is not None
        return self.site.hub.store.state

    async def _submit(self) -> str:
        return (await self._person.submit()).experiment_id

    async def _tell(self, verb: str, one: str) -> None:
        await self._person.ask(verb, OnExperiment(experiment_id=one), Done)

    async def _until(self, one: str, stage: Stage) -> None:
        await eventually(lambda: self._state.entries[one].stage is stage, every=0.005)

    async def _gone(self, one: str) -> None:
        await eventually(lambda: one not in self._state.entries, every=0.005)


@pytest.fixture
async def house(site: Site) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        await site.start_hub()
        node = await site.start_node()
        portal = await stack.enter_async_context(
            portal_on(await site.connect("portal"), site.path / "portal")
        )
        client = await stack.enter_async_context(portal.client(headers=SESSION))
        alice, admin = await site.person("alice"), await site.person("admin")
        doors: list[Door] = [
            MqttDoor(alice.asker, admin=False),
            MqttDoor(admin.asker, admin=True),
            RestDoor(client),
            CommandLineDoor(site.broker.settings_for("admin"), site.path),
        ]
        hub = site.hub
        assert hub is not None
        await eventually(lambda: hub.store.state.node("reactor-1").offer is not None)
        yield House(site, doors, alice, node)


async def test_every_command_in_every_state_by_every_door(house: House) -> None:
    await house.begin()
    wrong: list[str] = []
    for column, state in enumerate(STATES):
        one = ""
        for command, row in TABLE.items():
            answers: dict[str, Answer] = {}
            for door in house.doors:
                one = one or await house.subject(state)
                told = await _give(door, command, one, house.ahead)
                missing = command in NOT_BY.get(door.name, ())
                wanted = "UNKNOWN_VERB" if missing else row[column]
                if told.outcome != wanted:
                    wrong.append(f"{command}, {state}, {door.name}: {told}, not {wanted}")
                if not missing:
                    answers[door.name] = told
                if told.outcome in {"done", "accepted"}:
                    await house.dispose(one)
                    one = ""
            if len(set(answers.values())) > 1:
                wrong.append(f"{command}, {state}: the doors differ: {answers}")
        if one and state not in {"finished", "unknown"}:
            await house.dispose(one)
    assert wrong == []
    assert set(house.node.started.values()) == {1}


async def _give(door: Door, command: str, one: str, mark: str) -> Answer:
    match command:
        case "move to a position":
            return await door.ask("move", experiment_id=one, position=1)
        case "move before another":
            return await door.ask("move", experiment_id=one, before=mark)
        case "move after another":
            return await door.ask("move", experiment_id=one, after=mark)
        case "send":
            return await door.ask("send", experiment_id=one, parameters={"target": 1})
        case "annotate":
            return await door.ask("annotate", experiment_id=one, name=f"renamed by {door.name}")
        case verb:
            return await door.ask(verb, experiment_id=one)


QUEUE_AND_REACTORS: Final[Sequence[tuple[str, Mapping[str, Any], str]]] = (
    # verb, fields, outcome; in this order, and as it was before at the end
    ("pause-queue", {}, "done"),
    ("pause-queue", {}, "unchanged"),
    ("drain-queue", {}, "done"),
    ("resume-queue", {}, "done"),
    ("resume-queue", {}, "unchanged"),
    ("limits", {"per_user": 7, "max_script": 1000}, "done"),
    ("limits", {"per_user": 7}, "unchanged"),
    ("limits", {"per_user": 0}, "MALFORMED"),
    ("limits", {"max_script": 10**9}, "MALFORMED"),
    ("limits", {"per_user": 5, "max_script": 256 * 1024}, "done"),
    ("retention", {"days": 30}, "done"),
    ("retention", {"days": 30}, "unchanged"),
    ("retention", {"days": 99999}, "MALFORMED"),
    ("retention", {}, "done"),
    ("drain-node", {"node": "reactor-9"}, "NOT_FOUND"),
    ("drain-node", {"node": "reactor-1"}, "done"),
    ("drain-node", {"node": "reactor-1"}, "unchanged"),
    ("resume-node", {"node": "reactor-1"}, "done"),
    ("resume-node", {"node": "reactor-1"}, "unchanged"),
    ("resume-node", {"node": "reactor-9"}, "NOT_FOUND"),
    ("declare-dead", {"node": "reactor-9", "power_is_off": True}, "NOT_FOUND"),
    ("declare-dead", {"node": "reactor-1"}, "CONFIRMATION_REQUIRED"),
    ("declare-dead", {"node": "reactor-1", "power_is_off": True}, "WRONG_STATE"),
    ("declare-dead", {"node": "reactor-2"}, "CONFIRMATION_REQUIRED"),
    ("declare-dead", {"node": "reactor-2", "power_is_off": True}, "done"),
    ("declare-dead", {"node": "reactor-2", "power_is_off": True}, "unchanged"),
    ("resume-node", {"node": "reactor-2"}, "done"),
)


async def test_what_concerns_queue_and_reactors_by_every_door(house: House) -> None:
    hub = house.site.hub
    assert hub is not None
    async with house.site.node_for_a_while("reactor-2"):
        await eventually(lambda: hub.store.state.node("reactor-2").known)
    await eventually(lambda: not hub.store.state.node("reactor-2").online)
    wrong: list[str] = []
    for door in house.doors:
        for verb, fields, wanted in QUEUE_AND_REACTORS:
            expected = "UNKNOWN_VERB" if door.name == "request" else wanted
            told = await door.ask(verb, **fields)
            if told.outcome != expected:
                wrong.append(f"{door.name}: {verb} {fields}: {told.outcome}, not {expected}")
    assert wrong == []


SUBMISSIONS: Final[Sequence[tuple[str, Mapping[str, Any], str, str]]] = (
    # script, parameters, id, what is told; each user may have one at a time
    ("print(1)\n", {}, "one", "queued"),
    ("print(1)\n", {}, "one", "queued"),
    ("print(2)\n", {}, "one", "ID_REUSED"),
    ("print(2)\n", {}, "two", "USER_LIMIT"),
    ("", {}, "three", "SCRIPT_EMPTY"),
    ("if\n", {}, "four", "SCRIPT_SYNTAX"),
    ("import torch\n", {}, "five", "SCRIPT_IMPORT"),
    ("print(1)\n", {"target": 1}, "six", "SCRIPT_PARAMETERS"),
    ("a\x00\n", {}, "seven", "SCRIPT_ENCODING"),
    ("print(1)\n" * 100, {}, "eight", "SCRIPT_TOO_LARGE"),
)


async def test_submission_by_every_door(house: House) -> None:
    admin = house.doors[1]
    assert (await admin.ask("pause-queue")).outcome == "done"
    assert (await admin.ask("limits", per_user=1, max_script=500)).outcome == "done"
    for door in house.doors:
        told = [await door.submit(script, given, key) for script, given, key, _ in SUBMISSIONS]
        wanted = [w if door.name != "admin" else "UNKNOWN_VERB" for *_, w in SUBMISSIONS]
        assert [outcome for outcome, _ in told] == wanted, door.name
        assert told[0] == told[1], door.name
    hub = house.site.hub
    assert hub is not None
    assert len({entry.plan.user for entry in hub.store.state.entries.values()}) == 3
    assert len(hub.store.state.entries) == 3


async def test_the_forms_of_the_pages_reach_the_same_commands(house: House) -> None:
    hub = house.site.hub
    assert hub is not None
    rest = house.doors[2]
    assert isinstance(rest, RestDoor)

    async def post(path: str, **fields: str) -> int:
        return (await rest.client.post(path, data=fields)).status_code

    assert await post("/nodes/reactor-1/drain") == 303
    assert hub.store.state.node("reactor-1").withheld is not None
    await eventually(lambda: _shows(rest, "/nodes/reactor-1", "<strong>Drained</strong>"))
    assert await post("/nodes/reactor-1/declare-dead") == 428
    assert await post("/nodes/reactor-1/declare-dead", power_is_off="true") == 409
    assert await post("/nodes/reactor-1/resume") == 303
    assert hub.store.state.node("reactor-1").withheld is None

    assert await post("/admin/limits", per_user="3", max_hours="24") == 303
    assert await post("/admin/retention", days="365") == 200  # asks first
    assert hub.store.state.limits.keep_days is None
    assert await post("/admin/retention", days="365", sure="yes") == 303
    limits = hub.store.state.limits
    assert (limits.per_user, limits.max_duration, limits.keep_days) == (3, 86400.0, 365)
    assert await post("/admin/retention", days="") == 303
    assert hub.store.state.limits.keep_days is None
    emptied = await rest.client.post("/api/queue/retention", json={"days": ""})
    assert emptied.json()["outcome"] == "unchanged"
    assert await post("/admin/limits", per_user="many", max_hours="24") == 400
    assert await post("/admin/limits", per_user="3", max_hours="nan") == 400
    assert await post("/admin/limits", per_user="3", max_hours="1.5") == 303
    assert hub.store.state.limits.max_duration == 5400.0
    assert await post("/admin/limits", per_user="0", max_hours="24") == 400
    await eventually(lambda: _shows(rest, "/admin/users", 'name="per_user" min="1" max="1000"'))


async def _shows(rest: RestDoor, path: str, words: str) -> bool:
    return words in (await rest.client.get(path)).text
