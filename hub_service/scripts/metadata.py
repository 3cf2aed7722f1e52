"""A script's inline metadata: the PEP 723 block and its table `[tool.bioreactor]`.

```python
# /// script
# dependencies = ["numpy"]
# [tool.bioreactor]
# name = "Turbidostat"
# duration = "10 h"
# max_duration = "12 h"
# needs = ["od", "media", "waste"]
# [tool.bioreactor.parameters]
# target_od = {default = 0.6, unit = "OD600", min = 0.05, max = 4, description = "held density"}
# ///
```
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from broker.messages import ErrorCode, Label, Name, ParameterInfo, ScriptInfo, ScriptProblem
from hub_service.scripts.parameters import declared
from hub_service.scripts.problems import problem

_OPENING: Final = re.compile(r"# /// ([a-zA-Z0-9-]+)")
_AT_LINE: Final = re.compile(r" \(at line (\d+), column (\d+)\)$")
_REQUIREMENT: Final = re.compile(
    r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*(.*)", re.DOTALL
)
_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)
_UNITS: Final = {
    "s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
}  # fmt: skip
_KEYS: Final = (
    "name", "duration", "max_duration", "max_silence", "needs", "node", "on_interruption", "image",
    "parameters",
)  # fmt: skip
MAX_COMPLAINTS: Final = 20
MAX_TEXT: Final = 32 * 1024
_DEPTH: Final = 30
_DEEP: Final = re.compile(rf"(?:[^.\s]{{1,100}}[ \t]*\.[ \t]*){{{_DEPTH}}}")
_MAX_SECONDS: Final = 366 * 86400.0
_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)
_NAMES: Final[TypeAdapter[list[str]]] = TypeAdapter(list[Name])
_LABEL: Final[TypeAdapter[str]] = TypeAdapter(Label)


@dataclass(frozen=True, slots=True)
class Dependency:
    """A package that the script declares."""

    name: str
    line: int
    pinned: bool


@dataclass(frozen=True, slots=True)
class Block:
    """The lines of metadata in a script.

    Attributes:
        first_line: Of the script, on which the block begins.
        text: In TOML.
    """

    first_line: int
    text: str

    def line_of(self, key: str) -> int | None:
        """Return the script's line on which a key is set."""
        sets = re.compile(rf"""(?m)^[ \t]*(\[.*\b)?["']?{re.escape(key)}["']?[ \t]*(=|\])""")
        match = sets.search(self.text)
        if match is None:
            return None
        return self.first_line + self.text.count("\n", 0, match.end()) + 1


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a script says of itself.

    Attributes:
        block: Where that stands: looked into only where there is something to complain of.
    """

    info: ScriptInfo = field(default_factory=ScriptInfo)
    dependencies: tuple[Dependency, ...] = ()
    block: Block | None = None

    def line_of(self, key: str) -> int | None:
        """Return the line that says a key of `[tool.bioreactor]`."""
        return None if self.block is None else self.block.line_of(key)


class _Reader:
    """Reads one block; complaints gather in `problems`."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.problems: list[ScriptProblem] = []

    def line_of(self, key: str) -> int:
        """Return the line on which a key is set, or where the block begins."""
        return self.block.line_of(key) or self.block.first_line

    def complain(self, key: str, message: str, hint: str) -> None:
        if len(self.problems) < MAX_COMPLAINTS:
            self.problems.append(
                problem(ErrorCode.SCRIPT_METADATA, message, hint, self.line_of(key), field=key[:80])
            )


def parse(script: str) -> tuple[Metadata, tuple[ScriptProblem, ...]]:
    """Return a script's metadata and what is wrong with it; without a block, all defaults."""
    lines = script.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    blocks = list(_blocks(lines))
    if not blocks:
        return Metadata(), ()
    first_line, text = blocks[0]
    if text is None:
        told = problem(
            ErrorCode.SCRIPT_METADATA,
            "the metadata block that begins here has no end",
            "let each of its lines begin with '# ' and close it with a line '# ///'",
            first_line,
        )
        return Metadata(), (told,)
    if len(blocks) > 1:
        told = problem(
            ErrorCode.SCRIPT_METADATA,
            "there is a second `# /// script` block",
            "join the two blocks into one",
            blocks[1][0],
        )
        return Metadata(), (told,)
    block = Block(first_line, text)
    reader = _Reader(block)
    try:
        table = _load(text)
    except tomllib.TOMLDecodeError as error:
        return Metadata(), (_not_toml(error, first_line),)
    dependencies = _dependencies(reader, table.get("dependencies", []))
    tool = table.get("tool", {})
    said = tool.get("bioreactor", {}) if isinstance(tool, dict) else {}
    if not isinstance(said, dict):
        reader.complain("bioreactor", "tool.bioreactor is not a table", "write [tool.bioreactor]")
        said = {}
    info = _info(reader, said, dependencies)
    return Metadata(info, dependencies, block), tuple(reader.problems)


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, str | None]]:
    """Yield line and content of each script block; no content where it has no end.

    As the regular expression of PEP 723, which takes quadratic time on hostile input.
    """
    number = 0
    while number < len(lines):
        opening = _OPENING.fullmatch(lines[number])
        number += 1
        if opening is None:
            continue
        end = number
        closing = None
        while end < len(lines) and (lines[end] == "#" or lines[end].startswith("# ")):
            if lines[end] == "# ///":
                closing = end  # the last one counts, as PEP 723 says
            end += 1
        if opening[1] == "script":
            body = None if closing is None else lines[number:closing]
            yield number, None if body is None else "".join(line[2:] + "\n" for line in body)
        number = end if closing is None else closing + 1


def _load(text: str) -> dict[str, Any]:
    """Parse TOML that may be hostile: deeply dotted keys take the parser quadratic memory."""
    if len(text) > MAX_TEXT:
        raise tomllib.TOMLDecodeError(f"it has more than {MAX_TEXT} characters")
    if text.count(".") >= _DEPTH and _DEEP.search(text) is not None:
        raise tomllib.TOMLDecodeError("its keys are nested too deeply")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise tomllib.TOMLDecodeError("its values are nested too deeply") from None
    except ValueError as error:  # also a number of so many digits that Python does not take it
        raise tomllib.TOMLDecodeError(str(error)) from error


def _not_toml(error: tomllib.TOMLDecodeError, first_line: int) -> ScriptProblem:
    said = str(error)
    place = _AT_LINE.search(said)
    line = first_line + (int(place[1]) if place is not None else 0)
    return problem(
        ErrorCode.SCRIPT_METADATA,
        f"the metadata cannot be read as TOML: {_AT_LINE.sub('', said)}",
        'write key = value, with text in double quotes, for example name = "Turbidostat"',
        line,
    )


def _dependencies(reader: _Reader, said: object) -> tuple[Dependency, ...]:
    if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
        reader.complain(
            "dependencies",
            "dependencies is not a list of texts",
            'write dependencies = ["numpy", "scipy"]',
        )
        return ()
    found = []
    for each in said:
        match = _REQUIREMENT.fullmatch(each)
        if match is None or match[3].startswith("@"):
            reader.complain(
                "dependencies",
                f"{each[:80]!r} is not the name of a package",
                "name packages of the image; nothing is installed from elsewhere",
            )
            continue
        found.append(
            Dependency(match[1], reader.line_of("dependencies"), pinned=bool(match[3].strip()))
        )
    return tuple(found)


def _info(
    reader: _Reader, said: Mapping[str, Any], dependencies: tuple[Dependency, ...]
) -> ScriptInfo:
    for key in said:
        if key not in _KEYS:
            near = difflib.get_close_matches(key[:80], _KEYS, n=1)
            reader.complain(
                key,
                f"tool.bioreactor knows no {key[:80]!r}",
                f"did you mean {near[0]}?" if near else f"it knows {', '.join(_KEYS)}",
            )
    parameters: tuple[ParameterInfo, ...] = ()
    if "parameters" in said:
        parameters, complaints = declared(said["parameters"])
        for name, message, hint in complaints:
            reader.complain(name, message, hint)
    return ScriptInfo(
        name=_text(reader, said, "name", _LABEL, "1 to 120 printable characters"),
        duration=_seconds(reader, said, "duration"),
        max_duration=_seconds(reader, said, "max_duration"),
        max_silence=_seconds(reader, said, "max_silence"),
        needs=_needs(reader, said),
        node=_text(reader, said, "node", _NAME, 'a reactor\'s name, for example "reactor-1"'),
        on_interruption=_on_interruption(reader, said),
        dependencies=tuple(d.name for d in dependencies),
        image=_text(reader, said, "image", _NAME, "an image's name") or "standard",
        parameters=parameters,
    )


def _text(
    reader: _Reader, said: Mapping[str, Any], key: str, kind: TypeAdapter[str], wanted: str
) -> str | None:
    if key not in said:
        return None
    try:
        return kind.validate_python(said[key], strict=True)
    except ValidationError:
        reader.complain(key, f"{key} is not what it should be", f"give it {wanted}, as text")
        return None


def _on_interruption(reader: _Reader, said: Mapping[str, Any]) -> Literal["fail", "requeue"]:
    value = said.get("on_interruption", "fail")
    if value == "requeue":
        return "requeue"
    if value != "fail":
        reader.complain(
            "on_interruption",
            "on_interruption is neither 'fail' nor 'requeue'",
            "fail ends an interrupted experiment, requeue starts it again from its beginning",
        )
    return "fail"


def _needs(reader: _Reader, said: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(_NAMES.validate_python(said.get("needs", []), strict=True)))
    except ValidationError:
        reader.complain(
            "needs", "needs is not a list of channels' names", 'write needs = ["od", "media"]'
        )
        return ()


def _seconds(reader: _Reader, said: Mapping[str, Any], key: str) -> float | None:
    """Return seconds from a number, or from a text such as ``"1 h 30 min"``."""
    value = said.get(key)
    if value is None:
        return None
    seconds: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        seconds = _spoken(value)
    if seconds is None or not 0 < seconds <= _MAX_SECONDS:
        reader.complain(
            key,
            f"{key} is not a duration between 0 and 366 days",
            'give seconds, or a text such as "90 min", "12 h" or "1 d 6 h"',
        )
        return None
    return seconds


def _spoken(text: str) -> float | None:
    total = 0.0
    place = 0
    while place < len(text):
        match = _DURATION.match(text, place)
        unit = None if match is None else _UNITS.get(match[2].lower())
        if match is None or unit is None:
            return None
        total += float(match[1]) * unit
        place = match.end()
    return total
