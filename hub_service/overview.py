"""What administrators ask about the whole: who has what, what would be deleted, how full it is."""

import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Final

from ulid import ULID

from broker.messages import (
    ContractError,
    Due,
    DueOf,
    ErrorCode,
    Result,
    Status,
    Storage,
    UserInfo,
    Users,
    UsersOf,
)
from broker.requests import Asked
from hub_service.archive import Archive
from hub_service.archive.people import Person
from hub_service.queue import QueueState
from hub_service.queue.state import Entry, Stage
from hub_service.room import LOW

VERBS: Final = frozenset({"users", "due", "storage"})


class Overview:
    """Answers administrators' questions.

    Args:
        state: Returns the queue's durable state.
        archive: What was recorded.
        due: Returns how many finished experiments are older than so many days, and the end of the
            oldest of them.
    """

    def __init__(
        self,
        state: Callable[[], QueueState],
        archive: Archive,
        due: Callable[[int], Awaitable[tuple[int, datetime | None]]],
    ) -> None:
        self._state = state
        self._archive = archive
        self._due = due

    async def handle(self, asked: Asked) -> Result:
        """Answer one question.

        Raises:
            ContractError: UNKNOWN_VERB.
        """
        match asked.request:
            case Users() as request:
                return await self._users(request)
            case Due(days=days):
                count, oldest = await self._due(days)
                return DueOf(days=days, count=count, oldest=oldest)
            case _ if asked.verb == "storage":
                return await self._storage()
            case _:
                raise ContractError(
                    ErrorCode.UNKNOWN_VERB, f"the hub cannot {asked.verb}", "compare the contract"
                )

    async def _users(self, request: Users) -> UsersOf:
        """Return a page of users, those with live experiments and those with finished ones."""
        state, after = self._state(), request.after or ""
        archived = {
            person.user: person for person in await self._archive.people(after, request.limit + 1)
        }
        live: dict[str, list[Entry]] = {}
        for entry in state.entries.values():
            if entry.stage is not Stage.ENDED and entry.plan.user > after:
                live.setdefault(entry.plan.user, []).append(entry)
        excepted = {user for user in state.limits.exceptions if user > after}
        everybody = sorted({*archived, *live, *excepted})
        shown = everybody[: request.limit]
        users = tuple(_info(u, live.get(u, ()), archived.get(u), state) for u in shown)
        return UsersOf(users=users, next=shown[-1] if len(everybody) > len(shown) else None)

    async def _storage(self) -> Storage:
        directory = self._archive.directory
        disk = shutil.disk_usage(directory)
        database = sum(file.stat().st_size for file in directory.glob("archive.sqlite*"))
        return Storage(
            total=disk.total,
            free=disk.free,
            database=database,
            files=await self._archive.file_bytes(),
            finished=await self._archive.count(),
            low=disk.free < LOW,
        )


def _info(
    user: str, entries: Iterable[Entry], person: Person | None, state: QueueState
) -> UserInfo:
    known = sorted(entries, key=lambda entry: entry.number)
    counts = Counter(entry.status for entry in known)
    finished = person.finished if person is not None else {}
    newest = max((*(e.id for e in known), *((person.newest,) if person else ())), default=None)
    owner = known[-1].plan.owner if known else person.owner if person else ""
    return UserInfo(
        user=user,
        owner=owner,
        queued=counts[Status.QUEUED],
        running=counts[Status.RUNNING],
        paused=counts[Status.PAUSED],
        completed=finished.get(Status.COMPLETED, 0),
        failed=finished.get(Status.FAILED, 0),
        cancelled=finished.get(Status.CANCELLED, 0),
        limit=state.limits.of(user),
        excepted=user in state.limits.exceptions,
        last_submitted=None if newest is None else ULID.from_str(newest).datetime,
    )
