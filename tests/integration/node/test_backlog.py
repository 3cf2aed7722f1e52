"""A node that was offline for a week: its data arrives in order, and today's is not held up."""

import base64
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from ulid import ULID

from broker.connection import Message
from broker.journal import Journal
from broker.messages import FileChunk, SampleRecord, utc_now
from broker.topics import Topic
from node_service.datadir import DataDir
from tests.support.node import Hub, Node
from tests.support.waiting import eventually

WEEK = 7 * 86400
EVERY = 20
"""Seconds between the samples of that week."""
BULK = 64 * 1024**2
PIECE = 128 * 1024


@dataclass
class Arrivals:
    """When something came: pieces of bulk, samples with the time at which they were taken."""

    telemetry: int = 0
    bulk: list[float] = field(default_factory=list)
    samples: list[tuple[float, datetime]] = field(default_factory=list)

    async def hear(self, _message: Message) -> None:
        self.telemetry += 1

    def committed(self, stream: str, entry: Any) -> None:
        if stream == "files":
            self.bulk.append(time.time())
        elif entry["kind"] == "sample":
            self.samples.append((time.time(), datetime.fromisoformat(entry["t"])))


async def fill(journal: Journal) -> None:
    """Write what a node journals in a week, and a large result at its end."""
    begin = utc_now() - timedelta(seconds=WEEK)
    samples = [
        SampleRecord(
            t=begin + timedelta(seconds=n), mono=float(n), values={"od": n / WEEK, "ph": 7.0}
        )
        for n in range(0, WEEK, EVERY)
    ]
    for first in range(0, len(samples), 2000):
        await journal.append("records", samples[first : first + 2000])
    experiment, data = str(ULID()), base64.b64encode(bytes(PIECE)).decode()
    pieces = [
        FileChunk(experiment_id=experiment, attempt=1, name="big.bin", offset=offset, data=data)
        for offset in range(0, BULK, PIECE)
    ]
    for piece in range(0, len(pieces), 16):
        await journal.append("files", pieces[piece : piece + 16])


@pytest.mark.engine
@pytest.mark.parametrize("node_settings", [{"sample_interval": 0.05}])
async def test_a_week_arrives_in_order_and_todays_samples_are_not_held_up(
    node: Node, hub: Hub
) -> None:
    with closing(Journal.open(DataDir(node.data).journal)) as journal:
        await fill(journal)
    arrivals = Arrivals()
    hub.on_commit = arrivals.committed
    topic = hub.connection.topics.build(Topic.NODE_TELEMETRY, node=hub.node)
    hub.connection.subscribe(topic, arrivals.hear, qos=0)
    node.start()
    await eventually(lambda: arrivals.samples)
    seen = arrivals.telemetry
    await eventually(lambda: len(arrivals.samples) > WEEK // EVERY, within=120)
    assert arrivals.telemetry > seen  # eyes saw today all the while
    await eventually(lambda: len(arrivals.bulk) == BULK // PIECE, within=120)
    samples = [sample.mono for sample in hub.samples()[: WEEK // EVERY]]
    assert samples == [float(n) for n in range(0, WEEK, EVERY)]
    assert all(a < b for (_, a), (_, b) in pairwise(arrivals.samples))
    assert hub.gaps == 0
    # Bulk goes last and lets today's samples pass: those of its first half come before its end.
    begin, end = arrivals.bulk[0], arrivals.bulk[-1]
    middle = (begin + end) / 2
    taken = [(at, t.timestamp()) for at, t in arrivals.samples if begin < t.timestamp() < middle]
    assert len(taken) >= 2
    assert all(at < end for at, _ in taken)
