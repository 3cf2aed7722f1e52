"""What a script's syntax says: whether it compiles, and what it imports.

Compiling a quarter of a megabyte can take 200 MB for a moment, so a large script is outlined in a
short-lived process of its own, which runs this very file; it imports the standard library alone.
"""

import ast
import asyncio
import dataclasses
import json
import re
import resource
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SMALL = 4 * 1024
"""Scripts with fewer characters take less time than another thread would."""
LARGE = 32 * 1024
"""Scripts with more characters are outlined in another process."""
_THIS_FILE = str(Path(__file__).resolve())
_CHILD_MEMORY = 1024**3
_CHILD_SECONDS = 20
_FORGIVEN = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_PLAIN = re.compile(
    r"(?:import (\w+)[\w.]*(?: as \w+)?|from (\w+)[\w.]* import (?:\*|\w+(?:(?:, | as )\w+)*))"
    r"\s*(?:#.*)?",
    re.ASCII,
)
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")


@dataclass(frozen=True)
class Import:
    """A module's top name where it is imported.

    Attributes:
        optional: The script says what to do without it, or imports it for type checkers alone.
        relative: It looks for a file beside the script.
    """

    name: str
    line: int
    optional: bool = False
    relative: bool = False


@dataclass(frozen=True)
class Outline:
    """What was found; with an error no imports.

    Attributes:
        error: What is wrong with the syntax, as Python says it.
        encoding: The encoding that a coding line declares, where it is not UTF-8.
    """

    imports: tuple[Import, ...] = ()
    error: str | None = None
    line: int | None = None
    column: int | None = None
    encoding: str | None = None


async def outline(script: str, children: asyncio.Semaphore) -> Outline:
    """Compile a script without running it, off the event loop.

    Args:
        script: Readable text.
        children: Bounds how many processes do so at a time.
    """
    if len(script) <= SMALL:
        return outline_here(script)
    if len(script) <= LARGE:
        return await asyncio.to_thread(outline_here, script)
    async with children:
        return await _outline_elsewhere(script)


async def _outline_elsewhere(script: str) -> Outline:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        _THIS_FILE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(2 * _CHILD_SECONDS):
            told, _ = await process.communicate(script.encode())
    except TimeoutError:
        told = b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0 or not told:
        return Outline(error="it is too complex to be compiled", line=1, column=1)
    said = json.loads(told)
    imports = tuple(Import(**each) for each in said.pop("imports"))
    return Outline(imports=imports, **said)


def outline_here(script: str) -> Outline:
    """Compile a script without running it."""
    source = script.encode()
    for number, line in enumerate(source.split(b"\n", 2)[:2], start=1):
        declared = _CODING.match(line)
        if declared is not None:
            encoding = declared[1].decode("ascii", "replace").lower().replace("_", "-")
            if encoding not in {"utf-8", "utf8", "ascii", "us-ascii"}:
                return Outline(line=number, column=1, encoding=encoding)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = _plain_imports(script)
            code = ast.parse(source) if plain is None else source
            compile(code, "script.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        return Outline(error=error.msg, line=error.lineno or 1, column=max(error.offset or 1, 1))
    except ValueError as error:
        return Outline(error=str(error), line=1, column=1)
    except (RecursionError, MemoryError):
        return Outline(error="it is nested too deeply", line=1, column=1)
    if isinstance(code, ast.Module):
        return Outline(imports=tuple(sorted(_imports(code), key=lambda found: found.line)))
    return Outline(imports=plain or ())


def _plain_imports(script: str) -> tuple[Import, ...] | None:
    """Return the imports where each is a line of its own at the margin, None where they may not be.

    A syntax tree would take longer than compiling, and in most scripts it says no more.
    """
    if any(mark in script for mark in ('"""', "'''", "\\\n", "\r")):
        return None  # a line may be a piece of something else
    found = []
    for number, line in enumerate(script.split("\n"), start=1):
        if "import" not in line or line.startswith("#"):
            continue
        match = _PLAIN.fullmatch(line)
        if match is None:
            return None
        found.append(Import(match[1] or match[2], number))
    return tuple(found)


def _imports(tree: ast.Module) -> Iterator[Import]:
    """Find imports anywhere. Statements stand in statements alone, so expressions are left out."""
    waiting: list[tuple[ast.AST, bool]] = [(statement, False) for statement in tree.body]
    while waiting:  # without recursion: a script may nest deeper than Python's stack
        node, optional = waiting.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name.partition(".")[0], node.lineno, optional)
        elif isinstance(node, ast.ImportFrom):
            top = (node.module or node.names[0].name).partition(".")[0]
            yield Import(top, node.lineno, optional, relative=node.level > 0)
        spared = {id(child) for child in _spared(node)}
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            children: list[ast.AST] = getattr(node, block, [])
            waiting += [(child, optional or id(child) in spared) for child in children]


def _spared(node: ast.AST) -> list[ast.stmt]:
    """Return the statements whose imports the script can do without."""
    if isinstance(node, ast.Try) and any(_forgives(handler) for handler in node.handlers):
        return node.body
    if isinstance(node, ast.If) and _for_type_checkers(node.test):
        return node.body
    return []


def _forgives(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(name, ast.Name) and name.id in _FORGIVEN for name in names)


def _for_type_checkers(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_CHILD_MEMORY, _CHILD_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CHILD_SECONDS, _CHILD_SECONDS))
    found = outline_here(sys.stdin.buffer.read().decode())
    sys.stdout.write(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    _main()
