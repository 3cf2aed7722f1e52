"""Several experiments in one ZIP: who may have them is asked before, each is made in its turn."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from broker.messages import ContractError, ErrorCode, Exported, ExportKind
from portal.downloads import Downloads, Ready
from portal.reader import Reader
from portal.sessions import Session

MAX_BUNDLED: Final = 50
"""Experiments in one download: a page of the list."""


class Bundles:
    """Downloads of several experiments."""

    def __init__(self, reader: Reader, downloads: Downloads) -> None:
        self._reader = reader
        self._downloads = downloads

    async def respond(self, request: Request, session: Session, ids: Sequence[str]) -> Response:
        """Return everything that these experiments recorded and saved, each in a folder.

        Raises:
            ContractError: MALFORMED, none or too many are asked for; NOT_FOUND, FORBIDDEN: one of
                them; UNAVAILABLE, STORAGE_FULL: not now. Nothing was sent.
        """
        wanted = list(dict.fromkeys(ids))
        if not 0 < len(wanted) <= MAX_BUNDLED:
            raise ContractError(
                ErrorCode.MALFORMED,
                f"more than {MAX_BUNDLED} experiments in one download"
                if wanted
                else "nothing is selected",
                "take fewer at a time" if wanted else "tick the experiments that are meant",
            )
        for one in wanted:
            await self._demand(session, one)
        ready = self._ready(session, wanted, await self._export(session, wanted[0]))
        return self._downloads.respond_joined(request, f"{len(wanted)}-experiments.zip", ready)

    async def _demand(self, session: Session, experiment_id: str) -> None:
        got = await self._reader.get(session, experiment_id)
        if got.script is None and not session.admin and got.experiment.user != session.user:
            raise ContractError(
                ErrorCode.FORBIDDEN,
                f"“{got.experiment.name}” belongs to {got.experiment.owner}",
                "take its tick away: its owner and administrators may download it",
                experiment_id=experiment_id,
            )

    async def _ready(
        self, session: Session, ids: Sequence[str], first: Exported
    ) -> AsyncGenerator[Ready, None]:
        """Yield each as it is made; while one is sent, the hub makes the next."""
        made: asyncio.Task[Exported] | None = None
        folders: set[str] = set()
        try:
            for place, one in enumerate(ids):
                exported = first if made is None else await made
                if place + 1 < len(ids):
                    made = asyncio.create_task(self._export(session, ids[place + 1]))
                folder = exported.filename.removesuffix(".zip")
                folder = f"{folder}-{one}" if folder in folders else folder
                folders.add(folder)
                yield folder, exported, partial(self._reader.fetch, session, exported.ref)
        finally:
            if made is not None:
                made.cancel()
                await asyncio.gather(made, return_exceptions=True)

    async def _export(self, session: Session, experiment_id: str) -> Exported:
        return await self._reader.export(session, experiment_id, ExportKind.RESULTS)
