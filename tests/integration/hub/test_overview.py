"""What administrators ask about the whole."""

from broker.messages import (
    Audited,
    Done,
    Due,
    DueOf,
    Limits,
    Plain,
    ReadAudit,
    Status,
    Storage,
    Submit,
    UserInfo,
    Users,
    UsersOf,
)
from tests.integration.hub.conftest import Site, actor


async def test_who_has_what_and_how_full_it_is(site: Site) -> None:
    await site.start_hub()
    alice, admin, portal = [await site.person(who) for who in ("alice", "admin", "portal")]
    node, watcher = await site.start_node(), await site.watcher()
    node.automatic = True
    done = (await alice.submit()).experiment_id
    await watcher.until(done, lambda e: e.status is Status.COMPLETED)
    node.automatic = False
    runs = (await alice.submit()).experiment_id
    await watcher.until(runs, lambda e: e.status is Status.RUNNING)
    ben = actor("ben")
    await portal.submit(actor=ben)
    await portal.submit(actor=ben)
    asked = Limits(user="mqtt:alice", per_user=1)
    assert (await admin.ask("limits", asked, Done, admin=True)).outcome == "done"

    async def users(request: Users) -> dict[str, UserInfo]:
        page = await admin.ask("users", request, UsersOf, admin=True)
        found = {user.user: user for user in page.users}
        if page.next is not None:
            assert len(page.users) == request.limit
            found |= await users(request.model_copy(update={"after": page.next}))
        return found

    for limit in (1, 100):
        found = await users(Users(limit=limit))
        assert set(found) == {"mqtt:alice", ben.user}
        one, two = found["mqtt:alice"], found[ben.user]
        assert (one.completed, one.running, one.queued) == (1, 1, 0)
        assert (one.limit, one.excepted) == (1, True)
        assert (two.completed, two.queued, two.limit, two.owner) == (0, 2, 5, ben.name)
        assert one.last_submitted is not None
    assert await alice.refused("submit", Submit(script="print(1)")) == "USER_LIMIT"

    for asked_for, wanted in (
        (ReadAudit(who="mqtt:alice"), {("alice", "submit")}),
        (ReadAudit(who=ben.name, verb="submit"), {(ben.name, "submit")}),
        (ReadAudit(verb="limits"), {("admin", "limits")}),
        (ReadAudit(who="nobody"), set()),
    ):
        told = await admin.ask("audit", asked_for, Audited, admin=True)
        assert {(entry.by, entry.verb) for entry in told.entries} == wanted

    disk = await admin.ask("storage", Plain(), Storage, admin=True)
    assert 0 < disk.free < disk.total
    assert disk.database > 0
    assert (disk.finished, disk.low) == (1, False)
    due = await admin.ask("due", Due(days=1), DueOf, admin=True)
    assert (due.count, due.oldest) == (0, None)
    for verb, request in (("users", Users()), ("storage", Plain()), ("due", Due(days=1))):
        assert await alice.refused(verb, request) == "UNKNOWN_VERB"
        vouched = request.model_copy(update={"actor": ben})
        assert await portal.refused(verb, vouched, admin=True) == "FORBIDDEN"
