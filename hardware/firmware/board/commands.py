"""What a request means: its words in, the words of the reply out."""

from . import quantity, settings
from .host import LIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .state import Parts


class RefusedError(Exception):
    """A request is not obeyed; the message is the reply's words after ``error``."""


def obey(parts: "Parts", words: "list[str]") -> "list[str] | None":
    """Do what a request says.

    Returns:
        The reply's fields; None where the reply follows later (`measure`).

    Raises:
        RefusedError: Nothing was changed.
    """
    verb, arguments = (words[0], words[1:]) if words else ("", [])
    if verb not in _VERBS:
        raise RefusedError("verb")
    count, act = _VERBS[verb]
    if len(arguments) != count:
        raise RefusedError(f"arguments wanted={count}")
    return act(parts, arguments)


def _hello(parts: "Parts", arguments: "list[str]") -> "list[str]":
    if arguments[0] != str(settings.PROTOCOL):
        raise RefusedError(f"protocol spoken={settings.PROTOCOL}")
    timeout = _number(arguments[1], "ms")
    if not settings.TIMEOUT_LEAST <= timeout <= settings.TIMEOUT_MOST:
        least, most = settings.TIMEOUT_LEAST, settings.TIMEOUT_MOST
        raise RefusedError(f"range least={least}ms most={most}ms")
    parts.switch_off()
    parts.host.greet(int(timeout))
    return [
        f"protocol={settings.PROTOCOL}",
        f"firmware={settings.FIRMWARE}",
        f"board={parts.serial}",
        f"reset={parts.reset}",
        f"timeout={parts.host.timeout}ms",
    ]


def _beat(parts: "Parts", _arguments: "list[str]") -> "list[str]":
    _need_host(parts)
    parts.host.feed()
    return []


def _set(parts: "Parts", arguments: "list[str]") -> "list[str]":
    name, text = arguments
    output = parts.outputs.get(name)
    if output is None:
        raise RefusedError("channel")
    value = _number(text, output.unit)
    if not output.allows(value):
        raise RefusedError("range")
    if value != 0:
        _need_host(parts)
        if name == "heater":
            _need_temperature(parts, value)
        parts.host.feed()
    output.set(value)
    return [f"{name}={quantity.show(output.value, output.unit, output.decimals)}"]


def _off(parts: "Parts", _arguments: "list[str]") -> "list[str]":
    parts.switch_off()
    return []


def _read(parts: "Parts", _arguments: "list[str]") -> "list[str]":
    fields = [
        f"state={parts.host.state}",
        f"temperature={quantity.show(parts.thermometer.celsius, 'C', 3)}",
        f"hot={int(parts.hot)}",
    ]
    for name, output in parts.outputs.items():
        fields.append(f"{name}={quantity.show(output.value, output.unit, output.decimals)}")
    fields.append(f"damaged={parts.reader.damaged}")
    return fields


def _measure(parts: "Parts", _arguments: "list[str]") -> None:
    if parts.optics.busy:
        raise RefusedError("busy")
    parts.optics.start()


def _number(text: str, unit: str) -> float:
    found = quantity.parse(text)
    if found is None:
        raise RefusedError("number")
    if found[1] != unit:
        raise RefusedError(f"unit wanted={unit}")
    return found[0]


def _need_host(parts: "Parts") -> None:
    if parts.host.state != LIVE:
        raise RefusedError(parts.host.state)


def _need_temperature(parts: "Parts", duty: float) -> None:
    if parts.thermometer.celsius is None:
        raise RefusedError("temperature")
    if parts.hot and duty > 0:
        raise RefusedError(f"hot below={settings.CUTOFF_RESET:.1f}C")


_VERBS = {
    "hello": (2, _hello),
    "beat": (0, _beat),
    "set": (2, _set),
    "off": (0, _off),
    "read": (0, _read),
    "measure": (0, _measure),
}
