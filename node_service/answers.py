"""Each call of a script that does something is done once, however often the script asks.

A call carries an id; the answer to the id is kept, refusals too. A call that is repeated while the
first is still under way waits for that one. The work goes on if the asker hangs up: a dose half
delivered is not undone by a lost connection.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Final, TypeVar, cast

from broker.messages import ContractError, ErrorCode

T = TypeVar("T")

KEPT: Final = 2000


class Answers:
    """The answers to the last calls of one attempt; bounded.

    Args:
        kept: How many answers are kept.
        known: How many records the calls wrote before the node came back, by id; what they
            answered is not known any more.
    """

    def __init__(self, kept: int = KEPT, known: Mapping[str, int] | None = None) -> None:
        self._kept = kept
        self._known = known or {}
        self._calls: OrderedDict[str, tuple[str, asyncio.Task[object]]] = OrderedDict()

    def recorded(self, id_: str) -> int:
        """Return how many records a call wrote before the node came back."""
        return self._known.get(id_, 0)

    async def once(self, id_: str, asked: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work unless a call with this id did it; return or raise what it gave.

        Args:
            id_: Of the call.
            asked: What is asked for; the same id with something else is refused.
            work: Does it, or what `recorded` leaves of it.

        Raises:
            ContractError: ID_REUSED, or what the work raised.
        """
        asked = sha256(asked.encode()).hexdigest()  # it may be long
        call = self._calls.get(id_)
        if call is None:
            call = (asked, asyncio.create_task(_run(work), name=f"call {id_}"))
            call[1].add_done_callback(_look)
            self._calls[id_] = call
            self._forget()
        if call[0] != asked:
            raise reused(id_)
        return cast("T", await asyncio.shield(call[1]))

    async def close(self) -> None:
        """Cancel what is under way and wait for its end."""
        tasks = [task for _, task in self._calls.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._calls.clear()

    def _forget(self) -> None:
        while len(self._calls) > self._kept:
            id_, (_, task) = next(iter(self._calls.items()))
            if not task.done():
                return
            del self._calls[id_]


def reused(id_: str) -> ContractError:
    """Return how a call is refused whose id was that of another one."""
    return ContractError(
        ErrorCode.ID_REUSED,
        f"the id {id_} was used for another call",
        "use a fresh id for each call and repeat it only to repeat that call",
    )


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _look(task: asyncio.Task[object]) -> None:
    """Take note of an error whose asker hung up; whoever repeats the call gets it."""
    if not task.cancelled():
        task.exception()
