"""Who asks, who owns, who may."""

from broker.messages import ContractError, ErrorCode
from broker.requests import Asked


def powerful(asked: Asked) -> bool:
    """Whether an administrator asks: by the administrators' topic, or vouched for by a portal."""
    actor = asked.request.actor
    return asked.admin or (actor is not None and actor.admin)


def handle(asked: Asked) -> str:
    """Return the name of who asks as others may see it; never the secret behind it."""
    actor = asked.request.actor
    return asked.principal if actor is None else actor.name


def may_change(asked: Asked, owner: str, *, everybody: bool) -> bool:
    """Whether somebody may change an experiment and fetch its script and results."""
    return everybody or powerful(asked) or asked.user == owner


def demand_change(asked: Asked, owner: str, *, everybody: bool) -> None:
    """Return if the experiment may be changed.

    Raises:
        ContractError: FORBIDDEN.
    """
    if not may_change(asked, owner, everybody=everybody):
        raise ContractError(
            ErrorCode.FORBIDDEN,
            "this experiment belongs to somebody else",
            "ask its owner or an administrator",
        )
