"""What handlers take from a request: its session, its id, and data as an answer."""

from typing import Annotated, Any, Final

from fastapi import Depends, Header, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from broker.messages import MAX_HISTORY_POINTS
from broker.topics import EXPERIMENT_ID, NAME
from portal.errors import ErrorBody
from portal.sessions import Session

ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorBody},
    "5XX": {"model": ErrorBody},
}
"""What every route may answer, for the reference."""


async def session_of(request: Request) -> Session:
    """Return who asks; `portal.admission` has put it there."""
    session = request.state.session
    if not isinstance(session, Session):
        raise TypeError("the route lies outside of those that have sessions")
    return session


ExperimentId = Annotated[str, Path(json_schema_extra={"pattern": f"^{EXPERIMENT_ID.pattern}$"})]
NodeId = Annotated[str, Path(json_schema_extra={"pattern": f"^{NAME.pattern}$"})]
"""Documented, not demanded: what cannot be a name does not exist, which is 404 and not 400."""
Asking = Annotated[Session, Depends(session_of)]
IdempotencyKey = Annotated[
    str | None,
    Header(description="The same key again gets the same answer and changes nothing twice."),
]

ChannelNames = Annotated[
    list[str] | None, Query(alias="channel", description="Only these; repeat it for several.")
]
Points = Annotated[int, Query(ge=2, le=MAX_HISTORY_POINTS, description="At most, a channel.")]


def as_json(body: BaseModel, status: int = 200) -> Response:
    """Return the model as JSON, with fields that are null."""
    return Response(body.model_dump_json(), status, media_type="application/json")
