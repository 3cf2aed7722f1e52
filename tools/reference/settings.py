"""`docs/reference/settings.md`: every setting of every part."""

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel
from pydantic_settings import BaseSettings

from broker.messages import RunLimits
from broker.settings import BrokerSettings
from hardware.configuration.kinds import find, known
from hardware.configuration.tables import (
    ChannelTable,
    DeviceTable,
    PlausibleTable,
    ThermostatTable,
    TitrationTable,
    VesselTable,
)
from hub_service.settings import HubSettings, NotifyTarget
from node_service.settings import NodeSettings
from portal.settings import PortalSettings
from tools.reference.models import fields

_OWN_KINDS: Final = "hardware.configuration.builtin"
_HEAD: Final = """\
# Settings

Each service reads one TOML file, given with `--config FILE`, and the environment, which wins. A
key `open` of the section `[hub]` is also the variable `BIOREACTOR_HUB_OPEN`; lists and tables are
written there as JSON. A file that holds a secret should have mode 0600; a service says so in its
log where others may read it.

A key that does not exist is refused, with the file, the section and the key that was probably
meant; so is a value that does not fit. The service ends with status 78, and its unit is not
started again. This page is made from the code.
"""
_REACTOR: Final = """
## The reactor's file

`reactor.toml` describes a real reactor; the node's setting `configuration` names it. What does not
fit is refused with its line. `bioreactor hardware check FILE` says whether a file is good and its
devices answer.
"""


def page() -> str:
    """Return the page."""
    lines = [_HEAD]
    lines += _section("Broker", "broker", BrokerSettings, "Hub, node and portal each have it.")
    lines += _section("Hub", "hub", HubSettings)
    lines += _table("[hub.run]", RunLimits)
    lines += _table("[[hub.notify]]", NotifyTarget)
    lines += _section("Node", "node", NodeSettings)
    lines += _section("Portal", "portal", PortalSettings)
    lines.append(_REACTOR)
    lines += _table("[devices.NAME]", DeviceTable)
    own = [name for name in known() if find(name).make.__module__ == _OWN_KINDS]
    for name in own:
        kind = find(name)
        offers = ", ".join(f"`{offer}`" for offer in kind.offers)
        lines += _table(f'driver = "{name}"', kind.options, f"{kind.label}; `what` is {offers}.")
    lines += _table("[channels.NAME]", ChannelTable)
    lines += _table("[channels.NAME.plausible]", PlausibleTable)
    lines += _table("[vessel]", VesselTable)
    lines += _table('[controllers.NAME] kind = "thermostat"', ThermostatTable)
    lines += _table('[controllers.NAME] kind = "titration"', TitrationTable)
    return "\n".join(lines).rstrip() + "\n"


def _section(title: str, section: str, model: type[BaseSettings], more: str = "") -> Iterator[str]:
    prefix = model.model_config.get("env_prefix", "")
    yield f"\n## {title}\n"
    yield f"Section `[{section}]`, variables `{prefix}…`. {more}".rstrip() + "\n"
    yield from _rows(model)


def _table(title: str, model: type[BaseModel], about: str = "") -> Iterator[str]:
    yield f"\n### `{title}`\n"
    summary = " ".join((model.__doc__ or "").partition("\n\n")[0].split())
    yield (about or _sentence(summary.replace("``", "`").removeprefix(f"`{title}`: "))) + "\n"
    yield from _rows(model)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _rows(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | values | default | meaning |"
    yield "|---|---|---|---|"
    for field in fields(model):
        cells = (f"`{field.key}`", field.values, field.default, field.meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
