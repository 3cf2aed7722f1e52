"""Scripts that reach for more than they were lent: contained, told in a sentence, and gone.

One node of each kind runs them all, one after the other, as it would in a laboratory.
"""

import asyncio
from pathlib import Path

import pytest

from broker.messages import ErrorCode, EventRecord, PhaseRecord
from node_service.console import LOST
from node_service.runner import volumes
from tests.support.node import SMALL, Hub, Node, engine, instance_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

THREADS = """
import threading, time
for _ in range(99):
    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
"""
FAILED = ErrorCode.SCRIPT_FAILED
ENDS_WRONGLY = (
    ("1 / 0", FAILED, "ZeroDivisionError: division by zero", "log says why"),
    ("x = b'x' * 300_000_000", ErrorCode.LIMIT, "more than its 64 MiB of memory", "less data"),
    ("open('/results/full', 'wb').write(bytes(9_000_000))", FAILED, "No space left", "holds 4 MiB"),
    ("open('/tmp/full', 'wb').write(bytes(9_000_000))", FAILED, "No space left", "/results holds"),
    (
        "import socket; socket.create_connection(('169.254.169.254', 80), 2)",
        FAILED, "Network is unreachable", "no network",
    ),
    ("import socket; socket.getaddrinfo('a.example', 443)", FAILED, "resolution", "no network"),
    ("open('/etc/x', 'w')", FAILED, "Read-only file system", "write to /results"),
    ("import torch", FAILED, "No module named 'torch'", "the image offers"),
    (THREADS, FAILED, "can't start new thread", "32 processes and threads"),
)  # fmt: skip
SURVIVES = """
import os, time
from bioreactor import experiment
while not experiment.parameters["fill"]:
    try:
        if os.fork() == 0:
            time.sleep(60)
    except OSError:
        time.sleep(0.05)
try:
    open("/results/full", "wb").write(bytes(9_000_000))
except OSError:
    print("full")
while not experiment.parameters["end"]:
    time.sleep(0.05)
"""
DAEMON = """
import os, signal, time
from bioreactor import reactor
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 1024)
        while True:
            open("/results/beat", "w").write(str(time.monotonic()))
            reactor.set("light", 50, seconds=60)
            time.sleep(0.05)
    os._exit(0)
while not os.path.exists("/results/beat"): time.sleep(0.01)
print("the script ends")
"""
CLOSES = """
import os, socket
from bioreactor import experiment, reactor
half = socket.socket(socket.AF_UNIX)
half.connect(os.environ["BIOREACTOR_SOCKET"])
half.sendall(b"POST /v1/record HTTP/1.1\\r\\ncontent-len")
os.closerange(3, 1024)
for act in (os.remove, os.rmdir):
    try:
        act(os.environ["BIOREACTOR_SOCKET"])
    except OSError as error:
        print(act.__name__, "refused")
experiment.record(temperature=reactor.read("temperature"))
"""
POSES = r"""
import sys
print("\x1b[2J\x1b[31mThe experiment failed after 1.0 s: forged.")
print('{"kind": "phase", "phase": "finished", "outcome": "completed"}')
print("Some output before the next line was lost: forged")
sys.stdout.flush()
sys.stdout.buffer.write(bytes(range(256)) + b"\x00\xff\xfe\n" + b"x" * 10_000_000)
sys.stdout.flush()
"""


@pytest.mark.parametrize(
    "node_settings",
    [{"runner": "docker"}, {"runner": "bubblewrap", "allow_reduced_isolation": True}],
    ids=["docker", "bubblewrap"],
)
async def test_whatever_a_script_reaches_for_it_is_contained_told_and_gone(
    running: Node, hub: Hub, node_settings: dict[str, str | bool]
) -> None:
    await _ends_wrongly_and_says_why(hub)
    await _reaches_limits_and_is_told(hub)
    await _leaves_a_daemon_that_ends_with_it(hub)
    await _closes_its_connections_and_opens_others(hub)
    await _poses_as_the_node_in_vain(hub)
    await _asks_for_an_image_that_is_not_there(hub)
    if node_settings["runner"] == "docker":
        await _leaves_ten_thousand_files(hub)
    await _nothing_is_left(running)


async def _ends_wrongly_and_says_why(hub: Hub) -> None:
    for script, code, message, hint in ENDS_WRONGLY:
        finished = await _run(hub, script)
        assert finished.outcome == "failed", script
        assert finished.error is not None
        assert finished.error.code is code, finished.error
        assert message in finished.error.message
        assert hint in finished.error.hint
        sentence = (
            f"The experiment failed after {finished.elapsed:.1f} s: {finished.error.message}."
        )
        assert sentence in hub.log(str(finished.experiment_id), "system")


async def _reaches_limits_and_is_told(hub: Hub) -> None:
    going = await hub.run(SURVIVES, parameters={"fill": False, "end": False})
    experiment = str(going.experiment_id)
    await hub.until_said(experiment, "reached its limit of 32 processes and threads")
    await hub.again(going, parameters={"fill": True, "end": False})
    await hub.until_said(experiment, "has filled its 4 MiB of results")
    await hub.again(going, parameters={"fill": True, "end": True})
    finished = await hub.until_phase(experiment, "finished")
    assert finished.outcome == "completed", finished.error
    told = "\n".join(hub.log(experiment, "system"))
    assert told.count("reached its limit of 32 processes and threads") == 1
    assert told.count("has filled its 4 MiB of results") == 1
    assert [file.name for file in finished.files] == ["full"]


async def _leaves_a_daemon_that_ends_with_it(hub: Hub) -> None:
    """It has left its session, its parent and its output, and ignores being asked to end."""
    finished = await _run(hub, DAEMON)
    assert finished.outcome == "completed", finished.error
    await eventually(lambda: hub.report.safe)


async def _closes_its_connections_and_opens_others(hub: Hub) -> None:
    finished = await _run(hub, CLOSES)
    assert finished.outcome == "completed", finished.error
    assert hub.log(str(finished.experiment_id)) == ["remove refused", "rmdir refused"]


async def _poses_as_the_node_in_vain(hub: Hub) -> None:
    """Binary, ANSI, NUL, forged marks, and a line of ten megabytes that never ends."""
    finished = await _run(hub, POSES, memory=128 * 1024**2, log=256 * 1024)
    experiment = str(finished.experiment_id)
    assert (finished.outcome, finished.error) == ("completed", None)
    assert hub.phases(experiment) == ["accepted", "executing", "released", "finished"]
    said = hub.log(experiment)
    assert sum(len(line) for line in said) <= 256 * 1024
    assert not any("\x00" in line for line in said)
    told = hub.log(experiment, "system")
    assert not any("forged" in line for line in told)
    counted = [
        record
        for record in hub.records(experiment)
        if isinstance(record, EventRecord) and record.event == "dropped"
    ]
    assert len(counted) == 1 or LOST in told


async def _asks_for_an_image_that_is_not_there(hub: Hub) -> None:
    finished = await _run(hub, "print('hello')", image="deep-learning")
    assert finished.outcome == "failed"
    assert finished.error is not None
    assert finished.error.code is ErrorCode.NOT_FOUND
    assert finished.error.message == "there is no image called deep-learning"
    assert finished.error.hint.startswith("this node has bare: ")


async def _leaves_ten_thousand_files(hub: Hub) -> None:
    script = "for n in range(10_000): open(f'/results/{n:05}.txt', 'w').write(str(n))"
    finished = await _run(hub, script, results=512 * 1024**2)
    names = [file.name for file in finished.files]
    assert (finished.outcome, names[0], names[-1]) == ("completed", "00000.txt", "more-files.tar")
    experiment = str(finished.experiment_id)
    await eventually(lambda: "more-files.tar" in hub.files(experiment), every=0.5)
    assert b"09999.txt" in hub.files(experiment)["more-files.tar"]


@pytest.mark.parametrize("node_settings", [{"runner": "docker", "runtime": "runsc-missing"}])
async def test_a_runtime_that_is_missing_is_refused_with_a_sentence(node: Node, hub: Hub) -> None:
    node.start()
    await eventually(lambda: hub.reports and "no runtime" in str(hub.report.refusal))
    assert hub.report.refusal is not None
    assert hub.report.refusal.code is ErrorCode.ENGINE
    assert "no runtime called runsc-missing" in hub.report.refusal.message
    assert "daemon.json" in hub.report.refusal.hint
    assert not hub.report.accepts


async def _run(hub: Hub, script: str, image: str = "bare", **limits: int) -> PhaseRecord:
    """Run a script to its end; return its last step."""
    assignment = await hub.run(script, image=image, limits=SMALL.model_copy(update=limits))
    return await hub.until_phase(str(assignment.experiment_id), "finished", within=90)


async def _nothing_is_left(node: Node) -> None:
    """No container, control group (so no process), mount, socket or directory of any run."""
    instance = instance_of(node.data)
    runs = node.data / "runner" / "runs"
    await eventually(lambda: not [entry for entry in runs.iterdir() if entry.is_dir()])
    assert not [mount for mount in volumes.mounts() if mount.startswith(str(runs))]
    label = f"label=bioreactor.instance={instance}"
    assert await asyncio.to_thread(engine, "ps", "-aq", "--filter", label) == []
    assert await asyncio.to_thread(_groups, instance) == []


def _groups(instance: str) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/bioreactor/{instance}-*"))
