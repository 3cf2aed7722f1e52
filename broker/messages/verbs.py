"""Which request each verb of the hub carries."""

from collections.abc import Mapping
from typing import Final

from broker.messages.administration import DeclareDead, Due, ReadAudit, Users
from broker.messages.experiments import Annotate, List, Send
from broker.messages.exports import Export, Fetch
from broker.messages.logs import Logs
from broker.messages.queue import Halt, Limits, Move, Retention, RunNow
from broker.messages.requests import OnExperiment, OnNode, Plain, Request
from broker.messages.submission import Check, Submit
from broker.messages.telemetry import History
from broker.messages.tokens import CreateToken, RevokeToken

REQUESTS: Final[Mapping[str, type[Request]]] = {
    "submit": Submit,
    "check": Check,
    "cancel": OnExperiment,
    "pause": OnExperiment,
    "resume": OnExperiment,
    "move": Move,
    "get": OnExperiment,
    "list": List,
    "history": History,
    "logs": Logs,
    "send": Send,
    "annotate": Annotate,
    "delete": OnExperiment,
    "restore": OnExperiment,
    "audit": ReadAudit,
    "export": Export,
    "fetch": Fetch,
}
"""Verbs below `hub/request/{principal}/`."""

ADMIN_REQUESTS: Final[Mapping[str, type[Request]]] = {
    "pause-queue": Halt,
    "resume-queue": Plain,
    "drain-queue": Halt,
    "run-now": RunNow,
    "move": Move,
    "cancel": OnExperiment,
    "pause": OnExperiment,
    "resume": OnExperiment,
    "annotate": Annotate,
    "delete": OnExperiment,
    "restore": OnExperiment,
    "audit": ReadAudit,
    "create-token": CreateToken,
    "revoke-token": RevokeToken,
    "limits": Limits,
    "retention": Retention,
    "drain-node": OnNode,
    "resume-node": OnNode,
    "declare-dead": DeclareDead,
    "estop": OnNode,
    "users": Users,
    "due": Due,
    "storage": Plain,
}
"""Verbs below `hub/admin/{principal}/`."""

ID_REQUIRED: Final = frozenset({"submit", "move", "run-now"})
"""Verbs that must not be executed twice and are not naturally idempotent."""
