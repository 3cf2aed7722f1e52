"""A hub, a node that follows the contract, and people who ask."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from ulid import ULID

from broker.connection import Connection, Message
from broker.embedded import EmbeddedBroker
from broker.messages import (
    Actor,
    ContractError,
    Experiment,
    ExperimentId,
    Got,
    OnExperiment,
    Payload,
    Queue,
    Request,
    Submit,
    Submitted,
    decode,
)
from broker.requests import Asker
from broker.topics import ANY, Topic
from tests.support.brokers import Connector
from tests.support.contract_node import ContractNode
from tests.support.hub import SCRIPT, RunningHub, TestClock, running_hub
from tests.support.waiting import PATIENCE, eventually

P = TypeVar("P", bound=Payload)


class Person:
    """Somebody who asks the hub."""

    def __init__(self, connection: Connection, principal: str) -> None:
        self.connection = connection
        self.asker = Asker(connection, principal)

    async def ask(self, verb: str, request: Request, result: type[P], *, admin: bool = False) -> P:
        """Return the answer, which must be of the type that is named."""
        answer = await self.asker.ask(verb, request, admin=admin, timeout=PATIENCE)
        assert isinstance(answer, result)
        return answer

    async def refused(self, verb: str, request: Request, *, admin: bool = False) -> str:
        """Return the code of the refusal, which must come with a sentence."""
        with pytest.raises(ContractError) as told:
            await self.asker.ask(verb, request, admin=admin, timeout=PATIENCE)
        assert told.value.error.message
        return str(told.value.error.code)

    async def submit(self, script: str = SCRIPT, **more: Any) -> Submitted:
        return await self.ask("submit", Submit(script=script, **more), Submitted)

    async def get(self, experiment_id: str) -> Experiment:
        got = await self.ask("get", OnExperiment(experiment_id=experiment_id), Got)
        return got.experiment


class Watcher:
    """Reads what the hub publishes."""

    def __init__(self, connection: Connection) -> None:
        self.experiments: dict[str, Experiment | None] = {}
        self.queue: Queue | None = None
        self._topics = connection.topics
        for topic, handler in (
            (connection.topics.build(Topic.QUEUE), self._on_queue),
            (connection.topics.build(Topic.EXPERIMENT, experiment=ANY), self._on_experiment),
        ):
            connection.subscribe(topic, handler)

    async def until(
        self, experiment_id: str, condition: Callable[[Experiment], bool], within: float = PATIENCE
    ) -> Experiment:
        """Wait until an experiment's retained state is as wanted."""
        try:
            await eventually(lambda: self._holds(experiment_id, condition), within=within)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.experiments.get(experiment_id)}") from None
        found = self.experiments[experiment_id]
        assert found is not None
        return found

    def _holds(self, experiment_id: str, condition: Callable[[Experiment], bool]) -> bool:
        found = self.experiments.get(experiment_id)
        return found is not None and condition(found)

    async def _on_queue(self, message: Message) -> None:
        self.queue = decode(Queue, message.payload)

    async def _on_experiment(self, message: Message) -> None:
        address = self._topics.parse(message.topic)
        assert address is not None
        told = decode(Experiment, message.payload) if message.payload else None
        self.experiments[address["experiment"]] = told


class Site:
    """Everything a test needs, made when it is asked for."""

    def __init__(
        self, broker: EmbeddedBroker, connect: Connector, path: Path, stack: AsyncExitStack
    ) -> None:
        self.broker, self.connect, self.path = broker, connect, path
        self.clock = TestClock()
        self._stack = stack
        self._hub: AsyncExitStack | None = None
        self.hub: RunningHub | None = None

    async def start_hub(self, **more: Any) -> RunningHub:
        self._hub = AsyncExitStack()
        self._stack.push_async_callback(self.stop_hub)
        self.hub = await self._hub.enter_async_context(
            running_hub(
                self.broker.settings_for("hub"), self.path / "hub", clock=self.clock, **more
            )
        )
        return self.hub

    async def stop_hub(self) -> None:
        if self._hub is not None:
            hub, self._hub = self._hub, None
            await hub.aclose()

    async def start_node(self, name: str = "reactor-1") -> ContractNode:
        settings = self.broker.settings_for(name)
        return await self._stack.enter_async_context(
            ContractNode.running(settings, self.path / "nodes", name)
        )

    @asynccontextmanager
    async def node_for_a_while(self, name: str = "reactor-1") -> AsyncIterator[ContractNode]:
        """Run a node that goes away again; the next one opens the same journal."""
        settings = self.broker.settings_for(name)
        async with ContractNode.running(settings, self.path / "nodes", name) as node:
            yield node

    async def second_hub(self) -> None:
        async with running_hub(self.broker.settings_for("hub"), self.path / "hub"):
            raise AssertionError("a second hub started")

    async def restart_broker(self) -> None:
        """Kill the broker; it is started again with nothing of what it had retained."""
        home = self.path / "broker" / self.broker.kind
        before = self.broker.pid
        os.kill(before, signal.SIGSTOP)  # it would write on while its files are removed
        for stored in home.iterdir():
            if stored.is_dir():
                shutil.rmtree(stored)
            elif stored.suffix == ".db":
                stored.unlink()
        os.kill(before, signal.SIGKILL)
        await eventually(lambda: self.broker.pid != before)

    async def person(self, principal: str) -> Person:
        return Person(await self.connect(principal), principal)

    async def watcher(self) -> Watcher:
        watchers: list[Watcher] = []
        await self.connect("portal", prepare=lambda c: watchers.append(Watcher(c)))
        return watchers[0]


def actor(name: str, *, admin: bool = False) -> Actor:
    return Actor(user=f"web:{name}0000000", name=name, admin=admin)


def unknown_id() -> ExperimentId:
    return ExperimentId(str(ULID()))


@pytest.fixture
async def site(broker: EmbeddedBroker, connect: Connector, tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        yield Site(broker, connect, tmp_path, stack)
