"""The SDK inside a script, against the real gateway and the simulated reactor."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.messages import Error, ErrorCode, LogRecord, SeriesRecord
from tests.support.gateway import Bench, bench, ended, sdk_only
from tests.support.waiting import eventually

HEAD = "from bioreactor import experiment, reactor\n"


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bench]:
    """A gateway whose reactor runs a hundred times as fast as real."""
    async with bench(tmp_path, speed=100.0, parameters={"target": 0.5, "name": "a"}) as running:
        yield running


async def said(it: Bench, script: str) -> object:
    """Run a script that prints JSON in the end; return it."""
    done = await it.run(HEAD + script)
    assert done.code == 0, done.err
    return json.loads(done.out.splitlines()[-1])


async def test_reads_sets_and_doses(it: Bench) -> None:
    answer = await said(
        it,
        """
import json
reactor.set("temperature-setpoint", 30)
light = reactor.set("light", 40, seconds=3600)
dose = reactor.dose("media", ml=1.5)
everything = reactor.read_all()
channels = reactor.channels()
print(json.dumps({
    "light": light, "delivered": dose.delivered_ml, "took": dose.seconds,
    "volume": reactor.read("volume"), "setpoint": everything["temperature-setpoint"],
    "names": sorted(everything) == sorted(channels),
    "unit": channels["media"].unit, "limit": channels["media"].limits.max_dose_ml,
}))
""",
    )
    assert isinstance(answer, dict)
    assert answer["light"] == 40
    assert answer["delivered"] == 1.5
    assert answer["took"] == pytest.approx(3.0, abs=0.5)
    assert answer["volume"] == pytest.approx(16.5, abs=0.2)
    assert answer["setpoint"] == 30
    assert answer["names"] is True
    assert (answer["unit"], answer["limit"]) == ("mL", 5)


@pytest.mark.parametrize(
    ("call", "name", "code"),
    [
        ('reactor.read("nowhere")', "UnknownChannel", "UNKNOWN_CHANNEL"),
        ('reactor.set("no where?", 1)', "UnknownChannel", "UNKNOWN_CHANNEL"),
        ('reactor.set("od", 1)', "NotAnActuator", "NOT_AN_ACTUATOR"),
        ('reactor.set("temperature-setpoint", 90)', "OutOfRangeError", "OUT_OF_RANGE"),
        ('reactor.set("temperature-setpoint", float("nan"))', "OutOfRangeError", "OUT_OF_RANGE"),
        ('reactor.set("light", 10)', "BioreactorError", "MALFORMED"),
        ('reactor.dose("media", ml=50)', "DoseLimitError", "LIMIT"),
        ('reactor.dose("media", ml=4)', "InterlockError", "INTERLOCK"),
        ('experiment.save("../x", "y")', "BioreactorError", "MALFORMED"),
    ],
)
async def test_refusals_are_typed(it: Bench, call: str, name: str, code: str) -> None:
    answer = await said(
        it,
        f"""
import json
try:
    {call}
except experiment.BioreactorError as error:
    print(json.dumps([type(error).__name__, error.code, error.message, error.hint]))
""",
    )
    assert isinstance(answer, list)
    assert answer[:2] == [name, code]
    assert answer[2]
    assert answer[3]


async def test_a_refused_dose_says_what_is_left(it: Bench) -> None:
    answer = await said(
        it,
        """
import json
try:
    reactor.dose("media", ml=4)
except reactor.InterlockError as error:
    print(json.dumps(error.details))
""",
    )
    assert isinstance(answer, dict)
    assert answer["limit"] == "vessel_high"
    assert answer["left"] == pytest.approx(3.0, abs=0.2)


async def test_every_keeps_its_rhythm_and_ends(tmp_path: Path) -> None:
    script = """
import json, time
rounds = []
for elapsed in experiment.every(seconds=20, duration=200):
    rounds.append(elapsed)
    if len(rounds) == 3:
        time.sleep(0.5)  # oversleeps two rounds
print(json.dumps(rounds))
"""
    async with bench(tmp_path, speed=100.0, steady=True) as it:
        answer = await said(it, script)
    assert isinstance(answer, list)
    start = answer[0]
    places = [(elapsed - start) / 20 for elapsed in answer]
    assert [round(place) for place in places] == [0, 1, 2, 5, 6, 7, 8, 9, 10]
    assert max(place - round(place) for place in places) < 0.3


async def test_records_logs_and_messages(it: Bench) -> None:
    it.inbox.say("look here")
    answer = await said(
        it,
        """
import json
experiment.record(od=0.5, missing=float("nan"), nothing=None, count=3)
experiment.log("first\\nsecond", level="warning")
first = [m.text for m in experiment.messages()]
again = experiment.messages()
try:
    experiment.record(od="dense")
except TypeError as error:
    print(json.dumps([first, again, str(error)]))
""",
    )
    assert answer == [["look here"], [], "record() wants a number for od, not 'dense'"]
    records = await it.records()
    (series,) = [record for record in records if isinstance(record, SeriesRecord)]
    assert series.values == {"od": 0.5, "missing": None, "nothing": None, "count": 3.0}
    log = [record.text for record in records if isinstance(record, LogRecord)]
    assert log == ["first", "second"]


async def test_parameters_are_live(it: Bench) -> None:
    process = await it.start(
        HEAD
        + """
import time
p = experiment.parameters
print(p["target"], p.get("missing"), sorted(p), flush=True)
try:
    p["taget"]
except KeyError as error:
    print(error, flush=True)
while p["target"] == 0.5:
    time.sleep(0.05)
print("now", p["target"], flush=True)
"""
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"0.5 None ['name', 'target']\n"
    assert b"there is no parameter 'taget'" in await process.stdout.readline()
    it.inbox.change({"target": 0.7, "name": "a"}, {"target": 0.7}, 2)
    assert (await ended(process)).out == "now 0.7\n"


async def test_saves_what_people_have(it: Bench) -> None:
    answer = await said(
        it,
        """
import json, pathlib
class Frame:
    index = range(2)
    def to_csv(self, index):
        return f"a,b\\n1,2\\n{index}"
class Figure:
    def savefig(self, file, format):
        file.write(format.encode())
class Array:
    def tolist(self):
        return [1.0, float("nan")]
pathlib.Path("big.bin").write_bytes(bytes(3_000_000))
files = [
    experiment.save("a.json", {"x": Array(), "y": (1, None), 3: "ü"}),
    experiment.save("b.bin", b"\\x00\\x01"),
    experiment.save("c.txt", "täxt"),
    experiment.save("d/e.csv", Frame()),
    experiment.save("f.svg", Figure()),
    experiment.save("ünï #1?.txt", "odd"),
    experiment.save("big.bin", pathlib.Path("big.bin")),
]
try:
    experiment.save("g.json", object())
except TypeError as error:
    print(json.dumps([[f.name, f.size] for f in files] + [str(error)]))
""",
    )
    assert isinstance(answer, list)
    saved = it.saves.saved
    assert json.loads((saved / "a.json").read_text()) == {
        "x": [1.0, None],
        "y": [1, None],
        "3": "ü",
    }
    assert (saved / "b.bin").read_bytes() == b"\x00\x01"
    assert (saved / "c.txt").read_text() == "täxt"
    assert (saved / "d" / "e.csv").read_text() == "a,b\n1,2\nTrue"
    assert (saved / "f.svg").read_text() == "svg"
    assert (saved / "ünï #1?.txt").read_text() == "odd"
    assert answer[6] == ["big.bin", 3_000_000]
    assert "save() cannot save a object" in answer[7]


async def test_results_that_are_too_large_are_refused_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path, results=2**20) as it:
        answer = await said(
            it,
            """
import json
try:
    experiment.save("big.bin", bytes(50_000_000))
except experiment.BioreactorError as error:
    print(json.dumps([error.code, type(error).__name__]))
""",
        )
    assert answer == ["LIMIT", "LimitError"]


async def test_a_call_waits_for_a_node_that_comes_back(it: Bench) -> None:
    process = await it.start(
        HEAD
        + """
import sys
print("ready", flush=True)
sys.stdin.readline()
print(reactor.read("volume") > 10, flush=True)
try:
    reactor.set("light", 50, seconds=100)
except reactor.OutputsReset:
    print("told", reactor.set("light", 50, seconds=100), flush=True)
""",
        stdin=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert await process.stdout.readline() == b"ready\n"
    await it.close()
    process.stdin.write(b"\n")
    await asyncio.sleep(0.5)  # the script asks a node that is away
    await it.come_back()
    done = await ended(process)
    assert done.out == "True\ntold 50.0\n", done.err
    assert done.code == 0


async def test_a_dose_whose_answer_was_lost_is_not_given_twice(tmp_path: Path) -> None:
    """The first answer never arrives: the connection is cut behind the gateway."""
    async with bench(tmp_path, speed=100.0) as it:
        behind = it.socket.with_name("behind.sock")
        it.socket.rename(behind)
        cut = 0

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal cut
            there = await asyncio.open_unix_connection(str(behind))
            asked = await reader.readuntil(b"\r\n\r\n")
            length = int(asked.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            there[1].write(asked + await reader.readexactly(length))
            answer = await there[0].readuntil(b"}")
            if b"/dose" in asked and cut < 2:
                cut += 1
            else:
                writer.write(answer)
            for end in (writer, there[1]):
                end.close()

        async with await asyncio.start_unix_server(pass_on, str(it.socket)):
            done = await it.run(HEAD + 'print(reactor.dose("media", ml=1.0).delivered_ml)')
        assert done.out == "1.0\n", done.err
        assert cut == 2
        values = await it.reactor.read()
        assert values["media"] == 1.0
        it.socket.unlink(missing_ok=True)


async def test_a_dose_that_was_cut_off_is_told_as_one_though_the_script_knows_of_the_restart(
    tmp_path: Path,
) -> None:
    """Another of its threads was told, which happens once; pumped again, it came in full."""
    async with bench(tmp_path) as it:
        process = await it.start(
            HEAD
            + """
try:
    print(reactor.dose("media", ml=2.0))
except reactor.OutputsReset as reset:
    print(reset.details["delivered_ml"], reactor.set("light", 50, seconds=100))
"""
        )
        await eventually((it.directory / "doses.json").exists)
        await it.close()
        moved = (await it.reactor.read())["media"]
        await it.come_back()
        it.lease.tell_reset()
        done = await ended(process)
        assert done.out == "2.0 50.0\n", done.err
        assert (await it.reactor.read())["media"] == moved


async def test_a_stopped_script_saves_what_it_knows(it: Bench) -> None:
    process = await it.start(
        HEAD
        + """
try:
    print("ready", flush=True)
    for _ in experiment.every(seconds=3600):
        pass
finally:
    experiment.save("last.json", {"saved": True})
"""
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    it.lease.end()
    process.send_signal(signal.SIGTERM)
    done = await ended(process, 10)
    assert done.code == 128 + signal.SIGTERM
    assert done.err == ""
    assert json.loads((it.saves.saved / "last.json").read_text()) == {"saved": True}


async def test_a_stopped_script_does_not_wait_for_a_node_that_is_away(it: Bench) -> None:
    process = await it.start(
        HEAD
        + """
try:
    print("ready", flush=True)
    experiment.sleep(1e6)
finally:
    experiment.save("last.json", {})
"""
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    await it.close()
    process.send_signal(signal.SIGTERM)
    done = await ended(process, 10)
    assert "UnavailableError" in done.err
    await it.come_back()


async def test_the_lease_and_the_emergency_stop_are_told(it: Bench) -> None:
    it.lease.end(Error(code=ErrorCode.ESTOP, message="stopped by ada", hint="ask her"))
    answer = await said(
        it,
        """
import json
try:
    reactor.dose("media", ml=1)
except reactor.EmergencyStop as error:
    print(json.dumps(str(error)))
""",
    )
    assert answer == "stopped by ada (ask her)"


def test_without_a_reactor_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(HEAD + 'print(reactor.read("od"))')
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(sdk_only(tmp_path))}
    done = subprocess.run(
        [sys.executable, "-P", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "mine.py has no reactor here: queue it with `bioreactor submit mine.py --follow`, "
        "or upload it on the portal.\n"
    )
    assert done.stdout == ""
