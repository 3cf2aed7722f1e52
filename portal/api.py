"""REST: experiments and the queue, as laboratory scripts use them.

Reads of what the hub publishes are answered from it, with their age; everything else asks the hub.
"""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from broker.messages import Checked, ContractError, Done, ErrorCode, Got, SortKey, Status
from broker.topics import EXPERIMENT_ID
from portal.access import ERRORS, Asking, ExperimentId, IdempotencyKey, as_json
from portal.asking import known_form
from portal.desk import Desk
from portal.errors import HTTP_STATUS, UNREACHABLE
from portal.listing import read_page
from portal.reader import Reader
from portal.selection import Selection
from portal.sessions import Session
from portal.state import State
from portal.views import (
    AnnotateRequest,
    CheckRequest,
    Commanded,
    ExperimentOf,
    HaltRequest,
    LimitsRequest,
    Mine,
    ParametersRequest,
    QueueOf,
    RetentionRequest,
    RunNowRequest,
    Selected,
    SelectionDone,
    SelectionRequest,
    Started,
    StartRequest,
    StatusOf,
    experiment_view,
    freshness,
    queue_of,
)

__all__ = ["HTTP_STATUS", "ExperimentsApi"]

_CURSOR = r"^[A-Za-z0-9_=-]{1,1000}$"
_Ulid = Annotated[str, Query(pattern=f"^{EXPERIMENT_ID.pattern}$")]


class ExperimentsApi:
    """The calls under `/api/experiments` and `/api/queue`."""

    def __init__(self, desk: Desk, reader: Reader, state: State) -> None:
        self._desk = desk
        self._reader = reader
        self._state = state
        self._selection = Selection(desk, state)

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix="/api", tags=["experiments"], responses=ERRORS)
        get, post = ["GET"], ["POST"]
        add = router.add_api_route
        add("/experiments/start", self.start, methods=post, response_model=Started)
        add("/experiments/check", self.check, methods=post, response_model=Checked)
        add("/experiments/selected", self.selected, methods=post, response_model=Selected)
        add("/experiments/user", self.mine, methods=get, response_model=Mine)
        one = "/experiments/{experiment_id}"
        add(one, self.get, methods=get, response_model=ExperimentOf)
        add(f"{one}/status", self.status, methods=get, response_model=StatusOf)
        for verb in (self.cancel, self.pause, self.resume):
            add(f"{one}/{verb.__name__}", verb, methods=post, response_model=Commanded)
        add(one, self.annotate, methods=["PATCH"], response_model=Commanded)
        add(one, self.delete, methods=["DELETE"], response_model=Commanded)
        add(f"{one}/restore", self.restore, methods=post, response_model=Commanded)
        add(f"{one}/run-now", self.run_now, methods=post, response_model=Commanded)
        add(f"{one}/reorder", self.reorder, methods=post, response_model=Commanded)
        add(f"{one}/parameters", self.parameters, methods=post, response_model=Commanded)
        return router

    def queue_router(self) -> APIRouter:
        """Return the routes of the queue."""
        router = APIRouter(prefix="/api/queue", tags=["queue"], responses=ERRORS)
        add = router.add_api_route
        add("/status", self.queue, methods=["GET"], response_model=QueueOf)
        for path, posture in (
            ("/pause", self.pause_queue),
            ("/resume", self.resume_queue),
            ("/drain", self.drain_queue),
        ):
            add(path, posture, methods=["POST"], response_model=Commanded)
        add("/limits", self.limits, methods=["POST"], response_model=Commanded)
        add("/retention", self.retention, methods=["POST"], response_model=Commanded)
        return router

    async def start(
        self, session: Asking, body: StartRequest, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Queue an experiment; it is durable when this answers."""
        done = await self._desk.submit(
            session,
            body.script_content,
            name=body.name,
            filename=body.filename,
            parameters=body.parameters if body.parameters is not None else body.config,
            request_id=idempotency_key,
        )
        return as_json(
            Started(
                experiment_id=done.experiment_id,
                status=done.status,
                queue_position=done.queue_position,
                message=done.message,
                estimated_start=done.estimated_start,
                forecast=done.forecast,
                warnings=done.warnings,
            )
        )

    async def check(self, session: Asking, body: CheckRequest) -> Response:
        """Check a script without queueing it: problems with their lines, its metadata, who fits."""
        return as_json(await self._desk.check(session, body.script_content, body.parameters))

    async def mine(
        self,
        session: Asking,
        *,
        status: Annotated[list[Status] | None, Query()] = None,
        search: Annotated[
            str, Query(max_length=100, description="Part of name, note, owner, reactor or id.")
        ] = "",
        node: Annotated[str | None, Query(description="Only on this reactor.")] = None,
        since: Annotated[datetime | None, Query(description="Created then or later.")] = None,
        until: Annotated[datetime | None, Query(description="Created before that.")] = None,
        sort: SortKey = SortKey.CREATED,
        ascending: bool = False,
        scope: Annotated[Literal["mine", "all"], Query(description="Whose.")] = "mine",
        before: Annotated[str, Query(pattern=_CURSOR)] | None = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Response:
        """List experiments, the session's own unless told otherwise, newest first likewise."""
        page = await read_page(
            self._reader,
            self._state,
            session,
            mine=scope == "mine",
            status=tuple(status or ()),
            search=search,
            node=node,
            since=since,
            until=until,
            sort=sort,
            ascending=ascending,
            before=before,
            limit=limit,
        )
        return as_json(
            Mine(
                experiments=tuple(experiment_view(experiment) for experiment in page.experiments),
                total=len(page.experiments) if page.total is None else page.total,
                next=page.next,
                freshness=freshness(self._state),
            )
        )

    async def get(self, session: Asking, experiment_id: ExperimentId) -> Response:
        """Show everything about an experiment, its script too if the session may see it."""
        got = await read_experiment(self._reader, self._state, session, experiment_id)
        view = experiment_view(got.experiment)
        return as_json(
            ExperimentOf(
                experiment=view,
                script=got.script,
                info=got.info,
                milestones=got.milestones,
                freshness=freshness(self._state),
            )
        )

    async def status(self, session: Asking, experiment_id: ExperimentId) -> Response:
        """Show where an experiment is; cheap enough to ask every second."""
        experiment = self._state.experiment(known_form(experiment_id))
        if experiment is None or not self._state.open:
            got = await read_experiment(self._reader, self._state, session, experiment_id)
            experiment = got.experiment
        view = experiment_view(experiment)
        return as_json(StatusOf(experiment=view, freshness=freshness(self._state)))

    async def cancel(self, session: Asking, experiment_id: ExperimentId) -> Response:
        """Cancel it; if it runs, its script is asked to stop and what it made is kept."""
        return commanded(await self._desk.command(session, "cancel", experiment_id))

    async def pause(self, session: Asking, experiment_id: ExperimentId) -> Response:
        """Pause it; a waiting one keeps its rank, a running one is frozen on its reactor."""
        return commanded(await self._desk.command(session, "pause", experiment_id))

    async def resume(self, session: Asking, experiment_id: ExperimentId) -> Response:
        """Go on with a paused one."""
        return commanded(await self._desk.command(session, "resume", experiment_id))

    async def delete(self, session: Asking, experiment_id: ExperimentId) -> Response:
        """Delete a finished one and all it recorded; for a while it can be restored.

        For its owner and administrators.
        """
        return commanded(await self._desk.delete(session, experiment_id))

    async def restore(self, session: Asking, experiment_id: ExperimentId) -> Response:
        """Take a deletion back."""
        return commanded(await self._desk.restore(session, experiment_id))

    async def annotate(
        self, session: Asking, experiment_id: ExperimentId, body: AnnotateRequest
    ) -> Response:
        """Change its name, its note, or both, whatever it is doing."""
        done = await self._desk.annotate(
            session, experiment_id, name=body.name, note=body.note, edition=body.edition
        )
        return commanded(done)

    async def run_now(
        self,
        session: Asking,
        experiment_id: ExperimentId,
        body: RunNowRequest | None = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Put a waiting one first, on a named reactor if given. Administrators only."""
        wish = body or RunNowRequest()
        done = await self._desk.run_now(
            session,
            experiment_id,
            node=wish.node,
            stop_running=wish.stop_running,
            stops=wish.stops,
            request_id=idempotency_key,
        )
        return commanded(done)

    async def reorder(
        self,
        session: Asking,
        experiment_id: ExperimentId,
        *,
        new_position: Annotated[int | None, Query(description="1 is next; 0 means 1.")] = None,
        before: _Ulid | None = None,
        after: _Ulid | None = None,
        known: Annotated[
            int | None,
            Query(
                ge=0,
                description="`moved.count` of the queue as seen, 0 if absent there: if the order "
                "was changed since, nothing is moved and the answer is 409 CHANGED_MEANWHILE.",
            ),
        ] = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Move a waiting one: to a position, or before or after another one."""
        done = await self._desk.move(
            session,
            experiment_id,
            position=None if new_position is None else max(1, new_position),
            before=before,
            after=after,
            known=known,
            request_id=idempotency_key,
        )
        return commanded(done)

    async def parameters(
        self, session: Asking, experiment_id: ExperimentId, body: ParametersRequest
    ) -> Response:
        """Change parameters while it runs; the script sees them at its next look."""
        return commanded(
            await self._desk.send(session, experiment_id, body.parameters, body.expected)
        )

    async def queue(self, session: Asking) -> Response:  # noqa: ARG002 - makes a session on first visit
        """Show the queue: what runs, and what waits in what order."""
        queue = self._state.queue
        if queue is None:
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                "the queue is not known yet",
                "it is as soon as the hub answers; is it running?",
            )
        return as_json(queue_of(queue, self._state))

    async def pause_queue(self, session: Asking, body: HaltRequest | None = None) -> Response:
        """Start nothing until resumed; what runs goes on. Administrators only."""
        return commanded(await self._desk.posture(session, "pause", body.reason if body else ""))

    async def resume_queue(self, session: Asking) -> Response:
        """Start experiments again. Administrators only."""
        return commanded(await self._desk.posture(session, "resume"))

    async def drain_queue(self, session: Asking, body: HaltRequest | None = None) -> Response:
        """Finish what runs, start nothing. Administrators only."""
        return commanded(await self._desk.posture(session, "drain", body.reason if body else ""))

    async def selected(self, session: Asking, body: SelectionRequest) -> Response:
        """Do the same to several; one that is refused keeps no other back."""
        outcome = await self._selection.carry_out(
            session, body.verb, body.ids, target=body.target, known=body.known
        )
        done = tuple(
            SelectionDone(
                experiment_id=one.experiment_id,
                name=one.name,
                message=one.message or None,
                error=one.error,
            )
            for one in outcome.ones
        )
        return as_json(
            Selected(
                success=not outcome.refused,
                message=outcome.message,
                done=done,
                known=outcome.known,
            )
        )

    async def limits(self, session: Asking, body: LimitsRequest) -> Response:
        """Change limits for what comes. Administrators only."""
        return commanded(await self._desk.limits(session, **body.model_dump()))

    async def retention(self, session: Asking, body: RetentionRequest) -> Response:
        """Say how long finished experiments are kept. Administrators only."""
        return commanded(await self._desk.retention(session, body.days))


async def read_experiment(
    reader: Reader, state: State, session: Session, experiment_id: str
) -> Got:
    """Return an experiment from the hub, or without its script from what the portal knows.

    Raises:
        ContractError: NOT_FOUND, or the hub cannot be asked and nothing is known.
    """
    try:
        return await reader.get(session, experiment_id)
    except ContractError as error:
        known = state.experiment(experiment_id)
        if error.error.code not in UNREACHABLE or known is None:
            raise
        return Got(experiment=known)


def commanded(done: Done) -> Response:
    """Return what became of a command as REST tells it."""
    return as_json(
        Commanded(
            message=done.message,
            outcome=done.outcome,
            status=done.status,
            queue_position=done.queue_position,
            known=done.known,
            edition=done.edition,
            undo_seconds=done.undo_seconds,
        )
    )
