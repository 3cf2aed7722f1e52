"""A TOML file whose complaints name the line."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1024**2

_TABLE: Final = re.compile(r"\s*\[+\s*(.+?)\s*\]+\s*(?:#.*)?")
_KEY: Final = re.compile(r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*[^\s=.]+)*)\s*=")
_PART: Final = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")


class ConfigurationError(ValueError):
    """The reactor cannot be configured so; one sentence that names file, line and remedy."""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file.

    Attributes:
        path: Where it is.
        data: What it says.
        text: The file itself.
    """

    path: Path
    data: dict[str, object]
    text: str

    @classmethod
    def read(cls, path: Path) -> "Document":
        """Read a file.

        Raises:
            ConfigurationError: It cannot be read, or is no TOML.
        """
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ConfigurationError(f"{path}: larger than {MAX_BYTES // 1024} KiB")
            text = path.read_text("utf-8")
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path}: not a text file in UTF-8") from error
        try:
            return cls(path, tomllib.loads(text), text)
        except ValueError as error:  # no TOML, or a number of too many digits
            raise ConfigurationError(f"{path}: {error}") from error
        except RecursionError:
            raise ConfigurationError(f"{path}: its values are nested too deeply") from None

    def refuse(self, where: Sequence[str | int], what: str) -> ConfigurationError:
        """Return a complaint about a key, with its line, or its table's where it is missing."""
        place = ".".join(str(part) for part in where)
        return ConfigurationError(f"{self.path}, line {self.line(where)}: {place}: {what}")

    def line(self, where: Sequence[str | int]) -> int:
        """Return the line of a key, or of the nearest table around it; 1 where there is none."""
        wanted = tuple(str(part) for part in where)
        best, found = 0, 1
        table: tuple[str, ...] = ()
        for number, line in enumerate(self.text.splitlines(), 1):
            header = _TABLE.fullmatch(line)
            if header is not None and not _KEY.match(line):
                place = table = _parts(header[1])
            elif (key := _KEY.match(line)) is not None:
                place = table + _parts(key[1])
            else:
                continue
            if len(place) > best and place == wanted[: len(place)]:
                best, found = len(place), number
        return found


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(name))
