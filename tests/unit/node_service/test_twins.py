from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from broker.connection import Message
from broker.messages import ContractError, ErrorCode, ServiceStatus
from node_service.twins import Twins

ME, OTHER = "01M8A8A89A318QFTQ3BKZH2241", "01M8A8A89A318QFTQ3BKZH2242"


def said(state: str, boot_id: str, *, stored: bool = False) -> Message:
    status = ServiceStatus.model_validate(
        {"state": state, "version": "1", "boot_id": boot_id, "since": datetime.now(UTC)}
    )
    return Message("bioreactor/nodes/reactor-1/status", status.encode(), retain=stored)


@dataclass
class Case:
    answers: int = 0
    left: list[ContractError] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.twins = Twins(
            "reactor-1",
            ME,
            lambda _, act: self.later.append(act),
            answer=self.answer,
            leave=self.left.append,
            changed=lambda: None,
        )

    async def answer(self) -> None:
        self.answers += 1

    def speaks(self) -> bool:
        return self.twins.settled

    def refuses(self) -> bool:
        return self.twins.refusal is not None

    async def come(self, *stored: Message) -> None:
        """Connect: what is stored comes before the echo of one's own word."""
        await self.twins.connected()
        for message in stored:
            await self.twins.hear(message)
        await self.twins.hear(said("online", ME))


async def test_without_a_broker_nothing_is_refused() -> None:
    case = Case()
    assert not case.refuses()
    assert not case.speaks()


async def test_a_node_that_finds_nobody_speaks_at_once() -> None:
    for stored in ([], [said("offline", OTHER, stored=True)], [said("online", ME, stored=True)]):
        case = Case()
        await case.come(*stored)
        assert case.speaks()
        assert not case.refuses()


async def test_a_word_of_the_dead_is_waited_for() -> None:
    case = Case()
    await case.come(said("online", OTHER, stored=True))
    assert not case.speaks()
    assert case.refuses()
    case.later[0]()
    assert case.speaks()
    assert not case.refuses()


async def test_who_is_answered_leaves() -> None:
    case = Case()
    await case.come(said("online", OTHER, stored=True))
    await case.twins.hear(said("online", OTHER))
    assert [error.error.code for error in case.left] == [ErrorCode.WRONG_STATE]
    assert case.answers == 0


async def test_who_was_there_answers_once_and_starts_nothing_until_the_other_is_gone() -> None:
    case = Case()
    await case.come()
    for _ in range(2):
        await case.twins.hear(said("online", OTHER))
    assert (case.answers, case.twins.other, case.left) == (1, OTHER, [])
    assert case.refuses()
    await case.twins.hear(said("offline", ME))  # an old last will
    await case.twins.hear(said("offline", OTHER))
    assert not case.refuses()
    await case.twins.hear(said("online", OTHER))
    assert case.answers == 2
