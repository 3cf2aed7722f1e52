"""Numbers with their units, as they stand in a line: ``35.0%``, ``600rpm``, ``-``."""

UNKNOWN = "-"
_MOST_DIGITS = 6
_MOST_DECIMALS = 3


def parse(text: str) -> "tuple[float, str] | None":
    """Return the number and its unit; None if the text is no quantity."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    at = 0
    while at < len(rest) and rest[at] in "0123456789.":
        at += 1
    number, unit = rest[:at], rest[at:]
    whole, point, decimals = number.partition(".")
    if not whole or len(whole) > _MOST_DIGITS or len(decimals) > _MOST_DECIMALS:
        return None
    if "." in decimals or (point and not decimals):
        return None
    return sign * float(number), unit


def show(value: "float | None", unit: str, decimals: int) -> str:
    """Return the text of a quantity; None is one that is not known."""
    return UNKNOWN if value is None else f"{value:.{decimals}f}{unit}"
