"""REST: reactors, their past, and what may be done with them."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from broker.messages import MAX_HISTORY_POINTS, HistoryOf
from portal.access import ERRORS, Asking, ChannelNames, IdempotencyKey, NodeId, Points, as_json
from portal.api import commanded
from portal.desk import Desk
from portal.errors import not_found
from portal.estop import EmergencyStop
from portal.known import NodeView
from portal.manual import ManualControl
from portal.node_views import (
    AlarmsOf,
    CommandRequest,
    DeadBody,
    EstopBody,
    Nodes,
    ReleaseBody,
)
from portal.reader import Reader
from portal.sessions import Session
from portal.state import State
from portal.views import (
    Commanded,
    freshness,
)


class NodesApi:
    """The calls under `/api/nodes`."""

    def __init__(
        self,
        reader: Reader,
        state: State,
        estop: EmergencyStop,
        desk: Desk,
        manual: ManualControl,
    ) -> None:
        self._reader = reader
        self._state = state
        self._estop = estop
        self._desk = desk
        self._manual = manual

    def router(self) -> APIRouter:
        """Return the routes of reactors."""
        router = APIRouter(prefix="/api/nodes", tags=["reactors"], responses=ERRORS)
        get, post = ["GET"], ["POST"]
        add = router.add_api_route
        add("", self.nodes, methods=get, response_model=Nodes)
        add("/{node}", self.node, methods=get, response_model=NodeView)
        add("/estop", self.stop_all, methods=post, response_model=Commanded)
        add("/{node}/alarms", self.alarms, methods=get, response_model=AlarmsOf)
        add("/{node}/command/{channel}", self.command, methods=post, response_model=Commanded)
        add("/{node}/manual-end", self.manual_end, methods=post, response_model=Commanded)
        add("/{node}/history", self.node_history, methods=get, response_model=HistoryOf)
        add("/{node}/estop", self.stop, methods=post, response_model=Commanded)
        add("/{node}/estop-release", self.release, methods=post, response_model=Commanded)
        add("/{node}/drain", self.drain, methods=post, response_model=Commanded)
        add("/{node}/resume", self.resume, methods=post, response_model=Commanded)
        add("/{node}/declare-dead", self.declare_dead, methods=post, response_model=Commanded)
        return router

    async def nodes(self, session: Asking) -> Response:
        """Show all reactors: channels, limits, what runs, the last readings."""
        nodes = self._state.nodes_for(session)
        return as_json(Nodes(nodes=tuple(nodes), freshness=freshness(self._state)))

    async def node(self, session: Asking, node: NodeId) -> Response:
        """Show one reactor."""
        return as_json(self._known(session, node))

    async def node_history(
        self,
        session: Asking,
        node: NodeId,
        *,
        channels: ChannelNames = None,
        start: float | None = None,
        end: float | None = None,
        points: Points = MAX_HISTORY_POINTS,
        events: Annotated[
            list[str] | None,
            Query(alias="event", description="Only events of these kinds; absent: all."),
        ] = None,
    ) -> Response:
        """Show what a reactor measured and what was done to it; times are seconds since 1970.

        Without a start, its last day.
        """
        self._known(session, node)
        return as_json(
            await self._reader.history(
                session,
                node=node,
                channels=channels,
                start=start,
                end=end,
                points=points,
                events=events,
            )
        )

    async def alarms(
        self,
        session: Asking,
        node: NodeId,
        days: Annotated[float, Query(gt=0, le=366, description="How far back.")] = 7.0,
    ) -> Response:
        """Show the alarms and emergency stops of a reactor's last days, the newest first."""
        alarms = await self._reader.alarms(session, self._known(session, node), days=days)
        return as_json(AlarmsOf(alarms=tuple(alarms)))

    async def command(
        self,
        session: Asking,
        node: NodeId,
        channel: str,
        body: CommandRequest,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Set or dose a channel of a reactor that nobody holds. Administrators only.

        The reactor is then held by hand and makes itself safe some time after the last command;
        its report says when. Limits apply as they do to scripts.
        """
        done = await self._manual.command(
            session,
            node,
            channel,
            value=body.value,
            dose_ml=body.dose_ml,
            duration=body.duration,
            request_id=idempotency_key,
        )
        return commanded(done)

    async def manual_end(self, session: Asking, node: NodeId) -> Response:
        """End manual control: everything goes to its safe state. Administrators only."""
        return commanded(await self._manual.end(session, node))

    async def stop_all(self, session: Asking, body: EstopBody | None = None) -> Response:
        """Stop all reactors in an emergency, each as `POST /api/nodes/{node}/estop` does."""
        message = await self._estop.engage_all(session, body.reason if body else "")
        return as_json(Commanded(message=message, outcome="done"))

    async def stop(self, session: Asking, node: NodeId, body: EstopBody | None = None) -> Response:
        """Stop a reactor in an emergency: every output goes to its safe state and stays there."""
        message = await self._estop.engage(session, node, body.reason if body else "")
        return as_json(Commanded(message=message, outcome="done"))

    async def release(
        self, session: Asking, node: NodeId, body: ReleaseBody | None = None
    ) -> Response:
        """Release an emergency stop. Administrators only."""
        given = body or ReleaseBody()
        message = await self._estop.release(session, node, given.latch, given.reason)
        return as_json(Commanded(message=message, outcome="done"))

    async def drain(self, session: Asking, node: NodeId) -> Response:
        """Finish what runs on a reactor, start nothing more there. Administrators only."""
        return commanded(await self._desk.drain_node(session, node))

    async def resume(self, session: Asking, node: NodeId) -> Response:
        """Give a drained or dead reactor back to the queue. Administrators only."""
        return commanded(await self._desk.resume_node(session, node))

    async def declare_dead(
        self, session: Asking, node: NodeId, body: DeadBody | None = None
    ) -> Response:
        """Give up a reactor that is without power: what it runs has failed. Administrators only.

        Nothing is run again by itself. Should the reactor return, its old run is stopped and what
        that recorded is kept.
        """
        power_is_off = body is not None and body.power_is_off
        return commanded(await self._desk.declare_dead(session, node, power_is_off=power_is_off))

    def _known(self, session: Session, node: str) -> NodeView:
        view = self._state.node_for(session, node)
        if view is None:
            raise not_found("this reactor", "see /api/nodes for those that are known")
        return view
