"""TOML as this project writes it: the standard library only reads it."""

from collections.abc import Mapping, Sequence

Value = str | int | float | bool | Sequence[str]
Table = Mapping[str, Value]


def dump(sections: Mapping[str, Table | Sequence[Table]]) -> str:
    """Return a document of tables, and of arrays of tables where a section is a sequence."""
    blocks: list[str] = []
    for name, section in sections.items():
        if isinstance(section, Mapping):
            blocks.append(_block(f"[{name}]", section))
        else:
            blocks += [_block(f"[[{name}]]", table) for table in section]
    return "\n".join(blocks)


def _block(head: str, table: Table) -> str:
    return "\n".join([head, *(f"{key} = {_text(value)}" for key, value in table.items())]) + "\n"


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, int | float):
        return repr(value)
    return f"[{', '.join(map(_text, value))}]"
