"""Large files from the hub through the portal: in order, resumable, in constant memory."""

import asyncio
import hashlib
import io
import os
import random
from contextlib import AsyncExitStack
from zipfile import ZIP_STORED, ZipFile

import httpx
import pytest
from ulid import ULID

from broker.messages import MAX_FETCH_BYTES
from portal.bundles import MAX_BUNDLED
from portal.downloads import MAX_DOWNLOADS
from portal.metrics import resident_bytes
from tests.support.fake_hub import FakeHub
from tests.support.portal import Portal, eventually

SIZE = 5 * MAX_FETCH_BYTES + 12345


@pytest.fixture
async def address(client: httpx.AsyncClient, hub: FakeHub) -> str:
    hub.files["results"] = os.urandom(SIZE)
    answer = await client.post("/api/experiments/start", json={"script_content": "1"})
    return f"/api/experiments/{answer.json()['experiment_id']}/download"


@pytest.mark.parametrize("broker_kind", ["mosquitto", "nats"])
async def test_a_file_arrives_whole_with_its_length(
    client: httpx.AsyncClient, hub: FakeHub, address: str
) -> None:
    answer = await client.get(address)
    assert answer.status_code == 200
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.content == hub.files["results"]
    assert 1 <= hub.most_fetching <= 4


async def test_a_part_resumes(client: httpx.AsyncClient, hub: FakeHub, address: str) -> None:
    data = hub.files["results"]
    etag = (await client.head(address)).headers["etag"]
    for wanted, start, stop in (
        ("bytes=0-0", 0, 1),
        (
            f"bytes={MAX_FETCH_BYTES - 1}-{MAX_FETCH_BYTES}",
            MAX_FETCH_BYTES - 1,
            MAX_FETCH_BYTES + 1,
        ),
        (f"bytes={SIZE - 100}-", SIZE - 100, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=10-{10 * SIZE}", 10, SIZE),
    ):
        answer = await client.get(address, headers={"Range": wanted, "If-Range": etag})
        assert answer.status_code == 206, wanted
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{SIZE}"
        assert answer.content == data[start:stop]
    old = {"Range": "bytes=5-", "If-Range": '"another"'}
    assert (await client.get(address, headers=old)).status_code == 200
    beyond = await client.get(address, headers={"Range": f"bytes={SIZE}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{SIZE}"
    same = await client.get(address, headers={"If-None-Match": etag})
    assert same.status_code == 304


async def test_pieces_that_come_in_any_order_are_put_in_order(
    client: httpx.AsyncClient, hub: FakeHub, address: str
) -> None:
    waits: list[asyncio.Event] = []
    dice = random.Random(1)  # noqa: S311 - no secret

    def gate(_: int) -> asyncio.Event:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(dice.random() * 0.05, event.set)
        waits.append(event)
        return event

    hub.fetch_gate = gate
    answer = await client.get(address)
    assert answer.content == hub.files["results"]
    assert len(waits) == 6


async def test_a_reader_that_leaves_frees_everything(
    portal: Portal, hub: FakeHub, address: str
) -> None:
    hub.files["results"] = bytes(200 * MAX_FETCH_BYTES)
    async with portal.client() as leaving, leaving.stream("GET", address) as answer:
        async for _ in answer.aiter_bytes():
            break
    asked = len(hub.asked)

    async def quiet() -> int:
        nonlocal asked
        before, asked = asked, len(hub.asked)
        await asyncio.sleep(0.1)
        return len(hub.asked) - before

    await eventually(quiet, lambda count: count == 0)
    assert asked < 60


async def test_slow_readers_are_bounded_in_number(
    portal: Portal, hub: FakeHub, address: str
) -> None:
    hub.files["results"] = bytes(100 * MAX_FETCH_BYTES)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(portal.client())
        for _ in range(MAX_DOWNLOADS):
            await stack.enter_async_context(client.stream("GET", address))
        refused = await client.get(address)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert (await client.get("/queue")).status_code == 200
    async with portal.client() as client:
        await eventually(lambda: client.head(address), lambda a: a.status_code == 200)


async def test_a_hub_that_sends_something_else_ends_the_download(
    client: httpx.AsyncClient, hub: FakeHub, address: str
) -> None:
    def shrink(offset: int) -> asyncio.Event | None:
        if offset == 2 * MAX_FETCH_BYTES:
            hub.files["results"] = b"short"
        return None

    hub.fetch_gate = shrink
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(address)
    assert (await client.get("/health")).status_code == 200


async def test_memory_stays_constant(client: httpx.AsyncClient, hub: FakeHub, address: str) -> None:
    """Hub, portal and reader are one process here; none of them may hold the file again."""
    size = 96 * 1024 * 1024
    hub.files["results"] = b"x" * size
    before = resident_bytes()
    most = taken = 0
    async with client.stream("GET", address) as answer:
        async for piece in answer.aiter_bytes():
            taken += len(piece)
            most = max(most, resident_bytes())
    assert taken == size
    assert most - before < 48 * 1024 * 1024


def zip_of(name: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with ZipFile(made, "w", ZIP_STORED) as file:
        file.writestr(name, content)
    return made.getvalue()


async def queued(client: httpx.AsyncClient, hub: FakeHub, content: bytes) -> str:
    """Queue an experiment whose results are a ZIP of this."""
    answer = await client.post("/api/experiments/start", json={"script_content": "1"})
    one = str(answer.json()["experiment_id"])
    hub.files[f"{one}.zip"] = zip_of("files/data.bin", content)
    return one


@pytest.mark.parametrize("broker_kind", ["mosquitto", "nats"])
async def test_several_come_as_one_zip(client: httpx.AsyncClient, hub: FakeHub) -> None:
    contents = [os.urandom(SIZE), b"", os.urandom(1000)]
    ids = [await queued(client, hub, content) for content in contents]
    answer = await client.get("/api/experiments/download", params={"ids": [*ids, ids[0]]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert 'filename="3-experiments.zip"' in answer.headers["content-disposition"]
    with ZipFile(io.BytesIO(answer.content)) as file:
        assert file.testzip() is None
        found = {name: file.read(name) for name in file.namelist()}
    assert found == {
        f"{one}/files/data.bin": content for one, content in zip(ids, contents, strict=True)
    }
    head = await client.head("/api/experiments/download", params={"ids": ids})
    assert head.status_code == 200


async def test_several_are_refused_before_anything_is_sent(
    portal: Portal, client: httpx.AsyncClient, hub: FakeHub
) -> None:
    one = await queued(client, hub, b"1")
    path = "/api/experiments/download"

    async def code(ids: list[str]) -> tuple[int, str]:
        answer = await client.get(path, params={"ids": ids})
        return answer.status_code, answer.json()["error"]["code"]

    assert await code([]) == (400, "MALFORMED")
    assert await code([str(ULID()) for _ in range(MAX_BUNDLED + 1)]) == (400, "MALFORMED")
    assert await code([one, str(ULID())]) == (404, "NOT_FOUND")
    assert await code([one, "../etc"]) == (404, "NOT_FOUND")
    # In the list it is said there; the list keeps its filters.
    page = {"Accept": "text/html", "Referer": f"{portal.url}/my-experiments?sort=name"}
    async with portal.client(headers=page) as browser:
        answer = await browser.get("/my-experiments/download")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/my-experiments?sort=name"
        assert "tick the experiments" in (await browser.get("/my-experiments")).text.lower()


async def test_what_goes_wrong_in_the_middle_ends_the_download(
    client: httpx.AsyncClient, hub: FakeHub
) -> None:
    ids = [await queued(client, hub, os.urandom(2 * MAX_FETCH_BYTES)) for _ in range(2)]
    hub.files[f"{ids[1]}.zip"] = b"no ZIP at all"
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/api/experiments/download", params={"ids": ids})
    good = await client.get("/api/experiments/download", params={"ids": ids[:1]})
    assert good.status_code == 200


async def test_memory_stays_constant_for_several(client: httpx.AsyncClient, hub: FakeHub) -> None:
    content = b"x" * (64 * 1024 * 1024)
    ids = [await queued(client, hub, content) for _ in range(3)]
    before = resident_bytes()
    most = taken = 0
    address = "/api/experiments/download"
    async with client.stream("GET", address, params={"ids": ids}) as answer:
        async for piece in answer.aiter_bytes():
            taken += len(piece)
            most = max(most, resident_bytes())
    assert taken > 3 * len(content)
    assert most - before < 48 * 1024 * 1024
