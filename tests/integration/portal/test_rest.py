"""REST as laboratory scripts use it, against a hub on a real broker."""

import logging

import httpx
import pytest
from ulid import ULID

from broker.messages import HubMetrics, Status, utc_now
from broker.topics import Topic
from tests.support.fake_hub import FakeHub
from tests.support.portal import OTHER_SESSION, Portal, eventually

SCRIPT = "print('hello')\n"


async def start(client: httpx.AsyncClient, **fields: object) -> str:
    answer = await client.post("/api/experiments/start", json={"script_content": SCRIPT, **fields})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["experiment_id"])


async def test_start_answers_what_scripts_expect(client: httpx.AsyncClient, hub: FakeHub) -> None:
    answer = await client.post("/api/experiments/start", json={"script_content": SCRIPT})
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "queued"
    assert body["queue_position"] == 1
    assert body["message"]
    assert hub.scripts[body["experiment_id"]] == SCRIPT


async def test_the_secret_never_reaches_the_hub(client: httpx.AsyncClient, hub: FakeHub) -> None:
    await start(client)
    request = hub.asked[-1].request
    assert request.actor is not None
    assert request.actor.user.startswith("web:")
    assert "secret" not in request.model_dump_json()


async def test_status_right_after_start_is_known_and_has_all_fields(
    client: httpx.AsyncClient, hub: FakeHub
) -> None:
    one = await start(client, name="First")
    asked = len(hub.asked)
    answer = await client.get(f"/api/experiments/{one}/status")
    experiment = answer.json()["experiment"]
    assert len(hub.asked) == asked, "a published state needs no question"
    assert experiment["experiment_id"] == one
    assert experiment["queue_position"] == 1
    for field in ("created_at", "started_at", "completed_at", "exit_code", "error_message"):
        assert field in experiment


async def test_queue_status(client: httpx.AsyncClient) -> None:
    one = await start(client)
    body = (await client.get("/api/queue/status")).json()
    assert (body["total_queued"], body["total_running"]) == (1, 0)
    assert [entry["experiment_id"] for entry in body["queue"]] == [one]
    assert body["freshness"]["age_seconds"] == 0


async def test_user_sees_only_their_own(portal: Portal, client: httpx.AsyncClient) -> None:
    one = await start(client)
    mine = (await client.get("/api/experiments/user")).json()
    assert [e["experiment_id"] for e in mine["experiments"]] == [one]
    other = await client.get("/api/experiments/user", headers=OTHER_SESSION)
    assert other.json()["experiments"] == []


async def test_commands_and_their_effect_is_visible_at_once(client: httpx.AsyncClient) -> None:
    one = await start(client)
    for verb, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        answer = await client.post(f"/api/experiments/{one}/{verb}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["success"] is True
        assert answer.json()["message"]
        seen = (await client.get(f"/api/experiments/{one}/status")).json()["experiment"]
        assert seen["status"] == status
    again = await client.post(f"/api/experiments/{one}/cancel")
    assert again.status_code == 409
    assert again.json()["detail"] == "it has ended already"
    assert again.json()["error"]["code"] == "WRONG_STATE"


async def test_a_script_without_session_commands_as_administrator(
    portal: Portal, client: httpx.AsyncClient, hub: FakeHub
) -> None:
    one = await start(client)
    async with portal.client() as stranger:
        answer = await stranger.post(f"/api/experiments/{one}/cancel")
    assert answer.status_code == 200
    assert hub.asked[-1].admin
    assert hub.experiments[one].status is Status.CANCELLED


async def test_reorder_run_now_and_parameters(client: httpx.AsyncClient, hub: FakeHub) -> None:
    one, two = await start(client), await start(client)
    for path in (
        f"{two}/reorder?new_position=0",
        f"{two}/reorder?before={one}",
        f"{two}/run-now",
    ):
        answer = await client.post(f"/api/experiments/{path}")
        assert answer.status_code == 200, answer.text
    answer = await client.post(
        f"/api/experiments/{two}/run-now", json={"node": "reactor-1", "stop_running": True}
    )
    assert answer.status_code == 200
    answer = await client.post(
        f"/api/experiments/{two}/parameters", json={"parameters": {"target_od": 0.7}}
    )
    assert answer.status_code == 200
    verbs = [asked.verb for asked in hub.asked if asked.verb != "submit"]
    assert verbs == ["move", "move", "run-now", "run-now", "send"]


async def test_queue_postures(client: httpx.AsyncClient) -> None:
    for verb, posture in (("pause", "paused"), ("drain", "draining"), ("resume", "running")):
        assert (await client.post(f"/api/queue/{verb}")).status_code == 200
        assert (await client.get("/api/queue/status")).json()["posture"] == posture


async def test_the_same_key_queues_once(client: httpx.AsyncClient, hub: FakeHub) -> None:
    body = {"script_content": SCRIPT}
    key = {"Idempotency-Key": "only-once"}
    first = await client.post("/api/experiments/start", json=body, headers=key)
    second = await client.post("/api/experiments/start", json=body, headers=key)
    assert first.json() == second.json()
    assert len(hub.experiments) == 1
    other = {"script_content": SCRIPT + "#"}
    third = await client.post("/api/experiments/start", json=other, headers=key)
    assert third.status_code == 409
    assert third.json()["error"]["code"] == "ID_REUSED"


async def test_the_sixth_experiment_is_refused(client: httpx.AsyncClient) -> None:
    for _ in range(5):
        await start(client)
    answer = await client.post("/api/experiments/start", json={"script_content": SCRIPT})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "USER_LIMIT"
    assert answer.json()["detail"]


async def test_a_script_with_a_mistake(client: httpx.AsyncClient, hub: FakeHub) -> None:
    body = {"script_content": "def\n"}
    answer = await client.post("/api/experiments/start", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "SCRIPT_SYNTAX"
    check = await client.post("/api/experiments/check", json=body)
    assert check.json()["ok"] is False
    assert check.json()["problems"][0]["line"] == 1
    assert hub.experiments == {}


async def test_unknown_experiments(client: httpx.AsyncClient) -> None:
    for path in (str(ULID()), "no-such-id", "%2e%2e"):
        for rest in ("", "/status", "/logs?after=0", "/script", "/download", "/history"):
            answer = await client.get(f"/api/experiments/{path}{rest}")
            assert answer.status_code == 404, (path, rest, answer.text)
            assert answer.json()["detail"]
            assert answer.json()["error"]["code"] == "NOT_FOUND"


async def test_data(client: httpx.AsyncClient, hub: FakeHub) -> None:
    one = await start(client)
    history = (await client.get(f"/api/experiments/{one}/history?points=100")).json()
    assert history["traces"]["od"]["v"] == [0.1, None]
    telemetry = (await client.get(f"/api/experiments/{one}/telemetry")).json()
    assert telemetry["traces"] == history["traces"]
    logs = (await client.get(f"/api/experiments/{one}/logs?after=0")).json()
    assert logs["lines"][0]["text"] == "<script>alert(1)</script>"
    text = await client.get(f"/api/experiments/{one}/logs?after=0&format=text")
    assert text.text == "<script>alert(1)</script>\n"
    assert text.headers["content-type"].startswith("text/plain")
    script = await client.get(f"/api/experiments/{one}/script")
    assert script.text == SCRIPT
    hub.files["telemetry-csv"] = b"t,od\n0,1\n"
    csv = await client.get(f"/api/experiments/{one}/telemetry?format=csv")
    assert csv.content == b"t,od\n0,1\n"
    hub.files["figures/od plot.svg"] = b"<svg onload='alert(1)'/>"
    file = await client.get(f"/api/experiments/{one}/files/figures/od%20plot.svg")
    assert file.content == hub.files["figures/od plot.svg"]
    assert file.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in file.headers["content-security-policy"]
    assert file.headers["x-content-type-options"] == "nosniff"


async def test_a_new_session_is_made_and_returned(portal: Portal) -> None:
    async with portal.client() as stranger:
        answer = await stranger.post("/api/experiments/start", json={"script_content": SCRIPT})
        assert answer.status_code == 200
        given = answer.headers["X-Session-ID"]
        stranger.cookies.clear()
        mine = await stranger.get("/api/experiments/user", headers={"X-Session-ID": given})
    assert len(mine.json()["experiments"]) == 1
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=Lax" in answer.headers["set-cookie"]


async def test_the_secret_never_reaches_the_logs(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await start(client)
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    assert "secret of the tests" not in "\n".join(ours)


async def test_health_and_figures(client: httpx.AsyncClient) -> None:
    await start(client)
    health = (await client.get("/health")).json()
    assert health["status"] == "ok"
    assert health["ready"] is True
    figures = (await client.get("/metrics")).text
    assert "bioreactor_portal_queue_queued 1" in figures
    assert 'route="/api/experiments/start",status="200"} 1' in figures
    assert "bioreactor_portal_hub_online 1" in figures


async def test_the_hubs_figures_are_told_with_the_portals(
    client: httpx.AsyncClient, hub: FakeHub
) -> None:
    topic = hub.connection.topics.build(Topic.HUB_METRICS)
    figures = HubMetrics(at=utc_now(), text="# TYPE bioreactor_hub_x gauge\nbioreactor_hub_x 7\n")
    await hub.connection.publish(topic, b"{}", retain=True)  # what it cannot read, it leaves out
    await hub.connection.publish(topic, figures.encode(), retain=True)
    told = await eventually(
        lambda: client.get("/metrics"), lambda answer: "bioreactor_hub_x 7\n" in answer.text
    )
    assert told.text.startswith("# TYPE bioreactor_portal_info gauge")
    assert told.text.endswith("bioreactor_hub_x 7\n")


async def test_the_reference_lists_every_call(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path in (
        "/api/experiments/start",
        "/api/experiments/{experiment_id}/status",
        "/api/queue/status",
        "/api/experiments/user",
        "/api/experiments/{experiment_id}/reorder",
        "/api/nodes/{node}",
        "/health",
        "/metrics",
    ):
        assert path in document["paths"]
    assert "/upload" not in document["paths"]
    page = await client.get("/docs", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "/api/experiments/start" in page.text
    assert "script_content" in page.text
