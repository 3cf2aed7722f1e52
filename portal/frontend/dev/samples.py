# ruff: noqa: INP001 - run by its path or with -m, no package
"""Sample laboratories for looking at the pages: every state that a page can show."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from broker.messages import (
    Activity,
    Alarm,
    Audited,
    AuditEntry,
    Channels,
    ContainerStatus,
    Error,
    ErrorCode,
    Estop,
    Experiment,
    ManualHold,
    Milestone,
    Moved,
    NodeReport,
    ParameterInfo,
    Phase,
    Posture,
    Queue,
    QueueEntry,
    QueueLimits,
    ResultFile,
    Role,
    ScriptInfo,
    StartForecast,
    Status,
    StreamBacklog,
    Token,
    UserInfo,
)
from portal.alarmlog import PastAlarm
from portal.frontend.dev.records import CALIBRATED, CHANNELS, ELAPSED, NOW, PACKAGES, values_at
from portal.health_views import Finding
from portal.known import NodeView
from portal.mishaps import Mishap

ME: Final = "web:abcdefgh12345678"
BOOT: Final = "01KB0000000000000000000001"
SHA: Final = "3b7c" * 16


def ulid(number: int) -> str:
    """Return an id that sorts by number."""
    return f"01KB{number:022d}"


def container() -> ContainerStatus:
    """Return a container as it is measured."""
    return ContainerStatus(
        container_id="f3c1" * 16,
        image="sha256:9d5e2f" + "a7" * 29,
        state="running",
        cpu_percent=3.4,
        memory=74_300_000,
        memory_limit=512 * 1024**2,
        pids=3,
        results_bytes=18_432,
        log_bytes=3_100,
        uptime=161.0,
        cpu_limit=1.0,
        pids_limit=64,
        results_limit=512 * 1024**2,
        log_limit=32 * 1024**2,
    )


def report(node: str, **more: Any) -> NodeReport:
    """Return a node's report."""
    return NodeReport.model_validate(
        {
            "node": node,
            "boot_id": BOOT,
            "at": NOW,
            "seen_revision": 7,
            "accepts": True,
            "isolation": "docker",
            "isolation_note": "",
            "safe": True,
            "backlog": {"records": StreamBacklog(entries=0, bytes=0)},
            **more,
        }
    )


def _activity(experiment: Experiment, phase: Phase = Phase.EXECUTING, detail: str = "") -> Activity:
    return Activity(
        experiment_id=experiment.experiment_id,
        attempt=1,
        phase=phase,
        detail=detail,
        since=NOW - timedelta(minutes=3),
        started_at=experiment.started_at,
        elapsed=ELAPSED,
        lease=True,
    )


def forecast(hours: float, *, unknown: bool = False) -> dict[str, Any]:
    """Return the fields that say when something starts, with a range around it."""
    if unknown:
        return {}
    likely = NOW + timedelta(hours=hours)
    told = StartForecast(
        earliest=NOW + timedelta(hours=hours * 0.8),
        likely=likely,
        latest=NOW + timedelta(hours=hours * 1.5),
        basis="script",
    )
    return {"estimated_start": likely, "forecast": told}


def experiment(number: int, name: str, status: Status, **more: Any) -> Experiment:
    """Return an experiment; mine unless told otherwise."""
    return Experiment.model_validate(
        {
            "experiment_id": ulid(number),
            "name": name,
            "user": ME,
            "owner": "calm-otter",
            "status": status,
            "revision": 4,
            "created_at": NOW - timedelta(hours=3, minutes=number),
            "script_sha256": SHA,
            **more,
        }
    )


_RAN: Final[Mapping[str, Any]] = {
    "node": "reactor-1",
    "attempt": 1,
    "started_at": NOW - timedelta(hours=2, minutes=41),
    "image": "sha256:9d5e2f" + "a7" * 29,
    "isolation": "docker",
    "parameters": {
        "target_od": 0.4,
        "dose_ml": 1.0,
        "temperature": 37.0,
        "strain": "E. coli MG1655",
    },
}

RUNNING: Final = experiment(
    40, "Turbidostat at 37 °C", Status.RUNNING, phase=Phase.EXECUTING, max_duration=86_400, **_RAN
)
FILES: Final = (
    ResultFile(name="summary.json", size=412, sha256=SHA),
    ResultFile(name="figures/growth.svg", size=48_211, sha256=SHA),
    ResultFile(name="doses.csv", size=1_204_332, sha256=SHA),
    ResultFile(name="model.pkl", size=204_332, sha256=SHA),
)
COMPLETED: Final = experiment(
    38, "Growth curve, LB, triplicate 2", Status.COMPLETED, exit_code=0, results=FILES,
    completed_at=NOW - timedelta(minutes=30), edition=1,
    note="New lot of LB from shelf 3.\nFoam after two hours, antifoam added by hand.", **_RAN,
)  # fmt: skip
FAILED: Final = experiment(
    36, "Temperature profile 30 → 42 °C", Status.FAILED, exit_code=1, gaps=1,
    error=Error(
        code=ErrorCode.OUT_OF_RANGE,
        message="temperature-setpoint cannot be set to 55 °C",
        hint="The reactor allows 15 to 45 °C.",
    ),
    created_at=NOW - timedelta(hours=27),
    **{**_RAN, "started_at": NOW - timedelta(hours=26), "completed_at": NOW - timedelta(days=1)},
)  # fmt: skip
PAUSED: Final = experiment(
    39, "Light and dark, 12 h", Status.PAUSED, phase=Phase.FROZEN,
    phase_since=NOW - timedelta(minutes=12), **{**_RAN, "node": "reactor-2"},
)  # fmt: skip
QUEUED: Final = experiment(
    41, "Chemostat D = 0.2", Status.QUEUED, queue_position=2, needs=("od", "media", "waste"),
    **forecast(5),
)  # fmt: skip
PREPARING: Final = experiment(
    42, "First try", Status.RUNNING, phase=Phase.PREPARING, node="reactor-1",
    phase_since=NOW - timedelta(seconds=40), phase_detail="building the image: step 7 of 12",
)  # fmt: skip
AWAY: Final = experiment(
    44, "Fed batch, night", Status.RUNNING, phase=Phase.EXECUTING,
    phase_detail="reactor-3 is unreachable since 2026-03-01 11:20 UTC; it may well be running on",
    unreachable_since=NOW - timedelta(minutes=40), **{**_RAN, "node": "reactor-3"},
)  # fmt: skip
COLLECTING: Final = experiment(
    43, "Overnight", Status.RUNNING, phase=Phase.COLLECTING,
    phase_detail="the script ended; 3 files are on their way",
    phase_since=NOW - timedelta(seconds=14), **_RAN,
)  # fmt: skip
CANCELLED: Final = experiment(
    35, "<script>alert(1)</script> שלום & a name that does not want to end at all",
    Status.CANCELLED, completed_at=NOW - timedelta(days=3),
    note="\u202e<img src=x onerror=alert(1)> \u05e9\u05dc\u05d5\u05dd\n" + "note " * 100,
    error=Error(code=ErrorCode.ESTOP, message="cancelled by calm-otter"),
)  # fmt: skip
ALL: Final = (AWAY, COLLECTING, PREPARING, QUEUED, RUNNING, PAUSED, COMPLETED, FAILED, CANCELLED)


INFO: Final = ScriptInfo(
    name="Turbidostat at 37 °C",
    max_duration=86_400,
    needs=("od", "media", "waste"),
    parameters=(
        ParameterInfo(
            name="target_od", default=0.4, unit="OD600", description="held density",
            minimum=0.05, maximum=4,
        ),
        ParameterInfo(
            name="dose_ml", default=1.0, unit="mL", description="medium at a time",
            minimum=0.2, maximum=3,
        ),
        ParameterInfo(name="temperature", default=37, unit="°C", minimum=15, maximum=42),
        ParameterInfo(name="at_night", default=False, description="Dose at night too"),
        ParameterInfo(name="strain", default="E. coli MG1655"),
    ),
)  # fmt: skip


def milestones(e: Experiment) -> tuple[Milestone, ...]:
    """Return what happened rarely to an experiment."""
    began = e.started_at
    if began is None:
        if e.node is None:
            return ()
        return (Milestone(attempt=1, node=e.node, what="accepted", t=e.phase_since or NOW),)

    def at(minutes: float, what: str, **more: Any) -> Milestone:
        return Milestone.model_validate(
            {
                "attempt": 1,
                "node": e.node,
                "what": what,
                "t": began + timedelta(minutes=minutes),
                "elapsed": None if minutes < 0 else 60.0 * minutes,
                **more,
            }
        )

    told = [
        at(-2, "accepted"),
        at(0, "executing"),
        at(30, "paused"),
        at(42, "resumed", elapsed=1800.0),
        at(61, "parameters", parameters={"target_od": 0.4}, revision=8),
        at(62, "parameters-seen", revision=8),
        at(80, "adopted"),
    ]
    if e.gaps:
        told.append(at(95, "gap", detail="12 entries of the records are lost"))
    if e.status is Status.PAUSED:
        told.append(at(149, "paused"))
    if e.completed_at is not None:
        minutes = (e.completed_at - began).total_seconds() / 60
        told += [at(minutes - 1, "released"), at(minutes, "finished")]
    return tuple(told)


def entry(e: Experiment, **more: Any) -> QueueEntry:
    """Return an experiment's line in the queue."""
    others = {"position": e.queue_position, "detail": e.phase_detail, "reactors": ()}
    fields = {key: getattr(e, key) for key in QueueEntry.model_fields if key not in others}
    return QueueEntry.model_validate({**fields, **others, **more})


MOVED: Final = Moved(
    count=3, experiment_id=ulid(62), name="pH shift 6.5", by="quiet-heron",
    at=NOW - timedelta(minutes=2),
)  # fmt: skip


def _waiting() -> tuple[QueueEntry, ...]:
    others = [
        ("Chemostat D = 0.1", "quiet-heron", "web:other0000001"),
        (None, "", ""),
        ("pH shift 6.5", "quiet-heron", "web:other0000001"),
        ("Screening plate B, very long name of an experiment", "mqtt:ada", "mqtt:ada"),
        ("Growth curve, M9 + glucose", "brisk-lynx", "web:other0000002"),
        ("Light and dark, 24 h", "brisk-lynx", "web:other0000002"),
    ]
    rows = []
    position = 0
    for i, (name, owner, user) in enumerate(others):
        paused = i == 3  # noqa: PLR2004 - one of them waits paused
        position += not paused
        start = {} if paused else forecast(4.0 * position, unknown=position == 4)  # noqa: PLR2004
        place = None if paused else position
        if name is None:
            rows.append(entry(QUEUED, position=place, reactors=("reactor-1", "reactor-2"), **start))
            continue
        rows.append(
            QueueEntry(
                experiment_id=ulid(60 + i),
                name=name,
                owner=owner,
                user=user,
                status=Status.PAUSED if paused else Status.QUEUED,
                position=place,
                created_at=NOW - timedelta(minutes=90 - 11 * i),
                detail="needs xenon: no reactor has it" if position == 4 else "",  # noqa: PLR2004
                reactors=() if position == 4 else ("reactor-1", "reactor-2"),  # noqa: PLR2004
                **start,
            )
        )
    return tuple(rows)


def queue(**more: Any) -> Queue:
    """Return a queue with two that run and six that wait."""
    return Queue.model_validate(
        {
            "posture": Posture.RUNNING,
            "revision": 12,
            "total_queued": 5,
            "total_running": 1,
            "total_paused": 2,
            "limits": QueueLimits(),
            "running": (
                entry(RUNNING),
                entry(AWAY),
                entry(PAUSED, owner="quiet-heron", user="web:other0000001"),
            ),
            "waiting": _waiting(),
            "moved": MOVED,
            **more,
        }
    )


LONG: Final = (
    "Turbidostat of Saccharomyces_cerevisiae_BY4741_ΔADE2 at 30 °C with a stepwise increase of "
    "glucose, third replicate"
)


def crowded() -> Queue:
    """Return a queue in which 300 wait, with names as long as people make them."""
    first = entry(RUNNING, name=LONG, owner="administrator-of-the-night-shift")
    waiting = tuple(
        QueueEntry.model_validate(
            {
                "experiment_id": ulid(1000 + n),
                "name": LONG if n % 3 == 0 else f"Growth {n}",
                "owner": "calm-otter" if n % 7 == 0 else "quiet-heron",
                "user": ME if n % 7 == 0 else "web:other0000001",
                "status": Status.QUEUED,
                "position": n + 1,
                "created_at": NOW - timedelta(minutes=n),
                "detail": "needs co2, od_740 and a_rather_long_channel: no reactor has it"
                if n % 11 == 0
                else "",
            }
        )
        for n in range(300)
    )
    return queue(running=(first,), waiting=waiting, total_queued=300, total_paused=0)


_DID: Final[tuple[tuple[str, str, str, str | None, dict[str, Any]], ...]] = (
    ("quiet-heron", "move", "done", "pH shift 6.5", {"request": {"before": ulid(41)}}),
    ("calm-otter", "move", "CHANGED_MEANWHILE", "Chemostat D = 0.2",
     {"request": {"before": ulid(60)}}),
    ("brisk-lynx", "submit", "done", "Light and dark, 24 h", {}),
    ("calm-otter", "pause", "accepted", "Light and dark, 12 h", {}),
    ("brisk-lynx", "submit", "USER_LIMIT", None, {}),
    ("ada", "pause-queue", "done", None, {"request": {"reason": "the autoclave is broken"}}),
    ("hub", "retention", "deleted", "<script>alert(1)</script> שלום", {}),
)  # fmt: skip


def audited() -> Audited:
    """Return a page of what was done."""
    refused = {
        "CHANGED_MEANWHILE": "the order was changed meanwhile: quiet-heron moved “pH shift 6.5”",
        "USER_LIMIT": "you have 5 unfinished experiments, at most 5 may be there at a time",
    }
    entries = tuple(
        AuditEntry(
            n=90 - i, at=NOW - timedelta(minutes=2 + 9 * i), by=by, verb=verb, outcome=outcome,
            experiment_id=ulid(60 + i) if name else None, name=name, details=details,
            message=refused.get(outcome, ""), user=ME if by == "calm-otter" else None,
        )
        for i, (by, verb, outcome, name, details) in enumerate(_DID)
    )  # fmt: skip
    return Audited(entries=entries, next=83)


USERS: Final = tuple(
    UserInfo(
        user=user, owner=owner, queued=queued, running=running, paused=i, completed=7 * i,
        failed=i, cancelled=2, limit=20 if i == 1 else 5, excepted=i == 1,
        last_submitted=NOW - timedelta(hours=5 * i + 1),
    )
    for i, (user, owner, queued, running) in enumerate(
        ((ME, "calm-otter", 1, 2), ("mqtt:ada", "ada", 0, 0), ("web:other0000001", "heron", 2, 1))
    )
)  # fmt: skip
TOKENS: Final = (
    Token(token_id=ulid(70), name="Plate reader", role=Role.USER, created_by="calm-otter",
          created_at=NOW - timedelta(days=3), expires_on=NOW + timedelta(days=87)),
    Token(token_id=ulid(71), name="Night watch", role=Role.ADMINISTRATOR, created_by="ada",
          created_at=NOW - timedelta(days=30)),
    Token(token_id=ulid(72), name="Old robot", role=Role.USER, created_by="ada",
          created_at=NOW - timedelta(days=90), expires_on=NOW - timedelta(days=1)),
)  # fmt: skip
FINDINGS: Final = (
    Finding("bad", "Disk", "The hub's disk is full: nothing new is queued. 3.1 MB of 29.0 GB are "
            "free on the hub's disk. 412 finished experiments take 1.2 GB in the database and "
            "21.4 GB in result files.", "Free space on it, or have old experiments deleted."),
    Finding("warn", "Reactors", "2 of 3 are online; away: Reactor 3; 1 alarm.",
            "See the reactors below."),
    Finding("warn", "Versions", "They differ: portal 0.2.0, hub 0.2.0, Reactor 1 0.1.0.",
            "Within one contract they understand each other; bring all to the newest."),
    Finding("ok", "Broker and hub", "Both are there and answer."),
    Finding("ok", "Record", "The hub has everything that the reactors recorded."),
)  # fmt: skip


def node(name: str, label: str, **more: Any) -> NodeView:
    """Return a reactor that is online and free."""
    channels = Channels(
        node=name, label=label, simulated=True, speed=60.0, channels=CHANNELS,
        images={"standard": PACKAGES},
    )  # fmt: skip
    made = NodeView(
        id=name,
        label=label,
        online=True,
        since=NOW - timedelta(days=2),
        version="0.1.0",
        clock_offset=0.01,
        simulated=True,
        speed=60.0,
        channels=channels,
        report=report(name),
        withheld=None,
        readings=values_at(ELAPSED),
    )
    return made.model_copy(update=more)


ALARMS: Final = (
    Alarm(
        id="do-low", severity="warning", channel="do", since=NOW - timedelta(minutes=4),
        message="Dissolved oxygen below 20 % for 3 minutes",
    ),
    Alarm(
        id="sensor-ph", severity="critical", channel="ph", since=NOW - timedelta(minutes=1),
        message="pH probe does not answer",
    ),
)  # fmt: skip

LAB: Final = (
    node(
        "reactor-1", "Reactor 1",
        report=report(
            "reactor-1", activity=_activity(RUNNING), container=container(), safe=False,
        ),
    ),
    node(
        "reactor-2", "Bench by the window",
        report=report(
            "reactor-2", activity=_activity(PAUSED, Phase.FROZEN), safe=False,
            isolation="bubblewrap", alarms=ALARMS[:1],
            isolation_note="No Docker engine here: scripts run with reduced isolation.",
        ),
        readings=values_at(5000.0, 2),
    ),
    node(
        "reactor-3", "Reactor 3", online=False, since=NOW - timedelta(hours=5),
        readings=values_at(3000.0, 3),
    ),
)  # fmt: skip
REAL: Final = LAB[1].model_copy(
    update={
        "simulated": False,
        "speed": 1.0,
        "clock_offset": -47.0,
        "channels": Channels(
            node="reactor-2", label="Bench by the window", channels=CALIBRATED,
            images={"standard": PACKAGES},
        ),
        "report": report(
            "reactor-2", accepts=False, safe=False, alarms=ALARMS,
            refusal=Error(code=ErrorCode.REACTOR_BUSY, message="calm-otter controls it by hand"),
            manual=ManualHold(
                by="calm-otter", since=NOW - timedelta(minutes=2), until=NOW + timedelta(seconds=95)
            ),
            backlog={"records": StreamBacklog(entries=812, bytes=61_000, oldest=NOW)},
        ),
    }
)  # fmt: skip
FREE: Final = node("reactor-1", "Reactor 1")
PAST: Final = (
    PastAlarm(
        id="doubt-ph", severity="warning", message="17.3 cannot be: look at the probe and its "
        "calibration", channel="ph", since=NOW - timedelta(minutes=4), stands=True,
    ),
    PastAlarm(
        id="estop", severity="critical", channel=None, since=NOW - timedelta(hours=30),
        message="emergency stop by portal: brisk-lynx: foam; released by calm-otter: tube replaced",
        until=NOW - timedelta(hours=29),
    ),
    PastAlarm(
        id="temperature", severity="critical", channel="temperature",
        message="45.2 °C is too hot: the heater is off until it is below 42 °C",
        since=NOW - timedelta(days=3), until=NOW - timedelta(days=3) + timedelta(minutes=9),
    ),
)  # fmt: skip
ESTOPPED: Final = LAB[1].model_copy(
    update={
        "report": report(
            "reactor-2", accepts=False, alarms=ALARMS,
            refusal=Error(code=ErrorCode.ESTOP, message="the emergency stop is latched"),
            estop=Estop(
                latch=ulid(99), by="calm-otter", since=NOW - timedelta(minutes=6),
                reason="smells burnt",
            ),
        ),
    }
)  # fmt: skip

MISHAPS: Final = (
    Mishap(
        id="c-1", user=ME, node="reactor-1", channel="media", what="Media on Reactor 1",
        error=Error(
            code=ErrorCode.ESTOP, message="the dose was cut short after 1.25 of 4 mL",
            hint="release the stop when it is safe, then dose what is missing",
        ),
        at=NOW - timedelta(minutes=3),
    ),
)  # fmt: skip
"""What was commanded by hand and failed later."""
