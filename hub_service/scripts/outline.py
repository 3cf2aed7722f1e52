"""What a script's syntax says: whether it compiles, what it imports, what it uses of the SDK.

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
from collections import defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
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
_SDK = "bioreactor"
_PLAIN_SDK_IMPORT = re.compile(rf"from {_SDK} import (\w+(?:, \w+)*)\s*(?:#.*)?")
_USES = [  # searched for by how they begin, which is quick
    re.compile(
        rf"({module})(?<!\w{module})[ \t]*\.[ \t]*(\w+)"
        r"""(?:\(\s*(?:channel=)?(?:"([^"\\\n]*)"|'([^'\\\n]*)'))?""",
        re.ASCII,
    )
    for module in ("reactor", "experiment")
]
_TAKE_A_CHANNEL = {"read", "set", "dose"}
_SOMETHING_ELSE = ""
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
class Use:
    """A name of the SDK where the script imports or uses it.

    Attributes:
        module: Of the SDK, for example ``reactor``; empty: the package itself.
        line: 1 where it was only surmised.
        channel: A literal one that the function is given.
        optional: The script says what to do without it.
    """

    module: str
    name: str
    line: int = 1
    channel: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Outline:
    """What was found; with an error no imports and no uses.

    Attributes:
        surmised: The uses were found without a syntax tree: some may stand in comments and texts,
            or be of something else that has the name.
        error: What is wrong with the syntax, as Python says it.
        encoding: The encoding that a coding line declares, where it is not UTF-8.
    """

    imports: tuple[Import, ...] = ()
    uses: tuple[Use, ...] = ()
    surmised: bool = False
    error: str | None = None
    line: int | None = None
    column: int | None = None
    encoding: str | None = None


async def outline(script: str, children: asyncio.Semaphore, *, sure: bool = False) -> Outline:
    """Compile a script without running it, off the event loop.

    Args:
        script: Readable text.
        children: Bounds how many processes do so at a time.
        sure: Whether what it uses of the SDK must not be surmised.
    """
    if len(script) <= SMALL:
        return outline_here(script, sure=sure)
    if len(script) <= LARGE:
        return await asyncio.to_thread(outline_here, script, sure=sure)
    async with children:
        return await _outline_elsewhere(script, sure)


async def _outline_elsewhere(script: str, sure: bool) -> Outline:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        _THIS_FILE,
        *(["sure"] if sure else []),
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
    uses = tuple(Use(**each) for each in said.pop("uses"))
    return Outline(imports=imports, uses=uses, **said)


def outline_here(script: str, *, sure: bool = False) -> Outline:
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
            surmised = None if sure else _surmised_uses(script)
            whole = plain is None or surmised is None
            code = ast.parse(source) if whole else source
            compile(code, "script.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        return Outline(error=error.msg, line=error.lineno or 1, column=max(error.offset or 1, 1))
    except ValueError as error:
        return Outline(error=str(error), line=1, column=1)
    except (RecursionError, MemoryError):
        return Outline(error="it is nested too deeply", line=1, column=1)
    if isinstance(code, ast.Module):
        plain = tuple(sorted(_imports(code), key=lambda found: found.line))
        if surmised is None:
            uses = tuple(sorted(_uses(code), key=lambda found: found.line))
            return Outline(imports=plain, uses=uses)
    return Outline(imports=plain or (), uses=surmised or (), surmised=True)


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


def _surmised_uses(script: str) -> tuple[Use, ...] | None:
    """Return the uses of the SDK and perhaps more, None where only a syntax tree can tell.

    In most scripts all of them are sound, and nobody needs to know more: a tree takes as long
    again as compiling.
    """
    imported: set[str] = set()
    end = 0
    while (named := script.find(_SDK, end)) != -1:
        end = script.find("\n", named) % (len(script) + 1)
        line = script[script.rfind("\n", 0, named) + 1 : end].strip()
        if line.startswith(("from ", "import ")):
            match = _PLAIN_SDK_IMPORT.fullmatch(line)
            if match is None:
                return None
            imported.update(match[1].split(", "))
    if not imported:
        return ()
    used = {
        (found[1], found[2], (found[3] or found[4]) if found[2] in _TAKE_A_CHANNEL else None)
        for pattern in _USES
        for found in pattern.finditer(script)
    }
    return (
        *(Use("", name) for name in imported),
        *(Use(module, name, channel=channel) for module, name, channel in used),
    )


def _uses(tree: ast.Module) -> Iterator[Use]:
    """Find uses of the SDK under names that are bound by importing it and by nothing else."""
    bound: defaultdict[str, set[str]] = defaultdict(set)
    found: list[tuple[ast.Attribute | ast.Call, bool]] = []
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, optional = waiting.pop()
        for name, target in _bindings(node):
            bound[name].add(target)
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imported(node, optional)
        elif isinstance(node, ast.Attribute | ast.Call):
            found.append((node, optional))
        spared = {id(child) for child in _spared(node, _FORGIVEN | {"AttributeError"})}
        children = ast.iter_child_nodes(node)
        waiting += [(child, optional or id(child) in spared) for child in children]
    if "*" in bound:
        return  # which may have bound any name
    patched = {path for node, _ in found for path in _patched(node, bound)}
    for node, optional in found:
        path = _path(node.func if isinstance(node, ast.Call) else node, bound)
        match path.split("."):
            case [package, module, name] if package == _SDK:
                if not patched & {path, f"{package}.{module}"}:
                    yield from _used(node, module, name, optional)


def _used(node: ast.Attribute | ast.Call, module: str, name: str, optional: bool) -> Iterator[Use]:
    if isinstance(node, ast.Attribute):
        yield Use(module, name, node.lineno, optional=optional)
    elif module == "reactor" and name in _TAKE_A_CHANNEL:
        for given in node.args[:1] or [w.value for w in node.keywords if w.arg == "channel"]:
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                yield Use(module, name, given.lineno, given.value, optional)


def _patched(
    node: ast.Attribute | ast.Call, bound: Mapping[str, AbstractSet[str]]
) -> Iterator[str]:
    """Yield the path of what may have been changed, or is asked for with care."""
    if isinstance(node, ast.Attribute):
        if not isinstance(node.ctx, ast.Load):
            yield _path(node, bound)
    elif _path(node.func, bound) in {"hasattr", "setattr"}:
        yield from (_path(argument, bound) for argument in node.args[:1])


def _bindings(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield what a node binds: a name, and the imported thing's path or `_SOMETHING_ELSE`."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield alias.asname or top, alias.name if alias.asname else top
    elif isinstance(node, ast.ImportFrom):
        module = _SOMETHING_ELSE if node.level else node.module
        for alias in node.names:
            yield alias.asname or alias.name, f"{module}.{alias.name}"
    elif isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            yield node.id, _SOMETHING_ELSE
    elif not isinstance(node, ast.alias | ast.keyword):
        for field in ("name", "rest", "arg"):  # of functions, handlers, patterns, arguments …
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield name, _SOMETHING_ELSE


def _imported(node: ast.Import | ast.ImportFrom, optional: bool) -> Iterator[Use]:
    """Yield what is imported from the SDK."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            package, _, module = alias.name.partition(".")
            if package == _SDK and module:
                yield Use("", module, node.lineno, optional=optional)
        return
    package, _, module = (node.module or "").partition(".")
    if node.level or package != _SDK:
        return
    if module:
        yield Use("", module, node.lineno, optional=optional)
    for alias in node.names:
        if alias.name != "*":
            yield Use(module, alias.name, alias.lineno, optional=optional)


def _path(node: ast.expr, bound: Mapping[str, AbstractSet[str]]) -> str:
    """Return the dotted path of what an expression surely is, or `_SOMETHING_ELSE`."""
    names: list[str] = []
    while isinstance(node, ast.Attribute) and len(names) < 3:  # noqa: PLR2004 - bioreactor.reactor.read
        names.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return _SOMETHING_ELSE
    targets = bound.get(node.id, {node.id} - {_SDK})
    return ".".join([*targets, *names]) if len(targets) == 1 and "" not in targets else ""


def _spared(node: ast.AST, forgiven: AbstractSet[str] = frozenset(_FORGIVEN)) -> list[ast.stmt]:
    """Return the statements whose imports and names the script can do without."""
    if isinstance(node, ast.Try) and any(_forgives(each.type, forgiven) for each in node.handlers):
        return node.body
    if isinstance(node, ast.With | ast.AsyncWith) and any(map(_suppresses, node.items)):
        return node.body
    if isinstance(node, ast.If) and _for_type_checkers(node.test):
        return node.body
    return []


def _forgives(caught: ast.expr | None, forgiven: AbstractSet[str]) -> bool:
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(name, ast.Name) and name.id in forgiven for name in names)


def _suppresses(item: ast.withitem) -> bool:
    return isinstance(item.context_expr, ast.Call) and _last(item.context_expr.func) == "suppress"


def _last(name: ast.expr) -> object:
    return name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", None)


def _for_type_checkers(test: ast.expr) -> bool:
    return _last(test) == "TYPE_CHECKING"


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_CHILD_MEMORY, _CHILD_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CHILD_SECONDS, _CHILD_SECONDS))
    found = outline_here(sys.stdin.buffer.read().decode(), sure="sure" in sys.argv)
    sys.stdout.write(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    _main()
