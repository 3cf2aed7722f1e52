"""The queue's page and its commands on several experiments, before a small hub."""

from collections.abc import AsyncIterator

import httpx
import pytest

from broker.messages import Move, RunNow, Status, utc_now
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import OTHER_SESSION, SESSION, Portal, eventually, shows

HTML = {"Accept": "text/html"}


@pytest.fixture
async def browser(portal: Portal) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody's browser; the same person as `client`."""
    async with portal.client(headers={**HTML, **SESSION}) as client:
        yield client


async def start(client: httpx.AsyncClient, *names: str) -> list[str]:
    ids = []
    for name in names:
        body = {"script_content": "print(1)", "name": name}
        answer = await client.post("/api/experiments/start", json=body)
        ids.append(answer.json()["experiment_id"])
    return ids


def moves(hub: FakeHub) -> list[tuple[str, str | None, str | None, int | None]]:
    found = []
    for asked in hub.asked:
        if isinstance(asked.request, Move):
            r = asked.request
            found.append((r.experiment_id, r.before, r.after, r.known))
    return found


async def test_several_are_moved_in_their_order_each_by_the_order_before_it(
    client: httpx.AsyncClient, hub: FakeHub
) -> None:
    a, b, c, d = await start(client, "a", "b", "c", "d")
    body = {"verb": "before", "ids": [d, b], "target": a, "known": 0}
    answer = (await client.post("/api/experiments/selected", json=body)).json()
    assert (answer["success"], answer["message"], answer["known"]) == (True, "2 moved", 2)
    assert moves(hub) == [(b, a, None, 0), (d, a, None, 1)]
    hub.asked.clear()
    body = {"verb": "last", "ids": [a, c], "known": 2}
    assert (await client.post("/api/experiments/selected", json=body)).status_code == 200
    assert moves(hub) == [(c, None, d, 2), (a, None, d, 3)]


async def test_one_that_is_refused_keeps_no_other_back(
    portal: Portal, client: httpx.AsyncClient, hub: FakeHub
) -> None:
    (mine,) = await start(client, "mine")
    async with portal.client(headers=OTHER_SESSION) as other:
        (theirs,) = await start(other, "theirs")
        await hub.change(theirs, status=Status.COMPLETED)
        await eventually(
            lambda: client.get(f"/api/experiments/{theirs}/status"),
            lambda r: r.json()["experiment"]["status"] == "completed",
        )
    body = {"verb": "pause", "ids": [theirs, mine]}
    answer = (await client.post("/api/experiments/selected", json=body)).json()
    assert answer["success"] is False
    assert answer["message"] == "1 of 2 paused; “theirs”: it has ended already"
    assert hub.experiments[mine].status is Status.PAUSED
    (refused,) = [one for one in answer["done"] if one["error"]]
    assert (refused["experiment_id"], refused["error"]["code"]) == (theirs, "WRONG_STATE")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"verb": "pause", "ids": []}, "ids"),
        ({"verb": "explode", "ids": ["x"]}, "verb"),
        ({"verb": "before", "ids": ["x"]}, "not clear where"),
        ({"verb": "after", "ids": ["x"], "target": "x"}, "not clear where"),
    ],
)
async def test_a_wrong_selection_is_refused(
    client: httpx.AsyncClient, body: dict[str, object], words: str
) -> None:
    answer = await client.post("/api/experiments/selected", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


async def test_a_move_by_an_old_order_is_answered_409(
    client: httpx.AsyncClient, hub: FakeHub
) -> None:
    a, b = await start(client, "a", "b")
    path = f"/api/experiments/{b}/reorder?before={a}&known=0"
    assert (await client.post(path)).json()["known"] == 1
    late = await client.post(path)
    assert (late.status_code, late.json()["error"]["code"]) == (409, "CHANGED_MEANWHILE")
    queue = await eventually(
        lambda: client.get("/api/queue/status"), lambda r: r.json()["moved"] is not None
    )
    assert queue.json()["moved"]["name"] == "b"


async def test_a_form_that_comes_too_late_shows_the_order_and_can_be_repeated(
    client: httpx.AsyncClient, browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    a, b = await start(client, "first one", "second one")
    await client.post(f"/api/experiments/{b}/reorder?before={a}")
    late = await browser.post(f"/experiment/{a}/move", data={"before": b, "known": "0"})
    assert late.status_code == 303
    page = await browser.get(late.headers["location"])
    assert shows(page, "the order was changed meanwhile")
    assert "Move all the same" in page.text
    assert f'name="id" value="{a}"' in page.text
    again = {"id": a, "target": b, "known": "1", "verb": "before"}
    came = {"Referer": str(browser.base_url.join("/queue?all=true"))}
    done = await browser.post("/queue/selected", data=again, headers=came)
    assert (done.status_code, done.headers["location"]) == (303, "/queue?all=true"), "as it was"
    assert moves(hub)[-1] == (a, b, None, 1)


async def test_a_form_asks_before_it_cancels(
    client: httpx.AsyncClient, browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    a, b = await start(client, "<b>first</b>", "second")
    for path, fields in (
        (f"/experiment/{a}/cancel", {}),
        ("/queue/selected", {"verb": "cancel", "id": [a, b]}),
    ):
        asked = await browser.post(path, data=fields)
        assert asked.status_code == 200
        assert "This cannot be undone" in asked.text
        assert "“&lt;b&gt;first&lt;/b&gt;”" in asked.text
    assert hub.experiments[a].status is Status.QUEUED
    sure = {"verb": "cancel", "id": [a, b], "sure": "yes"}
    assert (await browser.post("/queue/selected", data=sure)).status_code == 303
    assert {e.status for e in hub.experiments.values()} == {Status.CANCELLED}


async def test_run_now_says_what_it_stops_and_stops_nothing_else(
    client: httpx.AsyncClient, browser: httpx.AsyncClient, hub: FakeHub, node: FakeNode
) -> None:
    running, waiting = await start(client, "the one that runs", "urgent")
    await hub.change(running, status=Status.RUNNING, node="reactor-1", started_at=utc_now())
    page = await eventually(
        lambda: browser.get(f"/experiment/{waiting}/run-now"),
        lambda answer: "the one that runs" in answer.text,
    )
    assert "Stop it and run here" in page.text
    assert f'name="stops" value="{running}"' in page.text
    assert "not queued again" in page.text
    fields = {"node": "reactor-1", "stop_running": "true", "stops": running}
    assert (await browser.post(f"/experiment/{waiting}/run-now", data=fields)).status_code == 303
    (request,) = [asked.request for asked in hub.asked if isinstance(asked.request, RunNow)]
    assert (request.node, request.stops) == ("reactor-1", running)
    assert (await browser.get(f"/experiment/{running}/run-now")).status_code == 404


async def test_a_question_leads_back_to_a_page(
    portal: Portal, client: httpx.AsyncClient, browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    (one,) = await start(client, "first")
    asked_at = {"Referer": f"{portal.url}/experiment/{one}/cancel"}  # where the question stood
    done = await browser.post(f"/experiment/{one}/cancel", data={"sure": "yes"}, headers=asked_at)
    assert (done.status_code, done.headers["location"]) == (303, f"/experiment/{one}")
