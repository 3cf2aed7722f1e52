"""Whether a script can be read at all: text, of bounded size, that is Python."""

import re
import sys
import unicodedata

from broker.messages import ErrorCode, ScriptProblem
from hub_service.scripts.outline import Outline
from hub_service.scripts.problems import problem


def unreadable(script: str, limit: int) -> ScriptProblem | None:
    """Return why a script is no text of at most `limit` bytes in UTF-8, None if it is."""
    if not script.strip("\ufeff \t\r\n"):
        return problem(
            ErrorCode.SCRIPT_EMPTY, "the script is empty", "choose a Python file with an experiment"
        )
    try:
        size = len(script.encode())
    except UnicodeEncodeError as error:
        line = script.count("\n", 0, error.start) + 1
        return problem(
            ErrorCode.SCRIPT_ENCODING,
            "the script is not valid Unicode",
            "save it as UTF-8",
            line,
        )
    if size > limit:
        return problem(
            ErrorCode.SCRIPT_TOO_LARGE,
            f"the script has {size} bytes, at most {limit} are allowed",
            "keep data out of the script: it can be made or loaded when it runs",
            bytes=size,
            limit=limit,
        )
    return _control_character(script)


def _control_character(script: str) -> ScriptProblem | None:
    for match in re.finditer(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", script):
        character = match[0]
        place = match.start()
        if character == "\r" and script[place + 1 : place + 2] == "\n":
            continue
        line = script.count("\n", 0, place) + 1
        column = place - (script.rfind("\n", 0, place) + 1) + 1
        name = unicodedata.name(character, f"U+{ord(character):04X}")
        return problem(
            ErrorCode.SCRIPT_ENCODING,
            f"there is a control character ({name})",
            "this is probably not a Python file; if it is, save it as plain UTF-8 text",
            line,
            column,
        )
    return None


def syntax(outlined: Outline) -> ScriptProblem | None:
    """Return why a script is not Python, None if it is."""
    if outlined.encoding is not None:
        return problem(
            ErrorCode.SCRIPT_ENCODING,
            f"the script declares the encoding {outlined.encoding}",
            "save it as UTF-8 and remove the coding line",
            outlined.line,
        )
    if outlined.error is None:
        return None
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return problem(
        ErrorCode.SCRIPT_SYNTAX,
        f"this is not Python: {outlined.error}",
        f"correct this line or the one before it; experiments are written in Python {version}",
        outlined.line,
        outlined.column,
    )
