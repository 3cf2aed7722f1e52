"""One laboratory with one experiment, as values of the models: examples for the REST reference."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from broker import VERSION
from broker.messages import (
    Audited,
    AuditEntry,
    Checked,
    DueOf,
    HistoryOf,
    LogLine,
    LogPage,
    ParameterInfo,
    Phase,
    Posture,
    QueueEntry,
    QueueLimits,
    ResultFile,
    Role,
    ScriptInfo,
    StartForecast,
    Status,
    Storage,
    Token,
    Trace,
    UserInfo,
    UsersOf,
)
from portal.alarmlog import PastAlarm
from portal.known import NodeView
from portal.node_views import (
    AlarmsOf,
    CommandRequest,
    DeadBody,
    EstopBody,
    Nodes,
    ReleaseBody,
)
from portal.site import Health
from portal.views import (
    AnnotateRequest,
    CheckRequest,
    Commanded,
    ExperimentOf,
    ExperimentView,
    Freshness,
    HaltRequest,
    LimitsRequest,
    Mine,
    ParametersRequest,
    QueueOf,
    RetentionRequest,
    RunNowRequest,
    Selected,
    SelectionDone,
    SelectionRequest,
    Started,
    StartRequest,
    StatusOf,
    TokenMade,
    TokenRequest,
    TokensOf,
)

AN_ID: Final = "01JM9ZQ8E6Y7W5V4T3S2R1Q0P9"
ANOTHER_ID: Final = "01JM9ZTA0V4X6Z8B0D2F4H6K8M"
_AT: Final = datetime(2026, 2, 17, 14, 26, 1, tzinfo=UTC)
_SCRIPT: Final = """\
from bioreactor import experiment, reactor

for _ in experiment.every(seconds=60, duration=3600):
    experiment.record(od=reactor.read("od"))
"""
_SHA256: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
USER: Final = "web:3Qh7nZl0vT5uY2cX8bM1kR4s"


def _experiment(status: Status, **more: Any) -> ExperimentView:
    return ExperimentView(
        experiment_id=AN_ID,
        name="Turbidostat",
        user=USER,
        owner="teal-heron",
        status=status,
        revision=12,
        created_at=_AT,
        parameters={"target_od": 0.4},
        script_sha256=_SHA256,
        **more,
    )


def _entry(experiment: str, name: str, status: Status, **more: Any) -> QueueEntry:
    return QueueEntry(
        experiment_id=experiment,
        name=name,
        owner="teal-heron",
        user=USER,
        status=status,
        created_at=_AT,
        **more,
    )


def _examples() -> Iterable[BaseModel]:
    """Return a value of each model that is sent or answered."""
    soon = _AT + timedelta(minutes=40)
    fresh = Freshness(age_seconds=0.0, hub="online", broker_connected=True)
    waiting = _experiment(Status.QUEUED, queue_position=2, estimated_start=soon)
    done = _experiment(
        Status.COMPLETED,
        node="reactor-1",
        attempt=1,
        started_at=_AT,
        completed_at=_AT + timedelta(hours=1),
        exit_code=0,
        results=(ResultFile(name="summary.json", size=24, sha256=_SHA256),),
    )
    reactor = NodeView(
        id="reactor-1",
        label="Reactor 1",
        online=True,
        since=_AT,
        version=VERSION,
        clock_offset=0.02,
        simulated=False,
        speed=1.0,
        channels=None,
        report=None,
        withheld=None,
        readings={"od": 0.412, "temperature": 37.02, "ph": None},
    )
    yield StartRequest(script_content=_SCRIPT, name="Turbidostat", parameters={"target_od": 0.4})
    yield CheckRequest(script_content=_SCRIPT, parameters={"target_od": 0.4})
    yield RunNowRequest(node="reactor-1", stop_running=False)
    yield ParametersRequest(parameters={"target_od": 0.6})
    yield LimitsRequest(per_user=3, max_duration=7 * 86400.0, max_script=128 * 1024)
    yield RetentionRequest(days=365)
    yield DeadBody(power_is_off=True)
    yield EstopBody(reason="the tubing has come off")
    yield ReleaseBody(latch=ANOTHER_ID, reason="the tubing is back in place")
    yield CommandRequest(value=37.0, duration=600.0)
    yield AlarmsOf(
        alarms=(
            PastAlarm(
                id="temperature-high",
                severity="warning",
                message="temperature is 39.1 °C, above 39 °C",
                channel="temperature",
                since=_AT,
                until=soon,
            ),
        )
    )
    yield Started(
        experiment_id=AN_ID,
        status=Status.QUEUED,
        queue_position=2,
        message="Turbidostat is queued as number 2",
        estimated_start=soon,
        forecast=StartForecast(earliest=_AT, likely=soon, latest=None, basis="declared"),
    )
    yield Checked(
        ok=True,
        script=ScriptInfo(
            name="Turbidostat",
            needs=("od", "media", "waste"),
            parameters=(ParameterInfo(name="target_od", default=0.4, unit="OD600"),),
        ),
        suitable_nodes=("reactor-1",),
    )
    yield Commanded(message="Turbidostat is cancelled", outcome="done", status=Status.CANCELLED)
    yield Mine(experiments=(done,), total=61, next=AN_ID, freshness=fresh)
    yield ExperimentOf(experiment=done, script=_SCRIPT, freshness=fresh)
    yield StatusOf(experiment=waiting, freshness=fresh)
    yield HistoryOf(
        started_at=_AT,
        traces={"od": Trace(unit="OD600", t=(0.0, 60.0, 120.0), v=(0.101, 0.104, None))},
    )
    yield LogPage(
        lines=(LogLine(n=1, t=_AT, source="stdout", text="dilution 1"),), last=1, complete=False
    )
    yield QueueOf(
        total_queued=1,
        total_running=1,
        total_paused=0,
        queue=(_entry(AN_ID, "Turbidostat", Status.QUEUED, position=1, estimated_start=soon),),
        running=(
            _entry(
                ANOTHER_ID,
                "Growth curve",
                Status.RUNNING,
                phase=Phase.EXECUTING,
                node="reactor-1",
                started_at=_AT,
            ),
        ),
        posture=Posture.RUNNING,
        posture_reason="",
        limits=QueueLimits(),
        moved=None,
        withheld={},
        revision=118,
        open=True,
        freshness=fresh,
    )
    yield reactor
    yield Nodes(nodes=(reactor,), freshness=fresh)
    yield AnnotateRequest(note="Second try, with fresh medium.", edition=3)
    yield TokenRequest(name="Plate reader", role=Role.USER)
    token = Token(
        token_id=ANOTHER_ID,
        name="Plate reader",
        role=Role.USER,
        created_by="teal-heron",
        created_at=_AT,
    )
    yield TokenMade(**token.model_dump(), token="bioreactor_IjAxSk05Wi4uLiI.c2lnbmF0dXJl")  # noqa: S106
    yield TokensOf(tokens=(token,), freshness=fresh)
    yield HaltRequest(reason="the autoclave is being serviced")
    yield SelectionRequest(verb="cancel", ids=[AN_ID, ANOTHER_ID])
    yield Selected(
        success=True,
        message="1 is cancelled",
        done=(SelectionDone(experiment_id=AN_ID, name="Turbidostat", message="it is cancelled"),),
    )
    yield Audited(
        entries=(
            AuditEntry(
                n=412,
                at=_AT,
                by="teal-heron",
                verb="cancel",
                outcome="done",
                experiment_id=AN_ID,
                name="Turbidostat",
            ),
        ),
        next=412,
    )
    user = UserInfo(
        user=USER,
        owner="teal-heron",
        queued=1,
        running=1,
        paused=0,
        completed=61,
        failed=2,
        cancelled=4,
        limit=5,
        last_submitted=_AT,
    )
    yield UsersOf(users=(user,))
    yield DueOf(days=365, count=12, oldest=_AT - timedelta(days=400))
    yield Storage(
        total=512 * 1024**3,
        free=300 * 1024**3,
        database=6 * 1024**3,
        files=40 * 1024**3,
        finished=1204,
    )
    yield Health(
        status="ok",
        ready=True,
        version=VERSION,
        broker_connected=True,
        hub="online",
        age_seconds=0.0,
        nodes_online=1,
    )


@cache
def examples() -> Mapping[str, Any]:
    """Return an example of each model by its name in the document."""
    return {
        type(example).__name__: example.model_dump(mode="json", exclude_none=_sent(example))
        for example in _examples()
    }


def _sent(example: BaseModel) -> bool:
    """Whether a model is sent to the portal: what is absent then stays as it is."""
    return type(example).__name__.endswith(("Request", "Body"))
