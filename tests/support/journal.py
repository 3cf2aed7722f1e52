"""A place for entries to arrive at, in memory, and the hub's word that it is there."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Final

from pydantic import JsonValue
from ulid import ULID

from broker.connection import Connection
from broker.journal.reception import Commit
from broker.messages import HubStatus, utc_now
from broker.topics import Topic

STORE: Final = str(ULID())


class MemorySink:
    """Takes what a journal brings and checks that it fits.

    Attributes:
        entries: By node, stream and epoch; None where there is a gap.
        hold: Where set, no more than this is applied in any epoch.
        failing: Whether commits fail, as on a full disk.
    """

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], dict[str, list[JsonValue]]] = {}
        self.commits = 0
        self.hold: int | None = None
        self.failing = False

    async def streams(self) -> Sequence[tuple[str, str]]:
        return list(self.entries)

    async def cursors(self, node: str, stream: str) -> Mapping[str, int]:
        return {k: len(v) for k, v in self.entries.get((node, stream), {}).items()}

    async def commit(self, node: str, stream: str, commit: Commit[JsonValue]) -> None:
        if self.failing:
            raise OSError(28, "No space left on device")
        epochs = self.entries.setdefault((node, stream), {})
        entries = epochs.get(commit.epoch, [])
        if commit.gap is not None:
            assert commit.gap[0] == len(entries) + 1
            entries += [None] * (commit.gap[1] - commit.gap[0] + 1)
        assert commit.first == len(entries) + 1
        epochs[commit.epoch] = entries + list(commit.entries)
        self.commits += 1

    async def applied(self, node: str, stream: str, heard: Sequence[str]) -> Mapping[str, int]:  # noqa: ARG002  it names all
        cursors = await self.cursors(node, stream)
        return {k: n if self.hold is None else min(n, self.hold) for k, n in cursors.items()}

    def backup(self) -> dict[tuple[str, str], dict[str, list[JsonValue]]]:
        return deepcopy(self.entries)

    def all_of(self, node: str, stream: str) -> list[JsonValue]:
        return [e for epoch in self.entries.get((node, stream), {}).values() for e in epoch]


async def announce_hub(connection: Connection, state: str = "online") -> None:
    """Say, retained, that a hub that started just now is there."""
    status = HubStatus.model_validate(
        {
            "state": state,
            "version": "0",
            "boot_id": str(ULID()),
            "since": utc_now(),
            "store_id": STORE,
            "generation": 1,
        }
    )
    topic = connection.topics.build(Topic.HUB_STATUS)
    await connection.publish(topic, status.encode(), retain=True)
