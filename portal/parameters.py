"""Parameters as forms send them: text, made into what the script declares; and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.messages import ContractError, ErrorCode, Milestone, ParameterInfo, Parameters
from portal.upload_form import PARAMETER, parse_as

SHOWN: Final = "shown."
"""Begins the name of the field that tells what a parameter was when the form was shown."""


def changes(
    infos: Sequence[ParameterInfo], fields: Mapping[str, str]
) -> tuple[Parameters, Parameters]:
    """Return what a form changes, and what those parameters were when it was shown.

    Raises:
        ContractError: SCRIPT_PARAMETERS, a text is not of its parameter's type.
    """
    chosen: dict[str, bool | int | float | str] = {}
    expected: dict[str, bool | int | float | str] = {}
    for info in infos:
        text = fields.get(PARAMETER + info.name)
        shown = fields.get(SHOWN + info.name)
        if text is None or text == shown:
            continue
        try:
            chosen[info.name] = parse_as(info.default, text)
            if shown is not None:
                expected[info.name] = parse_as(info.default, shown)
        except ValueError as error:
            raise ContractError(
                ErrorCode.SCRIPT_PARAMETERS,
                f"parameter {info.name!r}: {error}",
                "mend it and send again",
                field=f"parameters.{info.name}",
            ) from error
    return chosen, expected


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far the last change of the parameters came.

    Attributes:
        sent: When they were changed last; None if never.
        seen: When the script saw that; None if it has not looked yet.
    """

    sent: Milestone | None
    seen: Milestone | None


def delivery(milestones: Sequence[Milestone], attempt: int) -> Delivery:
    """Return how far the last change came in an attempt.

    What was seen is told by revisions: times are of a clock that may be set back between them.
    """
    told = [milestone for milestone in milestones if milestone.attempt == attempt]
    changes = [milestone for milestone in told if milestone.what == "parameters"]
    sent = max(changes, key=_revision, default=None)
    if sent is None:
        return Delivery(None, None)
    looks = (
        milestone
        for milestone in told
        if milestone.what == "parameters-seen" and _revision(milestone) >= _revision(sent)
    )
    return Delivery(sent, min(looks, key=_revision, default=None))


def _revision(milestone: Milestone) -> int:
    return milestone.revision or 0
