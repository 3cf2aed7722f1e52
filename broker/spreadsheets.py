"""Text in files that people open with a spreadsheet."""

from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def harmless(cell: str) -> str:
    """Return text that no spreadsheet takes for a formula.

    Source: https://owasp.org/www-community/attacks/CSV_Injection.
    """
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
