"""Hub and nodes together, message by message: whatever is lost, repeated, delayed or killed.

The hub is the real desk, rules and stores; nodes are a model around their real rules
(`node_service.reconcile`). Messages lie in between until the machine delivers, repeats, reorders
or drops them. `BIOREACTOR_PROTOCOL_EXAMPLES` and `…_STEPS` make it search deeper.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.messages import ContractError, Done, Experiment, Posture, Result
from hub_service.queue import Event
from hub_service.queue.events import (
    CancelAsked,
    DeclareDeadAsked,
    DrainNodeAsked,
    LimitsAsked,
    Listened,
    MoveAsked,
    PauseAsked,
    PostureAsked,
    ResumeAsked,
    ResumeNodeAsked,
    RunNowAsked,
    SendAsked,
    Submitted,
    Ticked,
)
from hub_service.queue.state import Plan
from node_service.runs import RunKey, Stage
from tests.unit.protocol.hub_side import HubSide, PowerCutError
from tests.unit.protocol.node_side import NodeSide

T = TypeVar("T")
Action = tuple[str, Mapping[str, st.SearchStrategy[Any]]]

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOST_IN_FLIGHT = 24
USERS = ("alice", "bob", "carol")
NODES = {"reactor-1": ("od",), "reactor-2": ("od", "ph")}
NUMBERS = st.integers(0, 7)
FAST = Path("/dev/shm")  # noqa: S108  a file system in memory: an fsync costs nothing there


def _what(weight: int, name: str, /, **arguments: st.SearchStrategy[Any]) -> list[Action]:
    return [(name, arguments)] * weight


_NODE = st.sampled_from(list(NODES))
USUAL: list[Action] = [
    *_what(14, "everything_arrives"),
    *_what(
        8,
        "somebody_submits",
        user=st.sampled_from(USERS),
        needs=st.sampled_from([(), (), ("od",), ("ph",)]),
        node=st.sampled_from([None, None, None, "reactor-2"]),
        on_interruption=st.sampled_from(["fail", "requeue"]),
    ),
    *_what(
        4,
        "somebody_commands",
        number=NUMBERS,
        verb=st.sampled_from(["cancel", "cancel", "pause", "resume", "resume", "send"]),
    ),
    *_what(
        2,
        "somebody_moves",
        number=NUMBERS,
        other=NUMBERS,
        how=st.sampled_from(["position", "before", "after"]),
    ),
    *_what(
        2,
        "an_administrator_runs_one_now",
        number=NUMBERS,
        node=st.sampled_from([None, *NODES]),
        stop=st.booleans(),
    ),
    *_what(
        1,
        "an_administrator_sets_the_posture",
        posture=st.sampled_from([Posture.RUNNING, Posture.PAUSED, Posture.DRAINING]),
    ),
    *_what(3, "an_administrator_resumes_the_queue"),
    *_what(1, "an_administrator_drains_a_node", name=_NODE),
    *_what(2, "an_administrator_resumes_a_node", name=_NODE),
    *_what(1, "an_administrator_declares_a_node_dead", name=_NODE),
    *_what(1, "an_administrator_limits", limit=st.integers(1, 6)),
    *_what(1, "somebody_repeats_a_request", number=NUMBERS),
    *_what(
        8,
        "a_message_reaches_the_hub",
        number=st.integers(0, MOST_IN_FLIGHT),
        again=st.booleans(),
    ),
    *_what(6, "a_message_reaches_a_node", name=_NODE, number=NUMBERS, again=st.booleans()),
    *_what(1, "messages_are_lost", name=st.sampled_from([None, *NODES])),
    *_what(1, "a_node_connects_again", name=_NODE),
    *_what(1, "the_broker_forgets"),
    *_what(8, "a_node_works", name=_NODE, steps=st.integers(1, 6)),
    *_what(3, "a_script_prints", name=_NODE),
    *_what(3, "a_script_ends", name=_NODE, code=st.sampled_from([0, 0, 3])),
    *_what(
        5,
        "a_node_sends_its_journal",
        name=_NODE,
        stream=st.sampled_from(["records", "records", "files"]),
        skip=st.sampled_from([0, 0, 1, 3]),
    ),
    *_what(3, "a_node_reports", name=_NODE),
    *_what(2, "a_node_is_killed", name=_NODE, reboot=st.booleans(), stays_away=st.booleans()),
    *_what(2, "a_node_starts", name=_NODE),
    *_what(2, "time_passes", seconds=st.sampled_from([0, 1, 70, 90_000, -3600])),
    *_what(4, "the_hub_works"),
    *_what(2, "the_hub_archives"),
    *_what(1, "the_hub_is_killed", stays_away=st.booleans()),
    *_what(2, "the_hub_will_die_in_a_write", steps=st.integers(1, 14)),
    *_what(6, "the_hub_starts"),
]
"""What happens, and how often."""
RESTORES: list[Action] = [
    *_what(2, "a_backup_is_made"),
    *_what(2, "the_backup_is_restored"),
    *_what(3, "an_administrator_ends_a_recovery"),
]


class ProtocolMachine(RuleBasedStateMachine):
    """Users, administrators, a hub, two nodes, and a network that nobody should trust."""

    @rule(data=st.data(), action=st.sampled_from(USUAL))
    def happens(self, data: st.DataObject, action: Action) -> None:
        self.do(data, action)

    def do(self, data: st.DataObject, action: Action) -> None:
        name, arguments = action
        chosen = data.draw(st.fixed_dictionaries(dict(arguments)), label=name)
        getattr(self, name)(**chosen)

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.home = Path(tempfile.mkdtemp(dir=FAST if FAST.is_dir() else None))
        self.now = T0
        self.ids = 0
        self.to_hub: list[tuple[str, str, bytes]] = []
        self.to_node: dict[str, list[tuple[str, bytes]]] = {name: [] for name in NODES}
        self.retained: dict[tuple[str, str, str], bytes] = {}
        self.answers: dict[str, tuple[str, Event, Result]] = {}
        self.promised: dict[str, Plan] = {}
        self.backed_up: dict[str, Plan] | None = None
        self.over: dict[str, str] = {}
        self.restored = False
        self.given_up: set[str] = set()
        self.hub = HubSide(
            self.home / "hub", publish=self.say_to_node, new_id=self.new_id, clock=self.clock
        )
        self.nodes = {
            name: NodeSide(
                name, channels, publish=self.say_to_hub, new_id=self.new_id, clock=self.clock
            )
            for name, channels in NODES.items()
        }
        self.run(self.hub.open())
        for node in self.nodes.values():
            node.start()
        self.flow()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def clock(self) -> datetime:
        return self.now

    def new_id(self) -> str:
        self.ids += 1
        return f"01JZ{self.ids:022d}"

    def say_to_hub(self, node: str, kind: str, payload: bytes) -> None:
        if kind in {"status", "channels", "report"}:
            self.retained["hub", node, kind] = payload
        self.to_hub = [*self.to_hub, (node, kind, payload)][-MOST_IN_FLIGHT:]
        if kind == "status":
            self.to_node[node].append((kind, payload))  # each reads its own presence

    def say_to_node(self, node: str, kind: str, payload: bytes) -> None:
        self.retained["node", node, kind] = payload
        self.to_node[node] = [*self.to_node[node], (kind, payload)][-MOST_IN_FLIGHT:]

    # What may kill the hub half-way

    def try_hub(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Let the hub do something; if its power is cut in the middle, it starts again."""
        if not self.hub.alive:
            work.close()
            return None
        try:
            return self.run(work)
        except PowerCutError:
            self.run(self.hub.die())
            return None

    def the_hub_starts(self) -> None:
        self.start_hub()

    def start_hub(self) -> None:
        while not self.hub.alive:
            with suppress(PowerCutError):
                self.run(self.hub.open())
                self.hub_connects()

    def hub_connects(self) -> None:
        """Have the hub read what the broker retained, and say everything."""
        self.to_hub += [(n, kind, p) for (to, n, kind), p in self.retained.items() if to == "hub"]
        self.hub._told.clear()
        self.try_hub(self.hub.tell())

    def the_hub_is_killed(self, stays_away: bool) -> None:
        if self.hub.alive:
            self.run(self.hub.die())
        if not stays_away:
            self.start_hub()

    def the_hub_will_die_in_a_write(self, steps: int) -> None:
        self.hub.fate.left = steps

    # What people do

    def somebody_submits(
        self, user: str, needs: tuple[str, ...], node: str | None, on_interruption: Any
    ) -> None:
        identity = self.new_id()
        plan = Plan(
            identity, "x", f"mqtt:{user}", user, "a" * 64, needs=needs, node=node,
            on_interruption=on_interruption,
        )  # fmt: skip
        self.ask(user, "submit", Submitted(plan), f"ask-{identity}")

    def somebody_commands(self, number: int, verb: str) -> None:
        one = self.pick(number)
        events: dict[str, Event] = {
            "cancel": CancelAsked(one, "eve"),
            "pause": PauseAsked(one),
            "resume": ResumeAsked(one),
            "send": SendAsked(one, {"a": self.ids}),
        }
        self.ask("alice", verb, events[verb], f"ask-{self.new_id()}")

    def somebody_moves(self, number: int, other: int, how: str) -> None:
        event = {
            "position": MoveAsked(self.pick(number), position=other + 1),
            "before": MoveAsked(self.pick(number), before=self.pick(other)),
            "after": MoveAsked(self.pick(number), after=self.pick(other)),
        }[how]
        self.ask("admin", "move", event, f"ask-{self.new_id()}")

    def an_administrator_runs_one_now(self, number: int, node: str | None, stop: bool) -> None:
        event = RunNowAsked(self.pick(number), "admin", node, stop_running=stop)
        self.ask("admin", "run-now", event, f"ask-{self.new_id()}")

    def an_administrator_sets_the_posture(self, posture: Any) -> None:
        if self.hub.alive and self.hub.state.posture is not Posture.RECOVERY:
            self.ask("admin", "posture", PostureAsked(posture, "admin"), f"ask-{self.new_id()}")

    def an_administrator_resumes_the_queue(self) -> None:
        self.an_administrator_sets_the_posture(Posture.RUNNING)

    def an_administrator_drains_a_node(self, name: str) -> None:
        self.ask("admin", "drain-node", DrainNodeAsked(name, "a"), f"ask-{self.new_id()}")

    def an_administrator_resumes_a_node(self, name: str) -> None:
        self.ask("admin", "resume-node", ResumeNodeAsked(name, "a"), f"ask-{self.new_id()}")

    def an_administrator_declares_a_node_dead(self, name: str) -> None:
        """It may be mistaken: the node may be alive, and come back."""
        if self.hub.alive:
            held = {e.id for e in self.hub.state.entries.values() if e.node == name}
            self.given_up |= held
            event = DeclareDeadAsked(name, "a", power_is_off=True)
            self.ask("admin", "declare-dead", event, f"ask-{self.new_id()}")

    def an_administrator_limits(self, limit: int) -> None:
        self.ask("admin", "limits", LimitsAsked(per_user=limit), f"ask-{self.new_id()}")

    def somebody_repeats_a_request(self, number: int) -> None:
        if self.answers and not self.restored:
            identity = list(self.answers)[number % len(self.answers)]
            user, event, answer = self.answers[identity]
            if isinstance(event, Submitted):
                again = self.try_hub(self.hub.ask(user, "submit", event, identity, script=True))
                assert again is None or again == answer

    def ask(self, user: str, verb: str, event: Event, identity: str) -> None:
        try:
            answer = self.try_hub(
                self.hub.ask(user, verb, event, identity, script=verb == "submit")
            )
        except ContractError:
            return
        if answer is None:
            return
        self.answers[identity] = user, event, answer
        if isinstance(event, Submitted):
            assert isinstance(answer, Done)
            self.promised[event.plan.experiment_id] = event.plan

    def pick(self, number: int) -> str:
        known = list(self.hub.state.entries) if self.hub.alive else []
        known = known or list(self.promised) or ["01JZ0000000000000000000000"]
        return known[number % len(known)]

    # What the network does

    def a_message_reaches_the_hub(self, number: int, again: bool) -> None:
        if not self.to_hub or not self.hub.alive:
            return
        place = number % len(self.to_hub)
        message = self.to_hub[place] if again else self.to_hub.pop(place)
        self.try_hub(self.hub.take(*message))

    def a_message_reaches_a_node(self, name: str, number: int, again: bool) -> None:
        waiting = self.to_node[name]
        if waiting and self.nodes[name].up:
            place = number % len(waiting)
            kind, payload = waiting[place] if again else waiting.pop(place)
            self.nodes[name].hear(kind, payload)

    def messages_are_lost(self, name: str | None) -> None:
        if name is None:
            self.to_hub.clear()
        else:
            self.to_node[name].clear()

    def a_node_connects_again(self, name: str) -> None:
        if self.nodes[name].up:
            will = self.nodes[name].last_will()
            self.connect_node(name)
            self.to_hub.append((name, "status", will))  # it may come later than `online`
            self.to_node[name].append(("status", will))

    def connect_node(self, name: str) -> None:
        self.to_node[name] += [
            (kind, payload)
            for (to, node, kind), payload in self.retained.items()
            if (to, node) == ("node", name)
        ]
        self.nodes[name].connect()

    def the_broker_forgets(self) -> None:
        self.retained.clear()
        self.messages_are_lost(None)
        for name, node in self.nodes.items():
            self.messages_are_lost(name)
            if node.up:
                node.connect()
        if self.hub.alive:
            self.hub_connects()

    def everything_arrives(self) -> None:
        self.flow()

    # What nodes do

    def a_node_works(self, name: str, steps: int) -> None:
        node = self.nodes[name]
        for _ in range(steps):
            if not node.up or not node.advance():
                break
        self.check_starts()

    def a_script_prints(self, name: str) -> None:
        if self.nodes[name].up:
            self.nodes[name].write_line()

    def a_script_ends(self, name: str, code: int) -> None:
        self.nodes[name].exit(code)

    def a_node_sends_its_journal(self, name: str, stream: str, skip: int) -> None:
        if self.nodes[name].up:
            self.nodes[name].batch(stream, skip, 3)

    def a_node_reports(self, name: str) -> None:
        if self.nodes[name].up:
            self.nodes[name].report()

    def a_node_is_killed(self, name: str, reboot: bool, stays_away: bool) -> None:
        node = self.nodes[name]
        if node.up:
            self.retained["hub", name, "status"] = will = node.last_will()
            self.to_hub.append((name, "status", will))
            (node.reboot if reboot else node.kill)()
        if not stays_away:
            self.a_node_starts(name)

    def a_node_starts(self, name: str) -> None:
        if not self.nodes[name].up:
            self.nodes[name].start()
            self.connect_node(name)

    # What time does

    def time_passes(self, seconds: int) -> None:
        """The wall clock may also jump, in either direction."""
        self.now += timedelta(seconds=seconds)
        self.try_hub(self.hub.desk.learn(Ticked(), *([Listened()] if seconds else [])))

    def the_hub_works(self) -> None:
        self.try_hub(self.hub.tell())

    def the_hub_archives(self) -> None:
        self.try_hub(self.hub.archive_ended())

    # Backups

    def a_backup_is_made(self) -> None:
        """As a snapshot of the file system does, while the hub is alive or not."""
        shutil.rmtree(self.home / "backup", ignore_errors=True)
        shutil.copytree(self.home / "hub", self.home / "backup")
        self.backed_up = dict(self.promised)

    def the_backup_is_restored(self) -> None:
        if self.backed_up is None:
            return
        if self.hub.alive:
            self.run(self.hub.die())
        shutil.rmtree(self.home / "hub")
        shutil.copytree(self.home / "backup", self.home / "hub")
        self.promised, self.backed_up, self.restored = dict(self.backed_up), None, True
        self.over.clear()  # what ended since the backup is told again, by the nodes
        self.start_hub()

    def an_administrator_ends_a_recovery(self) -> None:
        """Looks first whether all reactors are there and everything arrived."""
        if not self.hub.alive or self.hub.state.posture is not Posture.RECOVERY:
            return
        for name in NODES:
            self.a_node_starts(name)
        self.flow()
        self.ask("admin", "posture", PostureAsked(Posture.RUNNING, "a"), f"ask-{self.new_id()}")

    # What must hold

    @invariant()
    def finished_states_never_change(self) -> None:
        if self.hub.alive:
            for one, body in self.run(self.hub.finished()).items():
                said = orjson.loads(str(body))["status"]
                assert self.over.setdefault(one, said) == said
                assert one not in self.hub.state.order

    def check_starts(self) -> None:
        starts: dict[RunKey, int] = {}
        for node in self.nodes.values():
            for key, count in node.started.items():
                starts[key] = starts.get(key, 0) + count
        assert max(starts.values(), default=0) <= 1, f"run twice: {starts}"
        for one, attempt in starts:
            if attempt > 1:
                before = [n.runs.get(RunKey(one, attempt - 1)) for n in self.nodes.values()]
                ends = [run.ending for run in before if run is not None]
                assert any(end is not None and end.interrupted for end in ends)

    def flow(self, rounds: int = 40) -> None:
        """Let everything that can happen without people happen, in order."""
        for _ in range(rounds):
            moved = False
            if self.hub.alive:
                self.try_hub(self.hub.archive_ended())
                self.try_hub(self.hub.tell())
            waiting, self.to_hub = self.to_hub, []
            for message in waiting:
                if self.hub.alive:
                    moved = True
                    self.try_hub(self.hub.take(*message))
            for name, node in self.nodes.items():
                if not node.up:
                    continue
                sent, self.to_node[name] = self.to_node[name], []
                for kind, payload in sent:
                    moved = moved or kind == "assignment"
                    node.hear(kind, payload)
                while node.advance():
                    moved = True
                for stream in ("records", "files"):
                    node.batch(stream, 0, 20)
                if moved:
                    node.report()
            if not moved:
                break
        self.check_starts()

    def teardown(self) -> None:
        try:
            self.heal()
            self.check_end()
        finally:
            if self.hub.alive:
                self.run(self.hub.die())
            self.runner.close()
            shutil.rmtree(self.home)

    def heal(self) -> None:
        """Bring everything up and let it come to its end."""
        self.hub.fate.left = 0
        self.start_hub()
        for name in NODES:
            self.a_node_starts(name)
        self.the_broker_forgets()
        self.flow()
        self.ask("admin", "posture", PostureAsked(Posture.RUNNING, "a"), "the-end")
        for name in NODES:
            self.an_administrator_resumes_a_node(name)
        for _ in range(60):
            for entry in list(self.hub.state.entries.values()):
                nowhere = "ph" in entry.plan.needs and entry.plan.node == "reactor-1"
                if nowhere:
                    self.ask("admin", "cancel", CancelAsked(entry.id, "a"), f"ask-{self.new_id()}")
                elif entry.held or entry.want == "pause":
                    self.ask("admin", "resume", ResumeAsked(entry.id), f"ask-{self.new_id()}")
            self.flow()
            for node in self.nodes.values():
                node.write_line()
                node.exit(0)
            self.now += timedelta(seconds=61)
            self.try_hub(self.hub.desk.learn(Ticked(), Listened()))
            if not self.hub.state.entries:
                self.flow()
                return
        left = [(e.id, e.stage, e.node, e.want) for e in self.hub.state.entries.values()]
        state = self.hub.state
        raise AssertionError(
            f"these never end: {left}; the queue is {state.posture} {state.posture_reason}"
        )

    def check_end(self) -> None:
        finished = {
            one: Experiment.model_validate_json(str(body))
            for one, body in self.run(self.hub.finished()).items()
        }
        assert set(self.promised) <= set(finished), "an experiment was lost"
        for node in self.nodes.values():
            for key, run in node.runs.items():
                assert run.stage is Stage.FINISHED
                told = self.run(self.hub.lines(node.name, *key))
                assert told == node.lines(key), f"{key}: {told} of {node.lines(key)}"
        for one, shown in finished.items():
            self.check_outcome(one, shown)

    def check_outcome(self, one: str, shown: Experiment) -> None:
        """Compare a finished state with what the node knows of the last attempt."""
        runs = [n.runs[k] for n in self.nodes.values() for k in n.runs if k.experiment_id == one]
        if not runs:  # no node heard of it, or its node was declared dead before it did
            never = "failed" if one in self.given_up else "cancelled"
            assert shown.status in {"cancelled", never}, f"no node knows {shown}"
            return
        last = max(runs, key=lambda run: run.key.attempt)
        assert last.ending is not None
        assert shown.attempt == last.key.attempt, f"{shown} is not {last}"
        true = {last.ending.outcome}
        if last.ending.interrupted:
            true.add("cancelled")  # it was to be stopped when its container was lost
        if one in self.given_up:
            true.add("failed")  # its node was declared dead
        assert shown.status in true, f"{shown.status} is not {true}"


class RestoringMachine(ProtocolMachine):
    """The same, where the hub is also restored from an older backup."""

    @rule(data=st.data(), action=st.sampled_from(RESTORES + USUAL))
    def happens(self, data: st.DataObject, action: Action) -> None:
        self.do(data, action)


_DEPTH = settings(
    max_examples=int(os.environ.get("BIOREACTOR_PROTOCOL_EXAMPLES", "12")),
    stateful_step_count=int(os.environ.get("BIOREACTOR_PROTOCOL_STEPS", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
ProtocolMachine.TestCase.settings = _DEPTH
RestoringMachine.TestCase.settings = _DEPTH
TestProtocol = ProtocolMachine.TestCase
TestProtocolWithRestores = RestoringMachine.TestCase
