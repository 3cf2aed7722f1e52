"""What the script's SDK offers, read from its own source: for the editor's completion and help."""

import ast
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, Literal

MODULES: Final = ("experiment", "reactor")
"""Of `bioreactor`: what scripts import."""


@dataclass(frozen=True, slots=True)
class Member:
    """A name that a module offers.

    Attributes:
        signature: As one would write it, for example ``(channel: str) -> float``; empty where it
            is not called.
        arguments: What may be given by name.
        doc: Its docstring.
    """

    name: str
    kind: Literal["function", "class", "property"]
    doc: str
    signature: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the SDK."""

    name: str
    doc: str
    members: tuple[Member, ...] = field(default=())


@cache
def sdk() -> tuple[Module, ...]:
    """Return the modules that scripts import, without importing them.

    Raises:
        FileNotFoundError: The package `bioreactor` is not installed beside the portal.
    """
    found = importlib.util.find_spec("bioreactor")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("the package bioreactor is not installed beside the portal")
    folder = Path(found.submodule_search_locations[0])
    trees = {path.stem: ast.parse(path.read_bytes()) for path in folder.glob("*.py")}
    return tuple(_module(name, trees) for name in MODULES)


def _module(name: str, trees: Mapping[str, ast.Module]) -> Module:
    tree = trees[name]
    defined = dict(_members(tree))
    for source in [node for node in tree.body if isinstance(node, ast.ImportFrom)]:
        elsewhere = trees.get((source.module or "").rpartition(".")[2])
        if elsewhere is not None:
            imported = {alias.name for alias in source.names}
            defined.update((k, m) for k, m in _members(elsewhere) if k in imported)
    members = (defined[public] for public in _public(tree) if public in defined)
    return Module(name, ast.get_docstring(tree) or "", tuple(members))


def _public(tree: ast.Module) -> Sequence[str]:
    """Return the names of `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            listed: list[str] = ast.literal_eval(node.value)
            return listed
    return ()


def _members(tree: ast.Module) -> Iterator[tuple[str, Member]]:
    following = [*tree.body[1:], None]
    for node, after in zip(tree.body, following, strict=True):
        match node:
            case ast.FunctionDef(name=name):
                yield name, _function(node)
            case ast.ClassDef(name=name):
                yield name, Member(name, "class", ast.get_docstring(node) or "")
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, Member(name, "property", _said(after))
            case _:
                pass


def _function(node: ast.FunctionDef) -> Member:
    arguments = node.args
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return Member(
        node.name,
        "function",
        ast.get_docstring(node) or "",
        f"({ast.unparse(arguments)}){returns}",
        tuple(argument.arg for argument in arguments.kwonlyargs),
    )


def _said(node: ast.stmt | None) -> str:
    """Return the text that stands below an assignment, as a docstring does."""
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
        case _:
            return ""
