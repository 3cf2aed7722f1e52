"""Making requests of the contract from what people gave, and reading the answers."""

from typing import Final, TypeVar

from pydantic import JsonValue, ValidationError

from broker.messages import ContractError, ErrorCode, Request, Result
from broker.requests import Asker
from broker.topics import EXPERIMENT_ID
from portal.errors import not_found
from portal.sessions import Session
from portal.state import State

_R = TypeVar("_R", bound=Request)
_A = TypeVar("_A")

_GRACE_SECONDS: Final = 2.0
"""Broker and hub may be away so long, as when they start again, before people are told no."""


class Line:
    """The way to the hub; says at once when it is cut."""

    def __init__(self, asker: Asker, state: State) -> None:
        self._asker = asker
        self._state = state

    async def ask(
        self, verb: str, request: Request, *, seconds: float, admin: bool = False
    ) -> Result:
        """Ask the hub; `Asker.ask` repeats and waits as the contract wants.

        Raises:
            ContractError: UNAVAILABLE at once if broker or hub have been away for a while;
                otherwise what `Asker.ask` raises.
        """
        link = self._state.link
        if self._state.age() > _GRACE_SECONDS and (not link.broker or link.hub == "offline"):
            what = "hub is offline" if link.broker else "message broker does not answer"
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"the {what} since {link.since:%Y-%m-%d %H:%M:%S} UTC",
                "running experiments go on and keep their data; try again when it is back",
            )
        return await self._asker.ask(verb, request, admin=admin, timeout=seconds)


def known_form(experiment_id: str) -> str:
    """Return the id if an experiment could have it.

    Raises:
        ContractError: NOT_FOUND.
    """
    if EXPERIMENT_ID.fullmatch(experiment_id) is None:
        raise not_found("this experiment", "look for it in My experiments or in the queue")
    return experiment_id


def need_admin(session: Session, what: str) -> None:
    """Refuse who may not administrate.

    Raises:
        ContractError: FORBIDDEN.
    """
    if not session.admin:
        raise ContractError(
            ErrorCode.FORBIDDEN, f"only administrators may {what}", "log in at /login"
        )


def build(model: type[_R], **fields: object) -> _R:
    """Return the request.

    Raises:
        ContractError: MALFORMED; the details name each wrong field.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problems: list[JsonValue] = [
            {"field": ".".join(str(part) for part in item["loc"]), "problem": item["msg"]}
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "request"
        raise ContractError(
            ErrorCode.MALFORMED,
            f"{field}: {first['msg'].removeprefix('Value error, ')}",
            "correct this value and try again",
            field=field,
            problems=problems[:10],
        ) from error


def expect(kind: type[_A], answer: object) -> _A:
    """Return the answer if it is of the kind that was asked for.

    Raises:
        ContractError: INTERNAL.
    """
    if isinstance(answer, kind):
        return answer
    raise ContractError(
        ErrorCode.INTERNAL,
        f"the hub answered with {type(answer).__name__} in place of {kind.__name__}",
        "hub and portal may be of different versions",
    )
