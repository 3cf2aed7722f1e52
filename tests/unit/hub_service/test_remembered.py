"""What the desk remembers of commands by their ids."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.messages import ContractError, DeclareDead, Done, ErrorCode, Request, Result
from broker.requests import Asked
from hub_service.archive import Archive
from hub_service.desk import Desk
from hub_service.queue import Decision
from hub_service.queue.events import DeclareDeadAsked, Listened, NodePresence
from hub_service.store import QueueStore
from tests.unit.hub_service.builders import T0, boot, ulid


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = QueueStore.open(tmp_path, new_id=lambda: ulid(1, "STR"))
    archive = Archive.open(tmp_path / "archive")
    yield Desk(store, archive, clock=lambda: T0, changed=lambda: None)
    archive.close()
    await store.close()


def asked(verb: str, request: Request, fingerprint: str = "f") -> Asked:
    return Asked("ada", True, verb, request, fingerprint, T0)


def told(decision: Decision) -> Result:
    assert decision.answer is not None
    return Done(outcome=decision.answer.outcome, message=decision.answer.message)


async def test_not_now_is_not_the_answer_for_a_day(desk: Desk) -> None:
    await desk.learn(NodePresence("reactor-1", boot(1), online=False))
    request = asked("declare-dead", DeclareDead(node="reactor-1", power_is_off=True, id="one"))
    event = DeclareDeadAsked("reactor-1", "ada", power_is_off=True)
    with pytest.raises(ContractError) as refused:
        await desk.command(request, event, told)
    assert refused.value.error.code is ErrorCode.UNAVAILABLE
    assert desk.recall(request) is None
    await desk.learn(Listened())
    answer = await desk.command(request, event, told)
    assert isinstance(answer, Done)
    assert answer.outcome == "done"
    assert desk.recall(request) == answer
