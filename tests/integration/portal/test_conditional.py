"""Reading again what did not change, in the form that is wanted."""

import zlib

import httpx
import pytest

from broker.messages import Export, ExportKind
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import eventually

CSV = "elapsed,time,od\n" + "1.0,2026-03-01T12:00:01+00:00,0.1\n" * 40_000
GZIP = {"Accept-Encoding": "gzip"}


@pytest.fixture
async def one(client: httpx.AsyncClient, hub: FakeHub) -> str:
    hub.files["telemetry-csv"] = CSV.encode()
    hub.files["telemetry-parquet"] = b"PAR1" * 100
    answer = await client.post("/api/experiments/start", json={"script_content": "1"})
    return f"/api/experiments/{answer.json()['experiment_id']}"


async def test_every_read_of_json_has_a_tag(
    client: httpx.AsyncClient, node: FakeNode, one: str
) -> None:
    await eventually(
        lambda: client.get("/api/nodes/reactor-1"), lambda answer: answer.status_code == 200
    )
    for path in (
        one,
        f"{one}/status",
        f"{one}/history",
        f"{one}/telemetry",
        f"{one}/logs",
        "/api/experiments/user",
        "/api/queue/status",
        "/api/nodes",
        "/api/nodes/reactor-1",
        "/api/nodes/reactor-1/history",
        "/openapi.json",
    ):
        first = await client.get(path)
        assert first.status_code == 200, path
        assert first.headers["cache-control"] == "private, no-cache", path
        again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert again.status_code == 304, path
        assert again.content == b"", path
        head = await client.head(path, headers={"Accept-Encoding": "identity"})
        assert head.status_code == 200, path
        assert head.headers["etag"] == first.headers["etag"]
        assert head.content == b""
    tag = (await client.get(f"{one}/status")).headers["etag"]
    await client.post(f"{one}/pause")
    changed = await client.get(f"{one}/status", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.json()["experiment"]["status"] == "paused"


@pytest.mark.parametrize("path", ["/", "/health", "/queue", "/docs", "/metrics", "/api/nope"])
async def test_the_rest_is_not_kept(client: httpx.AsyncClient, hub: FakeHub, path: str) -> None:
    answer = await client.get(path, headers={"Accept": "text/html"})
    assert answer.headers["cache-control"] == "no-store"
    assert "etag" not in answer.headers
    assert (await client.head(path)).status_code == answer.status_code


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (("&format=csv", "*/*"), ExportKind.TELEMETRY_CSV),
        (("&format=parquet", "text/csv"), ExportKind.TELEMETRY_PARQUET),
        (("", "text/csv"), ExportKind.TELEMETRY_CSV),
        (
            ("", "application/vnd.apache.parquet, text/csv;q=0.5"),
            ExportKind.TELEMETRY_PARQUET,
        ),
    ],
)
async def test_a_part_of_telemetry_in_the_form_that_is_wanted(
    client: httpx.AsyncClient, hub: FakeHub, one: str, asked: tuple[str, str], kind: ExportKind
) -> None:
    query, accept = asked
    part = f"channel=od&channel=temperature&start=10&end=20.5{query}"
    answer = await client.get(f"{one}/telemetry?{part}", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.content == hub.files[kind.value]
    assert "Accept" in answer.headers["vary"]
    request = next(a.request for a in reversed(hub.asked) if isinstance(a.request, Export))
    assert request.kind is kind
    assert request.channels == ("od", "temperature")
    assert (request.start, request.end) == (10.0, 20.5)


async def test_telemetry_as_json_unless_told_otherwise(client: httpx.AsyncClient, one: str) -> None:
    for headers in ({}, {"Accept": "text/html"}, {"Accept": "application/json, text/csv"}):
        answer = await client.get(f"{one}/telemetry?points=50", headers=headers)
        assert answer.json()["traces"]["od"]["v"] == [0.1, None]
    for wrong in ("format=xml", "start=nan", "end=inf", "points=1", "channel=" + "&channel=" * 101):
        answer = await client.get(f"{one}/telemetry?format=csv&{wrong}")
        assert answer.status_code == 400, wrong
        assert answer.json()["error"]["code"] == "MALFORMED"


async def test_csv_is_compressed_and_resumed(client: httpx.AsyncClient, one: str) -> None:
    path = f"{one}/telemetry?format=csv"
    async with client.stream("GET", path, headers=GZIP) as packed:
        raw = b"".join([piece async for piece in packed.aiter_raw()])
    assert len(raw) < len(CSV) / 20
    assert zlib.decompress(raw, 16 + zlib.MAX_WBITS).decode() == CSV
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    assert plain.headers["content-length"] == str(len(CSV))
    assert packed.headers["etag"] == f"W/{plain.headers['etag']}"
    part = {**GZIP, "Range": "bytes=-3", "If-Range": plain.headers["etag"]}
    assert (await client.get(path, headers=part)).content == CSV.encode()[-3:]
    for tag in (plain.headers["etag"], packed.headers["etag"]):
        assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 304
