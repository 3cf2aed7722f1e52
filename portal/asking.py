"""Making requests of the contract from what people gave, and reading the answers."""

from typing import Final, TypeVar

from pydantic import JsonValue, ValidationError

from broker.messages import ContractError, ErrorCode, Payload, Request, Result
from broker.requests import Asker
from broker.topics import EXPERIMENT_ID
from portal.errors import not_found
from portal.sessions import Session
from portal.state import State

_R = TypeVar("_R", bound=Payload)
_A = TypeVar("_A")

READ_PATIENCE: Final = 1.0
WRITE_PATIENCE: Final = 2.5
"""Seconds that broker and hub may be away, as when they start again, before people are told no."""


class Line:
    """The way to the hub; says soon when it is cut."""

    def __init__(self, asker: Asker, state: State) -> None:
        self._asker = asker
        self._state = state

    async def ask(
        self,
        verb: str,
        request: Request,
        *,
        seconds: float,
        patience: float = WRITE_PATIENCE,
        admin: bool = False,
    ) -> Result:
        """Ask the hub; `Asker.ask` repeats and waits as the contract wants.

        Args:
            verb: Of the contract.
            request: That belongs to it.
            seconds: To wait for the answer.
            patience: Seconds that the hub may be away, counted from when it left.
            admin: Ask as an administrator.

        Raises:
            ContractError: UNAVAILABLE if broker or hub are away for longer; otherwise what
                `Asker.ask` raises.
        """
        left = patience - self._state.age()
        if not self._there() and not (left > 0 and await self._state.until(self._there, left)):
            link = self._state.link
            what = "hub" if link.broker else "message broker"
            raise ContractError(
                ErrorCode.UNAVAILABLE,
                f"the {what} does not answer since {link.since:%Y-%m-%d %H:%M:%S} UTC",
                "running experiments go on and keep their data; try again when it is back",
            )
        return await self._asker.ask(verb, request, admin=admin, timeout=seconds)

    def _there(self) -> bool:
        return self._state.link.hub == "online"


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
