"""What the desk remembers of commands by their ids."""

import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.messages import (
    ContractError,
    CreateToken,
    DeclareDead,
    Done,
    ErrorCode,
    EstopRequest,
    OnExperiment,
    OnNode,
    Request,
    Result,
    Send,
    Submit,
    Submitted,
)
from broker.requests import Asked
from hub_service import answers
from hub_service.archive import Archive
from hub_service.commands import Commands
from hub_service.desk import MAX_KEPT, Desk
from hub_service.keeping import Keeping
from hub_service.queue import Decision, events
from hub_service.queue.durations import Durations
from hub_service.queue.events import (
    DeclareDeadAsked,
    Listened,
    NodeOffered,
    NodePresence,
    NodeReported,
    SendAsked,
)
from hub_service.queue.state import Offer
from hub_service.scripts import Checker
from hub_service.settings import HubSettings
from hub_service.storage import nothing
from hub_service.store import QueueStore
from hub_service.tokens import TokenBook
from tests.unit.hub_service.archive_entries import EXPERIMENT, experiment
from tests.unit.hub_service.builders import CHANNELS, IMAGES, T0, boot, plan, report, ulid


class House:
    """A life of a hub, without a broker."""

    def __init__(self, store: QueueStore, archive: Archive, directory: Path) -> None:
        self.archive = archive
        self.desk = Desk(store, archive, clock=lambda: T0, changed=lambda: None)
        self.stopped: list[str] = []
        self.forgotten: list[str] = []
        self.commands = Commands(
            self.desk,
            archive,
            HubSettings(data_dir=directory),
            checker=Checker(),
            durations=Durations(),
            stop_node=self._stop_node,
            keeping=Keeping(
                self.desk,
                archive,
                show=lambda _: None,
                forget=self.forgotten.append,
                everybody=True,
            ),
            tokens=TokenBook(self.desk, archive, show=lambda _: None, clock=lambda: T0),
            new_id=lambda: ulid(7),
        )

    async def _stop_node(self, node: str, _: EstopRequest) -> None:
        self.stopped.append(node)


@asynccontextmanager
async def life(directory: Path, before: Callable[[str], None] = nothing) -> AsyncIterator[House]:
    store = QueueStore.open(directory, new_id=lambda: ulid(1, "STR"), before=before)
    archive = Archive.open(directory / "archive")
    try:
        yield House(store, archive, directory)
    finally:
        archive.close()
        await store.close()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with life(tmp_path) as house:
        yield house.desk


def asked(verb: str, request: Request, fingerprint: str = "f") -> Asked:
    return Asked("ada", True, verb, request, fingerprint, T0)


DELETE = asked("delete", OnExperiment(experiment_id=EXPERIMENT, id="gone"))
ESTOP = asked("estop", OnNode(node="reactor-1", id="stop"))


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


async def test_a_deletion_that_is_asked_for_again_gets_its_answer(tmp_path: Path) -> None:
    async with life(tmp_path) as house:
        await house.archive.finish(experiment(1, experiment_id=EXPERIMENT))
        answer = await house.commands.handle(DELETE)
        assert isinstance(answer, Done)
        assert answer.outcome == "done"
        assert await house.commands.handle(DELETE) == answer
    async with life(tmp_path) as house:
        assert await house.commands.handle(DELETE) == answer
        other = asked("delete", OnExperiment(experiment_id=EXPERIMENT, id="other"))
        with pytest.raises(ContractError) as refused:
            await house.commands.handle(other)
        assert refused.value.error.code is ErrorCode.NOT_FOUND
        outcomes = [(a.verb, a.outcome) for a in await house.archive.audited(EXPERIMENT)]
        assert outcomes == [("delete", "done"), ("delete", "NOT_FOUND")]


async def test_a_deletion_whose_answer_a_crash_kept_from_the_disk_is_known_again(
    tmp_path: Path,
) -> None:
    full = False

    def before(step: str) -> None:
        if full and step == "write":
            raise OSError(errno.ENOSPC, "No space left on device")

    async with life(tmp_path, before) as house:
        await house.archive.finish(experiment(1, experiment_id=EXPERIMENT))
        full = True
        answer = await house.commands.handle(DELETE)
        full = False
        assert house.desk.recall(DELETE) is None
    async with life(tmp_path) as house:
        assert await house.commands.handle(DELETE) == answer
        assert house.desk.recall(DELETE) == answer


async def test_an_emergency_stop_that_comes_again_after_its_answer_stops_nothing(
    tmp_path: Path,
) -> None:
    """It would latch again what an administrator has released since."""
    async with life(tmp_path) as house:
        await house.desk.learn(NodePresence("reactor-1", boot(1), online=True))
        answer = await house.commands.handle(ESTOP)
        assert house.stopped == ["reactor-1"]
        assert await house.commands.handle(ESTOP) == answer
        assert house.stopped == ["reactor-1"]
    async with life(tmp_path) as house:
        assert await house.commands.handle(ESTOP) == answer
        assert house.stopped == []


async def test_what_a_refusal_quotes_is_not_remembered(desk: Desk) -> None:
    """It would fill the snapshot: 300 times what somebody has put into their parameters."""
    large = {f"p{n}": "x" * 1000 for n in range(100)}
    await desk.learn(events.Submitted(plan(1, parameters=large)))
    await desk.learn(*(NodePresence("reactor-1", boot(1), online=True), Listened()))
    await desk.learn(NodeOffered("reactor-1", Offer(CHANNELS, IMAGES)))
    await desk.learn(NodeReported("reactor-1", report()))
    wrong = dict.fromkeys(large, "y")
    send = asked("send", Send(experiment_id=ulid(1), parameters={}, expected=wrong, id="one"))
    with pytest.raises(ContractError) as first:
        await desk.command(send, SendAsked(ulid(1), {}, wrong), told)
    assert first.value.error.code is ErrorCode.CHANGED_MEANWHILE
    assert first.value.error.details["parameters"] == large
    with pytest.raises(ContractError) as again:
        desk.recall(send)
    assert again.value.error.code is ErrorCode.CHANGED_MEANWHILE
    assert again.value.error.message == first.value.error.message[:MAX_KEPT]
    assert not again.value.error.details


async def test_a_submission_is_remembered_however_much_else_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat would queue it twice; that of a pause says what is so already."""
    monkeypatch.setattr(answers, "MAX_ANSWERS", 30)
    monkeypatch.setattr(answers, "MAX_ANSWERS_PER_USER", 20)
    begin = asked("submit", Submit(script="print(1)\n", id="job"))
    async with life(tmp_path) as house:
        first = await house.commands.handle(begin)
        assert isinstance(first, Submitted)
        for principal in ("ada", "eve", "bob"):
            for number in range(25):
                pause = OnExperiment(experiment_id=first.experiment_id, id=f"again-{number}")
                verb = ("pause", "resume")[number % 2]
                await house.commands.handle(Asked(principal, True, verb, pause, "f", T0))
        assert await house.commands.handle(begin) == first
    async with life(tmp_path) as house:
        assert await house.commands.handle(begin) == first
        assert len(house.desk.state.entries) == 1


async def test_a_token_until_the_last_of_all_times_keeps_no_hub_from_its_start(
    tmp_path: Path,
) -> None:
    """It is what Python's `datetime.max` says, for those who mean never."""
    never = datetime.max.replace(tzinfo=UTC)
    token = CreateToken(token_id=ulid(1, "TKN"), name="Plate reader", expires_on=never)
    async with life(tmp_path) as house:
        await house.commands.handle(asked("create-token", token))
    async with life(tmp_path) as house:
        assert [t.expires_on for t in await house.archive.tokens.list(T0)] == [never]
        # As an earlier version kept it, rounded up.
        await house.archive._write(
            lambda t: t.connection.execute("UPDATE tokens SET expires_on = expires_on + 1")
        )
        assert [t.expires_on for t in await house.archive.tokens.list(T0)] == [never]


async def test_a_full_disk_hides_no_emergency_stop(tmp_path: Path) -> None:
    full = False

    def before(step: str) -> None:
        if full and step == "write":
            raise OSError(errno.ENOSPC, "No space left on device")

    async with life(tmp_path, before) as house:
        await house.desk.learn(NodePresence("reactor-1", boot(1), online=True))
        full = True
        answer = await house.commands.handle(ESTOP)
        full = False
        assert isinstance(answer, Done)
        assert answer.outcome == "accepted"
        assert house.stopped == ["reactor-1"]
