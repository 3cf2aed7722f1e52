"""Every verb, asked over a real broker of a real hub."""

import base64
import contextlib
from datetime import timedelta

import pytest

from broker.messages import (
    ADMIN_REQUESTS,
    REQUESTS,
    Check,
    Checked,
    ContractError,
    Done,
    Export,
    Exported,
    ExportKind,
    Fetch,
    Fetched,
    History,
    HistoryOf,
    Limits,
    List,
    Listed,
    LogPage,
    Logs,
    Move,
    OnExperiment,
    OnNode,
    Plain,
    Posture,
    RunNow,
    Send,
    Status,
    Submit,
)
from broker.topics import Topic
from hub_service import service
from hub_service.queue.settle import ready
from hub_service.settings import HubSettings
from tests.integration.hub.conftest import Site, actor, unknown_id
from tests.support.hub import SCRIPT
from tests.support.inbox import Inbox
from tests.support.waiting import eventually

PLAIN = "print('x')\n"


async def test_the_main_job(site: Site) -> None:
    await site.start_hub()
    watcher, alice = await site.watcher(), await site.person("alice")
    submitted = await alice.submit(parameters={"target": 1})
    assert submitted.queue_position == 1
    one = submitted.experiment_id
    await watcher.until(one, lambda e: e.queue_position == 1)

    node = await site.start_node()
    await watcher.until(one, lambda e: e.status is Status.RUNNING and e.phase == "executing")
    assert node.assignments[-1].script == SCRIPT
    assert node.parameters == {"target": 1.0}
    await node.measure(3)
    results = bytes(range(256)) * 1000
    await node.end(file=results)

    done = await watcher.until(one, lambda e: e.status is Status.COMPLETED)
    assert (done.exit_code, done.attempt, done.node) == (0, 1, "reactor-1")
    assert [f.size for f in done.results] == [len(results)]
    assert (done.owner, done.user, done.name) == ("alice", "mqtt:alice", "hold")
    assert done.started_at is not None
    assert node.started == {(one, 1): 1}
    await eventually(lambda: node.assignments[-1].desired == "idle")

    logs = await alice.ask("logs", Logs(experiment_id=one), LogPage)
    assert [line.text for line in logs.lines] == ["line 1", "line 2", "line 3"]
    curves = await alice.ask("history", History(experiment_id=one), HistoryOf)
    assert curves.traces["od"].t == (1.0, 2.0, 3.0)
    listed = await alice.ask("list", List(mine=True), Listed)
    assert [e.experiment_id for e in listed.experiments] == [one]
    assert (await alice.get(one)).status is Status.COMPLETED
    assert watcher.queue is not None
    assert (watcher.queue.total_running, watcher.queue.total_queued) == (0, 0)


async def test_the_table_of_verbs_is_total(site: Site) -> None:
    """Each verb of the contract has an answer of its own, if only that it is not for this one."""
    await site.start_hub()
    admin = await site.person("admin")
    one = unknown_id()
    for verb, model in {**REQUESTS, **ADMIN_REQUESTS}.items():
        fields = {
            "experiment_id": one, "node": "reactor-9", "position": 1, "script": PLAIN,
            "parameters": {}, "kind": "log", "ref": "x", "token_id": one, "name": "x",
            "days": 30,
        }  # fmt: skip
        known = {k: v for k, v in fields.items() if k in model.model_fields}
        with contextlib.suppress(ContractError):
            await admin.asker.ask(verb, model(**known), admin=verb in ADMIN_REQUESTS, timeout=10)
            continue
        assert await admin.refused(verb, model(**known), admin=verb in ADMIN_REQUESTS) in {
            "NOT_FOUND", "MALFORMED",
        }, verb  # fmt: skip


async def test_plain_commands_without_a_body(site: Site) -> None:
    """As ``mosquitto_pub -t bioreactor/hub/admin/admin/pause-queue -n`` sends them."""
    await site.start_hub()
    watcher = await site.watcher()
    connection = await site.connect("admin")
    topics = connection.topics
    for verb, posture in (
        ("pause-queue", Posture.PAUSED),
        ("resume-queue", Posture.RUNNING),
        ("drain-queue", Posture.DRAINING),
    ):
        await connection.publish(topics.build(Topic.HUB_ADMIN, principal="admin", verb=verb), b"")
        await eventually(lambda p=posture: watcher.queue and watcher.queue.posture is p)  # type: ignore[misc]


async def test_the_same_id_gives_the_same_answer(site: Site) -> None:
    await site.start_hub()
    alice, bob = await site.person("alice"), await site.person("bob")
    first = await alice.submit(id="once")
    assert await alice.submit(id="once") == first
    assert await alice.refused("submit", Submit(script=PLAIN, id="once")) == "ID_REUSED"
    other = await bob.submit(id="once")
    assert other.experiment_id != first.experiment_id

    cancel = OnExperiment(experiment_id=first.experiment_id, id="stop-it")
    done = await alice.ask("cancel", cancel, Done)
    assert (done.outcome, done.status) == ("done", Status.CANCELLED)
    assert await alice.ask("cancel", cancel, Done) == done
    again = OnExperiment(experiment_id=first.experiment_id)
    assert await alice.refused("cancel", again) == "WRONG_STATE"

    await site.stop_hub()
    hub = await site.start_hub()
    assert await alice.submit(id="once") == first
    assert await alice.ask("cancel", cancel, Done) == done
    assert list(hub.store.state.entries) == [other.experiment_id]
    assert await alice.refused("submit", Submit(script=PLAIN, id="once")) == "ID_REUSED"


async def test_a_refusal_is_remembered_too(site: Site) -> None:
    await site.start_hub()
    alice = await site.person("alice")
    ids = [(await alice.submit()).experiment_id for _ in range(5)]
    sixth = Submit(script=PLAIN, id="sixth")
    assert await alice.refused("submit", sixth) == "USER_LIMIT"
    await alice.ask("cancel", OnExperiment(experiment_id=ids[0]), Done)
    assert await alice.refused("submit", sixth) == "USER_LIMIT"
    assert (await alice.submit(PLAIN)).queue_position == 5


async def test_sessions_behind_a_portal_are_users_of_their_own(site: Site) -> None:
    await site.start_hub(settings=HubSettings(data_dir=site.path / "hub", open=False))
    portal = await site.person("portal")
    ada = [await portal.submit(actor=actor("ada")) for _ in range(5)]
    assert await portal.refused("submit", Submit(script=PLAIN, actor=actor("ada"))) == "USER_LIMIT"
    bobs = await portal.submit(actor=actor("bob"))
    one = ada[0].experiment_id
    shown = await portal.get(one)
    assert (shown.owner, shown.user) == ("ada", "web:ada0000000")
    stop = OnExperiment(experiment_id=one, actor=actor("bob"))
    assert await portal.refused("cancel", stop) == "FORBIDDEN"
    assert await portal.refused("cancel", stop, admin=True) == "FORBIDDEN"
    got = await portal.asker.ask("get", stop.model_copy(update={"id": None}))
    assert got.kind == "experiment"
    assert got.script is None
    # Ahead of one's own yes, ahead of others' no, administrators both.
    ahead = Move(experiment_id=bobs.experiment_id, position=1, actor=actor("bob"))
    assert await portal.refused("move", ahead) == "FORBIDDEN"
    boss = ahead.model_copy(update={"actor": actor("eve", admin=True)})
    assert (await portal.ask("move", boss, Done)).queue_position == 1
    done = await portal.ask("cancel", stop.model_copy(update={"actor": actor("ada")}), Done)
    assert done.status is Status.CANCELLED


async def test_an_actor_is_believed_from_portals_alone(site: Site) -> None:
    await site.start_hub(settings=HubSettings(data_dir=site.path / "hub", open=False))
    alice, bob = await site.person("alice"), await site.person("bob")
    one = (await alice.submit()).experiment_id
    posing = OnExperiment(experiment_id=one, actor=actor("root", admin=True))
    assert await bob.refused("cancel", posing) == "FORBIDDEN"
    assert (await bob.submit(actor=actor("root"))).experiment_id != one
    listed = await bob.ask("list", List(), Listed)
    assert {e.owner for e in listed.experiments} == {"bob"}


async def test_pause_resume_send_and_cancel_of_what_runs(site: Site) -> None:
    await site.start_hub()
    watcher, alice, node = await site.watcher(), await site.person("alice"), await site.start_node()
    one = (await alice.submit()).experiment_id
    on_it = OnExperiment(experiment_id=one)
    await watcher.until(one, lambda e: e.phase == "executing")
    assert (await alice.ask("pause", on_it, Done)).outcome == "accepted"
    await watcher.until(one, lambda e: (e.status, e.phase) == (Status.PAUSED, "frozen"))
    assert (await alice.ask("resume", on_it, Done)).outcome == "accepted"
    await watcher.until(one, lambda e: (e.status, e.phase) == (Status.RUNNING, "executing"))

    sent = Send(experiment_id=one, parameters={"target": 2})
    assert (await alice.ask("send", sent, Done)).outcome == "accepted"
    await eventually(lambda: node.parameters == {"target": 2.0})
    wrong = Send(experiment_id=one, parameters={"target": 9})
    assert await alice.refused("send", wrong) == "SCRIPT_PARAMETERS"
    wrong = Send(experiment_id=one, parameters={"other": 1})
    assert await alice.refused("send", wrong) == "SCRIPT_PARAMETERS"
    wrong = Send(experiment_id=one, parameters={"target": 3}, expected={"other" * 999: 1})
    assert await alice.refused("send", wrong) == "SCRIPT_PARAMETERS"

    assert (await alice.ask("cancel", on_it, Done)).outcome == "accepted"
    done = await watcher.until(one, lambda e: e.status is Status.CANCELLED)
    assert done.error is not None
    assert (done.error.code, done.error.message) == ("CANCELLED", "cancelled by alice")
    assert node.started == {(one, 1): 1}


async def test_run_now_with_stop_running(site: Site) -> None:
    await site.start_hub()
    watcher, alice, admin = (
        await site.watcher(),
        await site.person("alice"),
        await site.person("admin"),
    )
    node = await site.start_node()
    ids = [(await alice.submit()).experiment_id for _ in range(3)]
    await watcher.until(ids[0], lambda e: e.phase == "executing")
    request = RunNow(experiment_id=ids[2], node="reactor-1", stop_running=True)
    assert (await admin.ask("run-now", request, Done, admin=True)).queue_position == 1
    await watcher.until(ids[0], lambda e: e.status is Status.CANCELLED)
    await watcher.until(ids[2], lambda e: e.phase == "executing")
    assert (await alice.get(ids[1])).queue_position == 1
    assert node.started == {(ids[0], 1): 1, (ids[2], 1): 1}


async def test_lists_join_the_live_and_the_archived(site: Site) -> None:
    await site.start_hub()
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()
    node.automatic = True
    done = [(await alice.submit(name=f"done {n}")).experiment_id for n in range(3)]
    for one in done:
        await watcher.until(one, lambda e: e.status is Status.COMPLETED)
    node.automatic = False
    live = [(await alice.submit(name=f"live {n}")).experiment_id for n in range(3)]
    everything = [*reversed(live), *reversed(done)]

    pages: list[str] = []
    before = None
    while True:
        page = await alice.ask("list", List(limit=2, before=before), Listed)
        assert page.total == 6
        pages += [e.experiment_id for e in page.experiments]
        before = page.next
        if before is None:
            break
    assert pages == everything
    found = await alice.ask("list", List(search="LIVE 1"), Listed)
    assert [e.experiment_id for e in found.experiments] == [live[1]]
    found = await alice.ask("list", List(status=(Status.COMPLETED,)), Listed)
    assert [e.experiment_id for e in found.experiments] == list(reversed(done))


async def test_delete_leaves_nothing_to_see(site: Site) -> None:
    await site.start_hub()
    alice, admin, watcher = (
        await site.person("alice"),
        await site.person("admin"),
        await site.watcher(),
    )
    one = (await alice.submit()).experiment_id
    on_it = OnExperiment(experiment_id=one)
    assert await admin.refused("delete", on_it, admin=True) == "WRONG_STATE"
    await alice.ask("cancel", on_it, Done)
    await eventually(lambda: _archived(site, one))
    await admin.ask("delete", on_it, Done, admin=True)
    await eventually(lambda: watcher.experiments.get(one, "") is None)
    assert await alice.refused("get", on_it) == "NOT_FOUND"


async def _archived(site: Site, experiment_id: str) -> bool:
    person = await site.person("bob")
    listed = await person.ask("list", List(), Listed)
    assert [e.experiment_id for e in listed.experiments] == [experiment_id]
    hub = site.hub
    assert hub is not None
    return experiment_id not in hub.store.state.entries


async def test_limits_change_at_once(site: Site) -> None:
    await site.start_hub()
    alice, admin = await site.person("alice"), await site.person("admin")
    await admin.ask("limits", Limits(per_user=1), Done, admin=True)
    await alice.submit()
    assert await alice.refused("submit", Submit(script=PLAIN)) == "USER_LIMIT"


async def test_an_emergency_stop_reaches_its_node_once(site: Site) -> None:
    await site.start_hub()
    admin, node, alice = (
        await site.person("admin"),
        await site.start_node(),
        await site.person("alice"),
    )
    await alice.submit()
    await eventually(lambda: node.holder is not None)
    done = await admin.ask("estop", OnNode(node="reactor-1"), Done, admin=True)
    assert done.outcome == "accepted"
    await eventually(lambda: node.estops == 1)
    assert await admin.refused("estop", OnNode(node="reactor-7"), admin=True) == "NOT_FOUND"


async def test_a_check_says_what_a_submission_would(site: Site) -> None:
    await site.start_hub()
    node, alice = await site.start_node(), await site.person("alice")
    await eventually(lambda: _ready(site))
    checked = await alice.ask("check", Check(script=SCRIPT), Checked)
    assert (checked.ok, checked.suitable_nodes) == (True, ("reactor-1",))
    assert checked.prospect is not None
    assert (checked.prospect.queue_position, checked.prospect.refusal) == (None, None)
    checked = await alice.ask("check", Check(script="import torch\nif\n"), Checked)
    assert not checked.ok
    assert checked.prospect is None
    for script, code in (
        ("import torch\n", "SCRIPT_IMPORT"),
        ("", "SCRIPT_EMPTY"),
        ("x" * 300_000, "SCRIPT_TOO_LARGE"),
        ("a\x00", "SCRIPT_ENCODING"),
        ("if\n", "SCRIPT_SYNTAX"),
        (SCRIPT.replace("od", "co2"), "NO_SUITABLE_REACTOR"),
        (SCRIPT.replace("min", "mim"), "SCRIPT_METADATA"),
    ):
        assert await alice.refused("submit", Submit(script=script)) == code
    assert not node.started
    places = [(await alice.submit()).queue_position for _ in range(5)]
    # Her five are in: she may not have another one, for Bob there is the next place.
    checked = await alice.ask("check", Check(script=SCRIPT), Checked)
    assert checked.prospect is not None
    assert checked.prospect.refusal is not None
    assert checked.prospect.refusal.code == "USER_LIMIT"
    bob = await site.person("bob")
    checked = await bob.ask("check", Check(script=SCRIPT), Checked)
    assert checked.prospect is not None
    assert checked.prospect.queue_position == (places[-1] or 0) + 1
    assert site.hub is not None
    assert len(site.hub.store.state.entries) == 5


def _ready(site: Site) -> bool:
    hub = site.hub
    assert hub is not None
    return any(ready(node) for node in hub.store.state.nodes.values())


async def test_every_command_is_on_record(site: Site) -> None:
    hub = await site.start_hub()
    alice, bob = await site.person("alice"), await site.person("bob")
    one = (await alice.submit()).experiment_id
    on_it = OnExperiment(experiment_id=one)
    await bob.ask("pause", on_it, Done)
    await bob.refused("run-nothing", Plain())
    await alice.refused("submit", Submit(script="if\n"))
    await bob.ask("cancel", on_it, Done)
    assert await bob.refused("cancel", on_it) == "WRONG_STATE"
    audited = [(a.user, a.verb, a.outcome) for a in await hub.archive.audited(one)]
    assert audited == [
        ("mqtt:alice", "submit", "done"),
        ("mqtt:bob", "pause", "done"),
        ("mqtt:bob", "cancel", "done"),
        ("mqtt:bob", "cancel", "WRONG_STATE"),
    ]


async def test_who_asks_again_and_again_does_not_fill_the_record(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "REFUSALS_PER_SECOND", 1e-6)
    hub = await site.start_hub(settings=HubSettings(data_dir=site.path / "hub", open=False))
    alice, bob = await site.person("alice"), await site.person("bob")
    one = (await alice.submit()).experiment_id
    for _ in range(int(service.REFUSALS_AT_ONCE) + 20):
        assert await bob.refused("logs", Logs(experiment_id=one)) == "FORBIDDEN"
    assert await bob.refused("cancel", OnExperiment(experiment_id=one)) == "FORBIDDEN"
    noted = [(a.verb, a.outcome) for a in await hub.archive.audited(one)]
    assert noted.count(("logs", "FORBIDDEN")) == service.REFUSALS_AT_ONCE
    assert noted[-1] == ("cancel", "FORBIDDEN"), "commands are on record always"


async def test_a_finished_experiments_topic_is_cleared_after_a_day(site: Site) -> None:
    await site.start_hub()
    alice, watcher = await site.person("alice"), await site.watcher()
    one = (await alice.submit()).experiment_id
    await alice.ask("cancel", OnExperiment(experiment_id=one), Done)
    await watcher.until(one, lambda e: e.status is Status.CANCELLED)
    await site.stop_hub()
    site.clock.offset = timedelta(hours=23)
    hub = await site.start_hub()
    assert await hub.archive.finished(one) is not None
    assert watcher.experiments[one] is not None
    await site.stop_hub()
    # What an earlier life left is found and cleared, however long the hub was away.
    site.clock.offset = timedelta(hours=25)
    await site.start_hub()
    await eventually(lambda: watcher.experiments[one] is None)


async def test_results_can_be_fetched(site: Site) -> None:
    await site.start_hub()
    alice, node, watcher = await site.person("alice"), await site.start_node(), await site.watcher()
    one = (await alice.submit()).experiment_id
    await watcher.until(one, lambda e: e.phase == "executing")
    await node.measure(5)
    await node.end(file=b"results" * 1000)
    await watcher.until(one, lambda e: e.status is Status.COMPLETED)
    for kind, start in (
        (ExportKind.SCRIPT, b"# /// script"),
        (ExportKind.LOG, b""),
        (ExportKind.TELEMETRY_CSV, b""),
        (ExportKind.RESULTS, b"PK"),
    ):
        made = await alice.ask("export", Export(experiment_id=one, kind=kind), Exported)
        piece = await alice.ask("fetch", Fetch(ref=made.ref, length=1000), Fetched)
        data = base64.b64decode(piece.data)
        assert data.startswith(start)
        assert piece.size == made.size


async def test_an_orphaned_inbox_is_not_needed(site: Site) -> None:
    """Fire and forget: without a client the answer is nobody's, an error goes to errors/."""
    await site.start_hub()
    alice = await site.connect("alice")
    errors = Inbox()
    alice.subscribe(alice.topics.build(Topic.ERRORS, principal="alice"), errors)
    topic = alice.topics.build(Topic.HUB_REQUEST, principal="alice", verb="cancel")
    body = OnExperiment(experiment_id=unknown_id(), id="x").encode()
    await eventually(lambda: alice.connected)
    await alice.publish(topic, body)
    told = await errors.wait_for(1)
    assert b"NOT_FOUND" in told[0].payload
