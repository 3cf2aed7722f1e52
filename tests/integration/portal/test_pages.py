"""Pages and forms without JavaScript, as a browser sends them."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from ulid import ULID

from broker.messages import Estop, ServiceStatus, StartForecast, Status, utc_now
from broker.topics import Topic
from tests.support.fake_hub import FakeHub
from tests.support.fake_node import FakeNode
from tests.support.portal import Portal, eventually, shows

SCRIPT = "print('hello')\n"
HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
async def browser(portal: Portal) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a cookie jar, an origin, and no session of its own yet."""
    headers = {**HTML, "Origin": portal.url, "Sec-Fetch-Site": "same-origin"}
    async with portal.client(headers=headers) as client:
        yield client


async def upload(browser: httpx.AsyncClient, **fields: str) -> httpx.Response:
    files = {key: (None, value) for key, value in {"script": SCRIPT, **fields}.items()}
    return await browser.post("/upload", files=files)


@pytest.mark.parametrize(
    "path", ["/", "/upload", "/my-experiments", "/queue", "/nodes", "/docs", "/login"]
)
async def test_every_page_is_served_with_strict_headers(
    browser: httpx.AsyncClient, path: str
) -> None:
    answer = await browser.get(path, follow_redirects=True)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]*(src=|application/json))", answer.text)
    assert " style=" not in answer.text
    assert not re.search(r"\son[a-z]+=", answer.text)


async def test_a_first_visit_makes_a_session_that_stays(browser: httpx.AsyncClient) -> None:
    first = await browser.get("/")
    assert "bioreactor_session" in first.cookies
    second = await browser.get("/")
    assert "set-cookie" not in second.headers
    handle = re.search(r"<bdi>([a-z]+-[a-z]+)</bdi>", second.text)
    assert handle is not None
    assert handle[1] in (await browser.get("/queue")).text
    assert browser.cookies["bioreactor_session"] not in second.text


async def test_text_is_queued_and_leads_to_its_page(
    browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    answer = await upload(browser, script="a = 1\r\nb = 2\r\n", name="My run")
    assert answer.status_code == 303
    (one,) = hub.experiments
    assert answer.headers["location"] == f"/experiment/{one}"
    assert hub.scripts[one] == "a = 1\nb = 2\n"
    page = await browser.get(answer.headers["location"])
    assert shows(page, "My run")
    assert shows(page, "queued as number 1")
    again = await browser.get(answer.headers["location"])
    assert "queued as number 1" not in again.text
    mine = await browser.get("/my-experiments")
    assert shows(mine, "My run")
    assert shows((await browser.get("/queue")), "My run")


async def test_a_file_is_queued_under_its_name(browser: httpx.AsyncClient, hub: FakeHub) -> None:
    file = ("C:\\Users\\me\\growth.py", b"\xef\xbb\xbfprint('\xc3\xbc')\n", "text/x-python")
    answer = await browser.post("/upload", files={"file": file, "script": (None, "")})
    assert answer.status_code == 303
    (one,) = hub.experiments
    assert hub.experiments[one].name == "growth.py"
    assert hub.scripts[one] == "print('ü')\n"


async def test_a_double_click_queues_once(browser: httpx.AsyncClient, hub: FakeHub) -> None:
    request_id = str(ULID())
    first = await upload(browser, request_id=request_id)
    second = await upload(browser, request_id=request_id)
    assert first.headers["location"] == second.headers["location"]
    assert len(hub.experiments) == 1


async def test_parameters_have_the_types_of_the_script(
    browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    fields = {"param.target_od": "0.7", "param.label": "12", "param.empty": ""}
    assert (await upload(browser, **fields)).status_code == 303
    (experiment,) = hub.experiments.values()
    assert experiment.parameters == {"target_od": 0.7, "label": "12"}
    wrong = await upload(browser, **{"param.target_od": "much", "name": "Kept"})
    assert wrong.status_code == 400
    assert shows(wrong, "a number is wanted")
    assert 'value="much"' in wrong.text
    assert 'value="Kept"' in wrong.text


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 400, "the script is empty"),
        (b"  \n\t\n", 400, "the script is empty"),
        (b"ok = 1\n# caf\xe9\n", 400, "line 2 has a byte that cannot be read"),
        (b"#" * (256 * 1024 + 1), 413, "262145 bytes"),
        (b"\xff\xd8\xff\xe0 JFIF", 400, "not UTF-8"),
        (b"x = 1\ndef\n", 400, "Line 2"),
    ],
)
async def test_files_that_cannot_run_are_answered_next_to_the_field(
    browser: httpx.AsyncClient, hub: FakeHub, content: bytes, status: int, words: str
) -> None:
    answer = await browser.post("/upload", files={"file": ("a.py", content)})
    assert answer.status_code == status
    assert shows(answer, words)
    assert 'id="wrong-file"' in answer.text
    assert hub.experiments == {}


async def test_a_script_of_the_largest_size_passes(
    browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    content = b"#" * (256 * 1024)
    answer = await browser.post("/upload", files={"file": ("a.py", content)})
    assert answer.status_code == 303
    assert len(next(iter(hub.scripts.values()))) == 256 * 1024


async def test_a_giant_is_answered_on_the_page(browser: httpx.AsyncClient, hub: FakeHub) -> None:
    answer = await browser.post("/upload", files={"file": ("a.py", b"#" * 5_000_000)})
    assert answer.status_code == 413
    assert shows(answer, "larger than 1024 KiB")
    assert hub.asked == []


async def test_what_the_hub_refuses_stands_in_the_form(browser: httpx.AsyncClient) -> None:
    for _ in range(5):
        assert (await upload(browser)).status_code == 303
    sixth = await upload(browser, name="The sixth", script="keep = 'me'\n")
    assert sixth.status_code == 400
    assert shows(sixth, "you have 5 experiments already")
    assert shows(sixth, "keep = &#39;me&#39;")
    assert shows(sixth, "5 of 5")
    wrong = await upload(browser, name="x" * 500)
    assert wrong.status_code == 400
    assert shows(wrong, "wrong-name")


async def test_hostile_names_and_logs_are_shown_harmlessly(browser: httpx.AsyncClient) -> None:
    name = "<img src=x onerror=alert(1)>"
    answer = await upload(browser, name=name, script=f"x = {name!r}\n")
    for path in (answer.headers["location"], "/queue", "/my-experiments", "/"):
        page = await browser.get(path)
        assert "<img src=x" not in page.text
        assert shows(page, "&lt;img src=x")
    page = await browser.get(answer.headers["location"])
    assert "<script>alert(1)" not in page.text
    assert shows(page, "&lt;script&gt;alert(1)")


async def test_commands_lead_back_to_their_page(
    portal: Portal, browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    location = (await upload(browser)).headers["location"]
    await upload(browser)
    one = location.rsplit("/", 1)[1]
    from_queue = {"Referer": f"{portal.url}/queue"}
    for path, fields in (
        (f"{location}/move", {"position": "2"}),
        (f"{location}/pause", {}),
        (f"{location}/resume", {}),
        (f"{location}/run-now", {"node": "reactor-1", "stop_running": "on"}),
        ("/queue/pause", {}),
        ("/queue/drain", {}),
        ("/queue/resume", {}),
        (f"{location}/cancel", {"sure": "yes"}),
    ):
        answer = await browser.post(path, data=fields, headers=from_queue)
        assert answer.status_code == 303, (path, answer.text)
        assert answer.headers["location"] == "/queue"
    assert hub.experiments[one].status is Status.CANCELLED
    assert shows((await browser.get("/queue")), "is cancelled")
    elsewhere = {"Referer": "https://evil.example/page"}
    answer = await browser.post(f"{location}/cancel", data={"sure": "1"}, headers=elsewhere)
    assert answer.status_code == 409
    assert shows(answer, "it has ended already")
    assert "text/html" in answer.headers["content-type"]
    assert (await browser.post(f"{location}/explode")).status_code == 404
    assert (await browser.post(f"{location}/move", data={"position": "x"})).status_code == 400


async def test_pages_that_do_not_exist(browser: httpx.AsyncClient) -> None:
    for path in (
        f"/experiment/{ULID()}",
        "/experiment/none",
        "/nodes/none",
        "/nowhere",
        "/static/none.js",
        "/static/../settings.py",
        "/static/%2e%2e/settings.py",
    ):
        answer = await browser.get(path)
        assert answer.status_code == 404, path
    page = await browser.get("/nowhere")
    assert shows(page, "there is nothing at this address")
    assert "content-security-policy" in page.headers


async def test_filters_of_my_experiments(browser: httpx.AsyncClient) -> None:
    await upload(browser, name="Alpha")
    await upload(browser, name="Beta")
    page = await browser.get("/my-experiments?search=alp&status=queued")
    assert shows(page, "Alpha")
    assert "Beta" not in page.text
    assert (await browser.get("/my-experiments?status=nonsense")).status_code == 400


async def test_pages_are_compressed(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    plain = await browser.get("/", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text.startswith("<!doctype html>")


async def test_examples_fill_the_form(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/upload?example=growth")
    assert shows(page, "Growth &lt;/script&gt; curve")
    assert shows(page, "print(&#34;grow&#34;)")
    assert 'data-script="growth"' in page.text
    assert (await browser.get("/upload?example=none")).status_code == 200


async def test_an_experiment_whose_reactor_is_away_is_not_shown_as_live(
    browser: httpx.AsyncClient, hub: FakeHub, node: FakeNode
) -> None:
    location = (await upload(browser)).headers["location"]
    (one,) = hub.experiments
    away = {"status": Status.RUNNING, "queue_position": None, "node": "reactor-1"}
    await hub.change(one, **away)
    page = await browser.get(location)
    assert not shows(page, "unreachable")
    assert 'class="pulse"' in page.text
    await hub.change(one, **away, unreachable_since=utc_now(), phase_detail="reactor-1 is away")
    page = await browser.get(location)
    assert shows(page, "unreachable since")
    assert 'class="pulse"' not in page.text
    assert "data-away" in page.text
    await upload(browser)
    (other,) = set(hub.experiments) - {one}
    for path in ("/my-experiments", f"/compare?ids={one},{other}"):
        page = await browser.get(path)
        assert shows(page, "unreachable since"), path
        assert 'class="pulse"' not in page.text, path


async def test_the_upload_page_promises_a_reactor_only_where_one_is_free(
    browser: httpx.AsyncClient, node: FakeNode, portal: Portal
) -> None:
    async def says(words: str) -> None:
        await eventually(lambda: browser.get("/upload"), lambda page: shows(page, words))

    await says("No reactor takes experiments now")  # it has reported nothing yet
    await node.report(1)
    await says("is free: what it can run starts at once")
    node.estop = Estop(latch=str(ULID()), by="ada", since=utc_now())
    await node.report(2)
    await says("an emergency stop is engaged")
    status = ServiceStatus(state="offline", version="t", boot_id=str(ULID()), since=utc_now())
    await node.connection.publish(node.topic(Topic.NODE_STATUS), status.encode(), retain=True)
    await says("No reactor is reachable now")


async def test_a_forecast_is_shown_with_its_range(browser: httpx.AsyncClient, hub: FakeHub) -> None:
    location = (await upload(browser)).headers["location"]
    (one,) = hub.experiments
    assert shows(await browser.get(location), "not known")
    first = datetime(2026, 3, 1, 12, tzinfo=UTC)
    forecast = StartForecast(
        earliest=first, likely=first + timedelta(hours=1), latest=first + timedelta(hours=2),
        basis="script",
    )  # fmt: skip
    await hub.change(one, forecast=forecast, estimated_start=forecast.likely)
    page = await browser.get(location)
    for words in ("2026-03-01 13:00 UTC", "from", "2026-03-01 12:00 UTC", "2026-03-01 14:00 UTC"):
        assert shows(page, words)
    assert "by earlier runs of the same scripts" in page.text


async def test_a_check_shows_the_parameters_and_queues_nothing(
    browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    page = await upload(browser, action="check", name="Kept")
    assert page.status_code == 200
    assert 'name="param.target_od" value="0.5"' in page.text
    assert 'value="Kept"' in page.text
    typed = await upload(browser, action="check", **{"param.target_od": "0.7", "param.gone": "8"})
    assert 'name="param.target_od" value="0.7"' in typed.text
    assert '<input type="hidden" name="param.gone" value="8">' in typed.text
    wrong = await upload(browser, action="check", **{"param.target_od": "0,7"})
    assert shows(wrong, "a number is wanted, with a point in place of the comma")
    assert hub.experiments == {}
    parts = await browser.post(
        "/upload",
        files={"script": (None, SCRIPT), "action": (None, "check")},
        headers={"X-Parts": "upload"},
    )
    assert "<html" not in parts.text
    assert 'id="parameters"' in parts.text


async def test_an_earlier_experiment_fills_the_form(
    portal: Portal, browser: httpx.AsyncClient, hub: FakeHub
) -> None:
    fields = {"param.target_od": "0.7", "name": "The first"}
    location = (await upload(browser, **fields)).headers["location"]
    one = location.rsplit("/", 1)[1]
    page = await browser.get(f"/upload?from={one}")
    assert page.status_code == 200
    assert shows(page, "print(&#39;hello&#39;)")
    assert 'value="The first"' in page.text
    assert 'name="param.target_od" value="0.7"' in page.text
    assert (await browser.get(f"/upload?from={ULID()}")).status_code == 404
    hub.scripts.pop(one)  # the hub tells it to those only who may see it
    hidden = await browser.get(f"/upload?from={one}")
    assert hidden.status_code == 403
    assert shows(hidden, "may see the script")
    assert len(hub.experiments) == 1


async def test_the_editor_is_told_of_the_sdk(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/upload")
    address = re.search(r'data-sdk="([^"]+)"', page.text)
    assert address is not None
    told = await browser.get(address[1])
    assert "immutable" in told.headers["cache-control"]
    assert {module["name"] for module in told.json()} == {"experiment", "reactor"}


async def test_the_portal_can_be_installed(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/")
    address = re.search(r'rel="manifest" href="([^"]+)"', page.text)
    assert address is not None
    manifest = (await browser.get(address[1])).json()
    sizes = {(icon["sizes"], icon["purpose"]) for icon in manifest["icons"]}
    assert {("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")} <= sizes
    for icon in manifest["icons"]:
        told = await browser.get(f"/static/{icon['src']}")
        assert told.status_code == 200
        assert told.headers["content-type"] == icon["type"]
        if icon["type"] == "image/png":
            width, height = (int.from_bytes(told.content[i : i + 4]) for i in (16, 20))
            assert f"{width}x{height}" == icon["sizes"]
    worker = await browser.get("/sw.js")
    assert worker.headers["content-type"].startswith("text/javascript")
    assert worker.headers["cache-control"] == "no-cache"
    offline = await browser.get("/offline")
    assert shows(offline, "The portal does not answer")
    handle = re.search(r"<bdi>([a-z]+-[a-z]+)</bdi>", page.text)
    assert handle is not None
    assert handle[1] not in offline.text  # it is kept: nothing in it may be old or somebody's
    assert (await browser.get("/favicon.ico", follow_redirects=True)).content[:4] == b"\x89PNG"


async def test_a_refresh_in_place_leaves_the_word_to_the_page_it_is_for(
    portal: Portal, browser: httpx.AsyncClient
) -> None:
    await upload(browser)  # says that it is queued, on the next page
    refreshed = await browser.get("/queue", headers={"X-Refresh": "1"})
    assert "bioreactor_flash" not in refreshed.headers.get("set-cookie", "")
    shown = await browser.get("/queue")
    assert 'class="banner good"' in shown.text
    assert 'class="banner good"' not in (await browser.get("/queue")).text


async def test_the_reference_names_the_address_that_it_is_read_at(
    portal: Portal, browser: httpx.AsyncClient
) -> None:
    for name in ("127.0.0.1", "localhost"):
        address = portal.url.replace("127.0.0.1", name)
        page = await browser.get("/docs", headers={"Host": address.removeprefix("http://")})
        assert f"{address}/api/queue/status" in page.text
