"""The script's interface, over its unix socket, in front of a simulated reactor."""

import asyncio
import json
import stat
import sys

import pytest

from broker.messages import Error, ErrorCode
from node_service.doses import Doses
from node_service.gateway import HTTP_STATUS
from node_service.gateway_server import BURST_SECONDS, CALLS_PER_SECOND, Throttle
from tests.support.turns import turns
from tests.unit.node_service.conftest import KEY, Gate

FLOOD_SECONDS = 4
FLOOD = f"""
import http.client, socket, sys, threading, time
calls = 0
end = time.monotonic() + {FLOOD_SECONDS}
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
def flood():
    global calls
    connection = Connection("reactor")
    while time.monotonic() < end:
        connection.request("GET", "/v1/clock")
        connection.getresponse().read()
        calls += 1
threads = [threading.Thread(target=flood) for _ in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(calls)
"""


async def test_a_script_learns_what_it_is(gate: Gate) -> None:
    said = await gate.get("/experiment")
    assert (said["experiment_id"], said["attempt"], said["name"]) == (*KEY, "Test")
    assert said["parameters"] == {"target": 0.4}
    await gate.clock.advance(2.5)
    clock = await gate.get("/clock")
    assert (clock["elapsed"], clock["speed"]) == (2.5, 1.0)
    assert stat.S_IMODE(gate.socket.stat().st_mode) == 0o666


async def test_channels_are_read(gate: Gate) -> None:
    names = [channel["name"] for channel in (await gate.get("/channels"))["channels"]]
    assert names == list(gate.reactor.channels)
    readings = await gate.get("/readings")
    assert readings["values"].keys() == set(names)
    one = await gate.get("/channels/temperature")
    assert (one["name"], one["unit"]) == ("temperature", "°C")


async def test_an_output_is_set_and_its_setpoint_kept(gate: Gate) -> None:
    assert await gate.post("/channels/stirring/set", value=200, id="1") == {"value": 200}
    await gate.clock.advance(30)  # the motor takes its time
    assert (await gate.get("/channels/stirring"))["value"] == 200
    assert gate.kept_setpoints == [{"stirring": 200.0}]
    assert await gate.post("/channels/light/set", value=50, duration=10, id="2") == {"value": 50}
    await gate.clock.advance(11)
    assert (await gate.get("/channels/light"))["value"] == 0


async def test_a_dose_is_answered_when_it_is_delivered_and_pumped_once(gate: Gate) -> None:
    body = {"ml": 0.2, "id": "dose"}
    first = asyncio.create_task(gate.post("/channels/media/dose", **body))
    again = asyncio.create_task(gate.post("/channels/media/dose", **body))
    while not first.done():
        await gate.clock.advance(0.1)
        await asyncio.sleep(0.01)
    answer = await first
    assert answer["requested_ml"] == 0.2
    assert answer["delivered_ml"] == pytest.approx(0.2)
    assert await again == answer
    assert await gate.post("/channels/media/dose", **body) == answer
    assert (await gate.get("/channels/media"))["value"] == pytest.approx(0.2)


async def test_what_was_set_is_answered_when_it_is_on_record(gate: Gate) -> None:
    """It is done before; and to switch off waits for no disk, nor does what comes after it."""
    gate.journal.disk.clear()
    setting = asyncio.create_task(
        gate.post("/channels/light/set", value=50, duration=1000, id="on")
    )
    await gate.journal.appended.wait()
    assert (await gate.get("/channels/light"))["value"] == 50
    assert await gate.post("/channels/light/set", value=0, duration=10, id="off") == {"value": 0}
    assert (await gate.get("/channels/light"))["value"] == 0
    assert not setting.done()
    gate.journal.disk.set()
    assert await setting == {"value": 50}
    assert [e.value for e in gate.events()] == [50, 0]


async def test_what_was_dosed_is_answered_when_it_is_on_record(gate: Gate) -> None:
    gate.journal.disk.clear()
    dosing = asyncio.create_task(gate.post("/channels/media/dose", ml=0.2, id="dose"))
    while not gate.journal.appended.is_set():
        await gate.clock.advance(0.1)
        await asyncio.sleep(0.01)
    assert (await gate.get("/channels/media"))["value"] == pytest.approx(0.2)
    assert not dosing.done()
    (kept,) = (await Doses.load(gate.doses)).untold  # so far nobody knows that it is
    assert kept.id == "dose"
    gate.journal.disk.set()
    await dosing
    assert [e.data["id"] for e in gate.events()] == ["dose"]
    assert (await Doses.load(gate.doses)).untold == ()


async def test_a_pause_after_the_end_keeps_no_act_waiting(gate: Gate) -> None:
    gate.lease.end()
    gate.lease.freeze()
    refused = await gate.refused("/channels/light/set", value=50, duration=10, id="1")
    assert refused == (410, "LEASE_ENDED")


async def test_a_full_disk_keeps_no_answer(gate: Gate) -> None:
    gate.journal.full = True
    for n in range(3):
        await gate.post("/channels/light/set", value=50 + n, duration=1000, id=str(n))
    assert (await gate.get("/channels/light"))["value"] == 52


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/channels/lid/set", {"value": 1, "id": "1"}, 404, "UNKNOWN_CHANNEL"),
        ("/channels/od/set", {"value": 1, "id": "1"}, 422, "NOT_AN_ACTUATOR"),
        ("/channels/stirring/set", {"value": 1e9, "id": "1"}, 422, "OUT_OF_RANGE"),
        ("/channels/media/dose", {"ml": 100, "id": "1"}, 422, "LIMIT"),
        ("/channels/light/set", {"value": 1, "id": "1"}, 400, "MALFORMED"),
        ("/channels/stirring/set", {"value": 1}, 400, "MALFORMED"),
        ("/channels/stirring/set", {"value": "fast", "id": "1"}, 400, "MALFORMED"),
        ("/channels/stirring/set", {"value": 1, "id": "1", "speed": 2}, 400, "MALFORMED"),
        ("/channels/stirring/set", {"value": float("nan"), "id": "1"}, 400, "MALFORMED"),
        ("/channels/media/dose", {"ml": -1, "id": "1"}, 400, "MALFORMED"),
        ("/record", {"values": {}, "id": "1"}, 400, "MALFORMED"),
        ("/record", {"values": {"bad\nname": 1}, "id": "1"}, 400, "MALFORMED"),
        ("/record", {"values": {str(i): 1 for i in range(65)}, "id": "1"}, 400, "MALFORMED"),
        ("/log", {"text": "x" * 20_000}, 400, "MALFORMED"),
        ("/nothing", {}, 404, "NOT_FOUND"),
        ("/clock", {}, 405, "UNKNOWN_VERB"),
    ],
)
async def test_what_is_asked_wrongly_is_told_with_a_remedy(
    gate: Gate, path: str, body: dict[str, object], status: int, code: str
) -> None:
    assert await gate.refused(path, **body) == (status, code)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 30_000])
async def test_what_is_no_json_is_malformed(gate: Gate, body: bytes) -> None:
    answer = await gate.client.post("/record", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "MALFORMED"


async def test_a_large_body_is_refused_before_it_is_read(gate: Gate) -> None:
    answer = await gate.client.post("/log", content=b"x" * 200_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "TOO_LARGE")


async def test_an_id_stands_for_one_call(gate: Gate) -> None:
    await gate.post("/channels/stirring/set", value=200, id="1")
    assert await gate.refused("/channels/stirring/set", value=300, id="1") == (409, "ID_REUSED")
    await gate.clock.advance(30)
    assert (await gate.get("/channels/stirring"))["value"] == 200


async def test_a_script_records_its_own_series(gate: Gate) -> None:
    text = '{"values": {"od": 0.5, "bad": NaN, "none": null}, "id": "r"}'
    for _ in range(2):
        answer = await gate.client.post("/record", content=text)
        assert answer.json() == {}
    (record,) = gate.journal.of("series")
    assert record.values == {"od": 0.5, "bad": None, "none": None}
    assert (record.experiment_id, record.attempt, record.id) == (*KEY, "r")
    assert [reading.series for reading in gate.shown.readings] == [record.values]


async def test_the_number_of_series_is_bounded(gate: Gate) -> None:
    for start in range(0, 180, 60):
        values = {f"s{i}": 1.0 for i in range(start, start + 60)}
        await gate.post("/record", values=values, id=str(start))
    more = {f"more{i}": 1.0 for i in range(60)}
    assert await gate.refused("/record", values=more, id="x") == (422, "LIMIT")


async def test_a_script_writes_into_its_log(gate: Gate) -> None:
    await gate.post("/log", text="one\ntwo")
    await gate.post("/log", text="three", level="error")
    said = [(record.n, record.source, record.text) for record in gate.journal.of("log")]
    assert said == [(1, "stdout", "one"), (2, "stdout", "two"), (3, "stderr", "three")]
    assert gate.shown.lines == ["one", "two", "three"]


async def test_a_repeated_call_writes_into_the_log_once(gate: Gate) -> None:
    for _ in range(2):
        await gate.post("/log", text="one\ntwo", id="1")
    assert await gate.refused("/log", text="three", id="1") == (409, "ID_REUSED")
    said = [(record.text, record.id) for record in gate.journal.of("log")]
    assert said == [("one", "1"), ("two", "1")]


async def test_parameters_and_messages_reach_the_script(gate: Gate) -> None:
    assert await gate.get("/parameters") == {"parameters": {"target": 0.4}, "revision": 3}
    gate.inbox.change({"target": 0.6, "mode": "on"}, {"target": 0.6, "mode": "on"}, 4)
    gate.inbox.say("hello")
    assert (await gate.get("/parameters"))["revision"] == 4
    first, second = (await gate.get("/messages"))["messages"]
    assert (first["parameters"], second["text"]) == ({"target": 0.6, "mode": "on"}, "hello")
    after = await gate.get(f"/messages?after={first['n']}")
    assert after["messages"] == [second]
    (seen,) = gate.journal.of("event")
    assert (seen.event, seen.data) == ("parameters-seen", {"revision": 4})


async def test_files_are_saved_whole_and_metered(gate: Gate) -> None:
    content = bytes(range(256)) * 100
    answer = await gate.client.put("/results/plots/a.bin", content=content)
    assert answer.json()["size"] == len(content)
    assert (gate.saves.saved / "plots/a.bin").read_bytes() == content
    answer = await gate.client.put("/results/plots/a.bin", content=b"newer")
    assert (gate.saves.saved / "plots/a.bin").read_bytes() == b"newer"
    answer = await gate.client.put("/results/big", content=bytes(100_001))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "LIMIT")
    assert answer.json()["error"]["details"]["left"] < 100_000
    answer = await gate.client.put("/results/plots/a.bin/b", content=b"x")
    assert answer.json()["error"]["code"] == "MALFORMED"
    files = [path for path in gate.saves.saved.parent.rglob("*") if path.is_file()]
    assert files == [gate.saves.saved / "plots/a.bin"]


@pytest.mark.parametrize(
    "name", ["%2e%2e/x", "a/%2e%2e/%2e%2e/x", "%2Fetc/x", "a//b", "a%00b", "a%0Ab", "x" * 300]
)
async def test_a_file_stays_inside_the_results(gate: Gate, name: str) -> None:
    answer = await gate.client.put(f"/results/{name}", content=b"x")
    assert answer.status_code in {400, 404}
    assert not [path for path in gate.saves.saved.rglob("*") if path.is_file()]


async def test_after_the_lease_only_acting_is_refused(gate: Gate) -> None:
    gate.lease.end()
    assert await gate.refused("/channels/stirring/set", value=1, id="1") == (410, "LEASE_ENDED")
    assert await gate.refused("/channels/media/dose", ml=0.1, id="2") == (410, "LEASE_ENDED")
    await gate.get("/readings")
    await gate.post("/record", values={"last": 1}, id="3")
    assert (await gate.client.put("/results/last", content=b"x")).status_code == 200


async def test_an_emergency_stop_is_told_as_such(gate: Gate) -> None:
    gate.lease.end(Error(code=ErrorCode.ESTOP, message="stopped", hint="look"))
    assert await gate.refused("/channels/stirring/set", value=1, id="1") == (423, "ESTOP")


async def test_frozen_acts_wait_for_the_thaw(gate: Gate) -> None:
    gate.lease.freeze()
    acting = asyncio.create_task(gate.post("/channels/stirring/set", value=200, id="1"))
    await gate.get("/readings")
    assert not acting.done()
    assert (await gate.get("/channels/stirring"))["value"] == 0
    gate.lease.thaw()
    assert await acting == {"value": 200}


async def test_the_interface_describes_itself(gate: Gate) -> None:
    document = await gate.get("/openapi.json")
    assert {
        "/v1/experiment", "/v1/clock", "/v1/channels", "/v1/channels/{name}", "/v1/readings",
        "/v1/channels/{name}/set", "/v1/channels/{name}/dose", "/v1/record", "/v1/log",
        "/v1/parameters", "/v1/messages", "/v1/results/{path}",
    } == set(document["paths"])  # fmt: skip


async def test_curl_without_a_content_type_will_do(gate: Gate) -> None:
    answer = await gate.client.post(
        "/channels/stirring/set",
        content=json.dumps({"value": 100, "id": "1"}),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.json() == {"value": 100}


def test_a_burst_waits_for_nothing_and_what_follows_for_its_turn() -> None:
    now = 0.0
    throttle = Throttle(8.0, lambda: now)
    burst = int(8 * BURST_SECONDS)
    assert [throttle.delay() for _ in range(burst)] == [0.0] * burst
    assert [throttle.delay() for _ in range(3)] == [0.125, 0.25, 0.375]
    now = 100.0  # a long silence saves up one burst and no more: its first call is due then
    assert [throttle.delay() for _ in range(1 + burst)] == [0.0] * (1 + burst)
    assert throttle.delay() == 0.125


async def test_a_flood_of_calls_waits_and_leaves_the_loop_free(gate: Gate) -> None:
    flood = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FLOOD, str(gate.socket), stdout=asyncio.subprocess.PIPE
    )
    async with turns() as taken:
        output, _ = await flood.communicate()
    calls = int(output)
    assert calls < (CALLS_PER_SECOND + 10) * (FLOOD_SECONDS + BURST_SECONDS)
    assert max(taken) < 0.05


def test_every_code_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(ErrorCode)
