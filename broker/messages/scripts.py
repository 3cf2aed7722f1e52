"""What a script says of itself, and what is wrong with it."""

from typing import Literal

from broker.messages.base import Label, Name, Ordinal, Payload, Seconds
from broker.messages.errors import Error


class ScriptProblem(Payload):
    """Something in a script that its author should know, with the line it stands on."""

    severity: Literal["error", "warning"]
    error: Error
    line: Ordinal | None = None
    column: Ordinal | None = None


class ParameterInfo(Payload):
    """A parameter that the script declares, for a form.

    Attributes:
        choices: The only values that it may have; empty: any of its kind.
    """

    name: Label
    default: bool | int | float | str
    unit: str = ""
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[int | float | str, ...] = ()


class ScriptInfo(Payload):
    """What a script says of itself, parsed from its inline metadata.

    Attributes:
        duration: How long its author expects it to run; nothing enforces it.
        max_duration: It is stopped then.
    """

    name: Label | None = None
    duration: Seconds | None = None
    max_duration: Seconds | None = None
    max_silence: Seconds | None = None
    needs: tuple[Name, ...] = ()
    node: Name | None = None
    on_interruption: Literal["fail", "requeue"] = "fail"
    dependencies: tuple[str, ...] = ()
    image: Name = "standard"
    parameters: tuple[ParameterInfo, ...] = ()
