"""A call is done once for its id."""

import asyncio

import pytest

from broker.messages import ContractError, ErrorCode
from node_service.answers import Answers


class Work:
    def __init__(self) -> None:
        self.done = 0
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> int:
        await self.may_end.wait()
        self.done += 1
        return self.done


async def test_a_repeated_call_gets_the_first_answer() -> None:
    answers, work = Answers(), Work()
    assert [await answers.once("a", "x", work) for _ in range(3)] == [1, 1, 1]
    assert await answers.once("b", "x", work) == 2
    await answers.close()


async def test_a_refusal_is_an_answer_too() -> None:
    answers = Answers()
    times = 0

    async def refuse() -> None:
        nonlocal times
        times += 1
        raise ContractError(ErrorCode.LIMIT, "no", "less")

    for _ in range(2):
        with pytest.raises(ContractError) as error:
            await answers.once("a", "x", refuse)
        assert error.value.error.code is ErrorCode.LIMIT
    assert times == 1
    await answers.close()


async def test_work_goes_on_when_the_asker_hangs_up() -> None:
    answers, work = Answers(), Work()
    work.may_end.clear()
    asking = asyncio.create_task(answers.once("a", "x", work))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    again = asyncio.create_task(answers.once("a", "x", work))
    work.may_end.set()
    assert await again == 1
    await answers.close()


async def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    answers, work = Answers(kept=3), Work()
    for id_ in "abcd":
        await answers.once(id_, "x", work)
    assert await answers.once("d", "x", work) == 4
    assert await answers.once("a", "x", work) == 5
    await answers.close()


def test_what_was_recorded_before_a_restart_is_known() -> None:
    answers = Answers(known={"a": 2})
    assert (answers.recorded("a"), answers.recorded("b")) == (2, 0)


async def test_closing_ends_what_is_under_way() -> None:
    answers, work = Answers(), Work()
    work.may_end.clear()
    asking = asyncio.create_task(answers.once("a", "x", work))
    await asyncio.sleep(0)
    await answers.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
