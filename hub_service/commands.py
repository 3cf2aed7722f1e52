"""The verbs that change something."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

from broker.messages import (
    Annotate,
    ContractError,
    CreateToken,
    DeclareDead,
    Done,
    ErrorCode,
    EstopRequest,
    Halt,
    Limits,
    Move,
    OnExperiment,
    OnNode,
    Posture,
    Request,
    Result,
    Retention,
    RevokeToken,
    RunNow,
    Send,
    Submit,
    Submitted,
)
from broker.requests import Asked
from hub_service import scripts
from hub_service.archive import Archive
from hub_service.authority import demand_change, handle, powerful
from hub_service.desk import Desk
from hub_service.keeping import Keeping
from hub_service.queue import Decision, Event, events, views
from hub_service.queue.durations import Durations
from hub_service.refusal import RefusedError, unknown_experiment
from hub_service.settings import HubSettings
from hub_service.submission import outlook, plan_of
from hub_service.tokens import TokenBook

log = logging.getLogger(__name__)

_POSTURES: Final[Mapping[str, Literal[Posture.PAUSED, Posture.RUNNING, Posture.DRAINING]]] = {
    "pause-queue": Posture.PAUSED,
    "resume-queue": Posture.RUNNING,
    "drain-queue": Posture.DRAINING,
}


class Commands:
    """Carries commands out: may they be, what do they mean for the queue, what is the answer.

    Args:
        desk: Where changes pass.
        archive: Has scripts and what is over.
        settings: Who may what.
        checker: Of scripts.
        durations: Of earlier runs.
        stop_node: Publishes an emergency stop for a node.
        keeping: Of what is over.
        tokens: For scripts.
        new_id: Makes the ids of experiments.
    """

    def __init__(
        self,
        desk: Desk,
        archive: Archive,
        settings: HubSettings,
        *,
        checker: scripts.Checker,
        durations: Durations,
        stop_node: Callable[[str, EstopRequest], Awaitable[None]],
        keeping: Keeping,
        tokens: TokenBook,
        new_id: Callable[[], str],
    ) -> None:
        self._desk = desk
        self._archive = archive
        self._settings = settings
        self._checker = checker
        self._durations = durations
        self._stop_node = stop_node
        self._keeping = keeping
        self._tokens = tokens
        self._new_id = new_id

    async def handle(self, asked: Asked) -> Result:
        """Carry out one command; its effect is durable when this returns.

        Raises:
            ContractError: Why it was refused; nothing was changed.
        """
        known = self._desk.recall(asked)
        if known is not None:
            return known
        try:
            return await self._carry_out(asked, asked.request)
        except RefusedError as refused:
            experiment_id = getattr(asked.request, "experiment_id", None)
            await self._desk.audit(
                asked, str(refused.error.code), experiment_id, error=refused.error
            )
            raise

    async def _carry_out(self, asked: Asked, request: Request) -> Result:  # noqa: C901 -- one case a request
        match request:
            case Submit():
                return await self._submit(asked, request)
            case Send():
                return await self._send(asked, request)
            case Annotate():
                return await self._annotate(asked, request)
            case CreateToken():
                return await self._tokens.create(asked, request)
            case RevokeToken():
                return await self._tokens.revoke(asked, request)
            case Move(experiment_id=experiment_id):
                free = self._settings.open or powerful(asked)
                event: Event = events.MoveAsked(
                    experiment_id,
                    request.position,
                    request.before,
                    request.after,
                    None if free else asked.user,
                    handle(asked),
                    request.known,
                )
                return await self._on_experiment(asked, event, experiment_id)
            case RunNow(experiment_id=experiment_id):
                event = events.RunNowAsked(
                    experiment_id,
                    handle(asked),
                    request.node,
                    request.stop_running,
                    request.stops,
                )
                return await self._on_experiment(asked, event, experiment_id)
            case OnExperiment(experiment_id=experiment_id):
                if asked.verb == "delete":
                    return await self._keeping.delete(asked, experiment_id)
                if asked.verb == "restore":
                    return await self._keeping.restore(asked, experiment_id)
                event = _on_experiment(asked, experiment_id)
                return await self._on_experiment(asked, event, experiment_id)
            case OnNode(node=node) if asked.verb == "estop":
                return await self._estop(asked, node)
            case _:
                return await self._desk.command(asked, _governing(asked, request), _done)

    async def _submit(self, asked: Asked, request: Submit) -> Result:
        state = self._desk.state
        verdict = await self._checker.check(
            request.script, request.parameters, state.nodes, state.limits
        )
        try:
            verdict.demand_ok()
        except ContractError as error:
            raise RefusedError.of(error.error) from None
        plan = plan_of(asked, request, verdict, self._new_id())

        def tell(decision: Decision) -> Result:
            entry = decision.state.entries[plan.experiment_id]
            place, start, why = outlook(decision.state, entry.id, self._durations, entry.created_at)
            told = "it starts now" if place is None else f"it is number {place} in the queue"
            return Submitted(
                experiment_id=entry.id,
                status=entry.status,
                queue_position=place,
                estimated_start=views.likely(start),
                forecast=start,
                warnings=plan.warnings,
                message=f"{plan.name} is queued; {told}" + (f" ({why})" if why else ""),
            )

        return await self._desk.command(
            asked,
            events.Submitted(plan),
            tell,
            script=(verdict.sha256, request.script),
            experiment_id=plan.experiment_id,
        )

    async def _send(self, asked: Asked, request: Send) -> Result:
        await self._demand_live(asked, request.experiment_id)
        entry = self._desk.state.entries.get(request.experiment_id)
        script = None if entry is None else await self._archive.get_script(entry.plan.script_sha256)
        if script is None:
            raise RefusedError(
                ErrorCode.WRONG_STATE,
                "the hub does not have the script of this experiment, so it knows no parameters",
                "cancel it and submit it again",
            )
        declared = scripts.parse(script)[0].info.parameters
        chosen, problems = scripts.changed(declared, request.parameters)
        expected, doubts = scripts.changed(declared, request.expected)
        if problems or doubts:
            raise RefusedError.of((*problems, *doubts)[0].error)
        event = events.SendAsked(request.experiment_id, chosen, expected)
        return await self._desk.command(asked, event, _done, experiment_id=request.experiment_id)

    async def _annotate(self, asked: Asked, request: Annotate) -> Result:
        experiment_id = request.experiment_id
        if experiment_id not in self._desk.state.entries:
            return await self._keeping.annotate(asked, request)
        event = events.AnnotateAsked(experiment_id, request.name, request.note, request.edition)
        return await self._on_experiment(asked, event, experiment_id)

    async def _on_experiment(self, asked: Asked, event: Event, experiment_id: str) -> Result:
        await self._demand_live(asked, experiment_id)
        return await self._desk.command(asked, event, _done, experiment_id=experiment_id)

    async def _demand_live(self, asked: Asked, experiment_id: str) -> None:
        """Return if the experiment is not over and the asker may change it."""
        entry = self._desk.state.entries.get(experiment_id)
        if entry is not None:
            try:
                demand_change(asked, entry.plan.user, everybody=self._settings.open)
            except ContractError as error:
                raise RefusedError.of(error.error) from None
            return
        archived = await self._archive.finished(experiment_id)
        if archived is None:
            raise unknown_experiment(experiment_id)
        raise RefusedError(
            ErrorCode.WRONG_STATE,
            f"the experiment is {archived.status}, which never changes",
            "submit it again to run it again",
            status=archived.status,
        )

    async def _estop(self, asked: Asked, node: str) -> Result:
        if node not in self._desk.state.nodes:
            raise RefusedError(
                ErrorCode.NOT_FOUND,
                f"there is no reactor {node}",
                "known are: " + (", ".join(sorted(self._desk.state.nodes)) or "none"),
            )
        await self._stop_node(node, EstopRequest(reason=f"asked for by {handle(asked)}"[:200]))
        done = Done(outcome="accepted", message=f"the emergency stop is on its way to {node}")
        # Brought again after a release, it would latch again. Remembered after the order, not
        # before: of the two, a stop too many is the safe one.
        await self._desk.remember(asked, done)
        try:
            await self._desk.audit(asked, "accepted", None)
        except ContractError as error:  # the reactor stops all the same
            log.error("an emergency stop of %s is not on record: %s", node, error)  # noqa: TRY400  a full disk needs no trace
        return done


def _done(decision: Decision) -> Result:
    answer = decision.answer
    if answer is None:
        return Done(outcome="done", message="done")
    entry = decision.state.entries.get(answer.experiment_id or "")
    if entry is None:
        return Done(outcome=answer.outcome, message=answer.message)
    return Done(
        outcome=answer.outcome,
        message=answer.message,
        experiment_id=entry.id,
        status=entry.status,
        queue_position=decision.state.position(entry.id),
        known=decision.state.moves,
        edition=entry.edition,
    )


def _on_experiment(asked: Asked, experiment_id: str) -> Event:
    match asked.verb:
        case "cancel":
            return events.CancelAsked(experiment_id, handle(asked))
        case "pause":
            return events.PauseAsked(experiment_id)
        case "resume":
            return events.ResumeAsked(experiment_id)
        case verb:
            raise _cannot(verb)


def _governing(asked: Asked, request: Request) -> Event:
    """Return what concerns no single experiment: the queue, its limits, a reactor."""
    match request:
        case Limits():
            return events.LimitsAsked(
                request.per_user,
                request.max_duration,
                request.max_pause,
                request.max_script,
                request.user,
            )
        case Retention():
            return events.RetentionAsked(request.days)
        case DeclareDead():
            return events.DeclareDeadAsked(request.node, handle(asked), request.power_is_off)
        case OnNode(node=node) if asked.verb == "drain-node":
            return events.DrainNodeAsked(node, handle(asked))
        case OnNode(node=node) if asked.verb == "resume-node":
            return events.ResumeNodeAsked(node, handle(asked))
        case _ if asked.verb in _POSTURES:
            reason = request.reason if isinstance(request, Halt) else ""
            return events.PostureAsked(_POSTURES[asked.verb], handle(asked), reason)
        case _:
            raise _cannot(asked.verb)


def _cannot(verb: str) -> ContractError:
    return ContractError(ErrorCode.UNKNOWN_VERB, f"the hub cannot {verb}", "compare the contract")
