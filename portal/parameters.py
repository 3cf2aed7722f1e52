"""Parameters as forms send them: text, made into what the script declares."""

from collections.abc import Mapping, Sequence
from typing import Final

from broker.messages import ContractError, ErrorCode, ParameterInfo, Parameters
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
