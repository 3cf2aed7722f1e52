"""What of the audit whom is told."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from broker.messages import AuditEntry
from hub_service.archive.audits import AuditRow

ADMINISTRATORS_ONLY: Final = frozenset({"create-token", "revoke-token"})
"""Verbs whose use is no business of everybody's."""


def audit_entry(row: AuditRow, names: Mapping[str, str], *, full: bool, reader: str) -> AuditEntry:
    """Return an entry as it is told.

    Args:
        row: As it is kept.
        names: What experiments are called.
        full: An administrator reads it.
        reader: Who reads it: of what they did themselves they are told why it was refused.
    """
    audit = row.audit
    entry = AuditEntry(
        n=row.n,
        at=row.at,
        by=_text(audit.details.get("by")) or _older_handle(audit.user),
        verb=audit.verb,
        outcome=audit.outcome,
        experiment_id=audit.experiment_id,
        name=names.get(audit.experiment_id or ""),
    )
    if not full and audit.user != reader:
        return entry
    message = _text(audit.details.get("message")) or _text(audit.details.get("detail"))
    if not full:
        return entry.model_copy(update={"message": message})
    return entry.model_copy(
        update={
            "message": message,
            "principal": audit.principal,
            "user": audit.user,
            "details": audit.details,
        }
    )


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _older_handle(user: str) -> str:
    """Return whom an entry names that was made before handles were kept."""
    return user.removeprefix("mqtt:") if not user.startswith("web:") else "somebody at a portal"
