"""What became of a script's doses, kept for a node that comes back: none is pumped twice.

A dose is on the disk before its pump moves, and again with its answer. A script whose answer was
lost with the node repeats the call: it gets that answer, or learns that the dose was under way.
What ended was on record before; what did not may never have been, and is recorded at the start.
"""

import asyncio
import logging
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from broker.messages import ContractError, Error, ErrorCode, Payload, RequestId, Time
from hardware.files import rewrite_file
from node_service.gateway_models import DoseAnswer

KEPT: Final = 64
"""Doses that ended; a script has no more connections on which an answer may have been lost."""

ROOM: Final = 32 * 1024
"""Bytes, more than so many doses take."""

logger = logging.getLogger(__name__)


class KeptDose(Payload):
    """A dose whose pump was to move.

    Attributes:
        begun: When.
        answer: What it came to; neither this nor `error`: it was under way.
        error: Why it came to less.
        told: A later process of the node has seen to it that it is on record.
    """

    id: RequestId
    channel: str
    ml: float
    begun: Time | None = None
    answer: DoseAnswer | None = None
    error: Error | None = None
    told: bool = False

    @property
    def ended(self) -> bool:
        """Whether it is known what it came to."""
        return self.answer is not None or self.error is not None


_KEPT: Final = TypeAdapter(tuple[KeptDose, ...])


class Doses:
    """The doses of one attempt.

    Args:
        file: Where they are kept.
        earlier: Those of earlier processes of the node.
    """

    def __init__(self, file: Path, earlier: tuple[KeptDose, ...] = ()) -> None:
        self._file = file
        self._earlier = {dose.id: dose for dose in earlier}
        self._doses = dict(self._earlier)
        self._line = asyncio.Lock()

    @classmethod
    async def load(cls, file: Path) -> Self:
        """Take up what earlier processes kept; a file that cannot be read holds nothing."""
        try:
            text = await asyncio.to_thread(file.read_bytes)
            return cls(file, _KEPT.validate_json(text))
        except FileNotFoundError:
            return cls(file)
        except (OSError, ValidationError) as error:
            logger.warning("which doses were given before is not known: %s", error)
            return cls(file)

    def earlier(self, id_: str) -> KeptDose | None:
        """Return a dose that an earlier process began."""
        return self._earlier.get(id_)

    @property
    def untold(self) -> tuple[KeptDose, ...]:
        """Those of earlier processes of which it is not known whether they are on record."""
        return tuple(d for d in self._earlier.values() if not (d.ended or d.told))

    async def begin(self, id_: str, channel: str, ml: float, at: datetime) -> None:
        """Keep a dose before its pump moves."""
        self._doses[id_] = KeptDose(id=id_, channel=channel, ml=ml, begun=at)
        await self._keep()

    async def tell(self, dose: KeptDose) -> None:
        """Note that a dose of an earlier process is on record."""
        self._earlier[dose.id] = self._doses[dose.id] = dose.model_copy(update={"told": True})
        await self._keep()

    async def end(
        self, id_: str, *, answer: DoseAnswer | None = None, error: Error | None = None
    ) -> None:
        """Keep what a dose came to; one that never began is none."""
        begun = self._doses.pop(id_, None)
        if begun is None:
            return
        self._doses[id_] = begun.model_copy(update={"answer": answer, "error": error})
        ended = [id_ for id_, dose in self._doses.items() if dose.ended]
        for old in ended[:-KEPT]:
            del self._doses[old]
        await self._keep()

    async def _keep(self) -> None:
        async with self._line:
            text = _KEPT.dump_json(tuple(self._doses.values())).decode()
            try:
                await asyncio.to_thread(rewrite_file, self._file, text, ROOM)
            except OSError as error:
                # The experiment goes first; the pump's limits hold whatever becomes of this.
                logger.warning("a dose is not remembered over a restart: %s", error)


def told_again(dose: KeptDose) -> DoseAnswer:
    """Return what a repeated call is answered.

    Raises:
        ContractError: What it was refused with, or OUTPUTS_RESET: it was under way.
    """
    if dose.answer is not None:
        return dose.answer
    if dose.error is not None:
        error = dose.error
        raise ContractError(error.code, error.message, error.hint, **error.details)
    raise ContractError(
        ErrorCode.OUTPUTS_RESET,
        f"the reactor's node was restarted in the middle of this dose: up to {dose.ml:g} mL were "
        "pumped, which count as delivered; pumps and direct outputs were switched off",
        "check the reactor, set again what the experiment needs, and go on without this dose",
        requested_ml=dose.ml,
        delivered_ml=dose.ml,
    )
