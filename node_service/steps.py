"""The steps in the life of an attempt, which the queue follows: from the ledger to the journal."""

import asyncio

from broker.messages import Error, PhaseRecord
from hardware.clock import Clock
from node_service.ledger import Ledger
from node_service.recorder import Recorder
from node_service.runs import Ending, RunKey


def step(
    key: RunKey,
    clock: Clock,
    phase: str,
    *,
    elapsed: float | None = None,
    error: Error | None = None,
    image: str | None = None,
    isolation: str | None = None,
    simulated: bool | None = None,
) -> PhaseRecord:
    """Return the record of a step that is taken now."""
    return PhaseRecord.model_validate(
        {
            "t": clock.now(),
            "mono": clock.monotonic(),
            "experiment_id": key.experiment_id,
            "attempt": key.attempt,
            "elapsed": elapsed,
            "phase": phase,
            "error": error,
            "image": image,
            "isolation": isolation,
            "simulated": simulated,
            "speed": None if simulated is None else clock.speed,
        }
    )


def last_step(
    key: RunKey, clock: Clock, ending: Ending, *, elapsed: float | None = None
) -> PhaseRecord:
    """Return the record that closes an attempt, still without its results."""
    phase = "interrupted" if ending.interrupted else "finished"
    record = step(key, clock, phase, elapsed=elapsed, error=ending.error)
    return record.model_copy(update={"outcome": ending.outcome, "exit_code": ending.exit_code})


class Outbox:
    """Moves steps from the ledger, where they were written with what they tell, to the journal."""

    def __init__(self, ledger: Ledger, recorder: Recorder) -> None:
        self._ledger = ledger
        self._recorder = recorder
        self._lock = asyncio.Lock()

    async def flush(self) -> None:
        """Return when every step in the ledger is in the journal."""
        async with self._lock:
            waiting = await self._ledger.outbox()
            if not waiting:
                return
            await self._recorder.write([record for _, record in waiting])
            await self._ledger.journaled(waiting[-1][0])
