"""The reference of the REST interface, from the OpenAPI document."""

import tempfile
from pathlib import Path
from typing import Final

from broker.connection import Connection
from broker.settings import BrokerSettings
from portal.app import create_app
from portal.openapi import DESCRIPTION
from portal.reference import FAULTS, groups_of
from portal.settings import PortalSettings
from tools.docs.markdown import code, fence, table

INTRODUCTION: Final = """\
# REST

A running portal shows the same at `/docs`, and as OpenAPI at `/openapi.json`. [Live
data](websocket.md) comes by WebSocket. How to begin: [Scripts over REST](../guides/rest.md).

"""


def rest() -> str:
    """Return the page about every call."""
    with tempfile.TemporaryDirectory() as folder:
        settings = PortalSettings(data_dir=Path(folder))
        app = create_app(settings, Connection(BrokerSettings(), client_id="reference"))
        document = app.openapi()
    out = [INTRODUCTION, DESCRIPTION, ""]
    for group in groups_of(document, "http://localhost:8000"):
        out.append(f"## {group.name.capitalize()}\n")
        for call in group.calls:
            out += [f"### `{call.method} {call.path}`\n", call.summary + "\n", call.description]
            told = [
                (
                    code(one.name),
                    one.where,
                    one.type,
                    "yes" if one.required else "",
                    one.description,
                )
                for one in call.parameters
            ]
            out.append(table(("parameter", "in", "type", "required", "meaning"), told))
            out.append(fence(call.curl, "sh"))
            if call.answer:
                out += ["Answer:\n", fence(call.answer, "json")]
    rows = [(code(one.code), str(one.status), one.meaning) for one in FAULTS]
    out += ["## Errors\n", table(("code", "status", "meaning"), rows)]
    return "\n".join(out)
