"""The stretches of an experiment's life."""

from datetime import UTC, datetime, timedelta

from broker.messages import Experiment, Milestone, Status
from portal.timeline import bars, stretches, ticks

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def experiment(completed: float | None = None) -> Experiment:
    return Experiment(
        experiment_id="01JNE5X6T3M9Y2Q8R4V7W0ZEX1",
        name="one",
        user="web:abcdefgh",
        owner="calm-otter",
        status=Status.RUNNING if completed is None else Status.COMPLETED,
        revision=1,
        created_at=T0,
        completed_at=None if completed is None else at(completed),
        script_sha256="0" * 64,
    )


def told(*whats: tuple[float, str]) -> list[Milestone]:
    return [Milestone.model_validate({"attempt": 1, "what": w, "t": at(m)}) for m, w in whats]


def test_pauses_and_attempts_follow_each_other_without_holes() -> None:
    steps = [
        (10, "accepted"), (11, "executing"), (20, "paused"), (25, "resumed"), (26, "adopted"),
        (30, "interrupted"), (40, "accepted"), (41, "executing"), (60, "released"),
        (61, "finished"),
    ]  # fmt: skip
    parts = stretches(experiment(61), told(*steps))
    assert [part.kind for part in parts] == [
        "waiting", "preparing", "running", "paused", "running", "waiting", "preparing", "running",
        "collecting",
    ]  # fmt: skip
    assert [p.end for p in parts[:-1]] == [p.start for p in parts[1:]]
    assert (parts[0].start, parts[-1].end) == (T0, at(61))
    drawn = bars(parts, at(61))
    assert abs(drawn[-1].x + drawn[-1].width - 1000) < 1
    ((place, adopted),) = ticks(drawn, told(*steps), at(61))
    assert adopted.what == "adopted"
    assert drawn[4].x < place < drawn[4].x + drawn[4].width


def test_what_goes_on_has_no_end_and_wrong_clocks_make_nothing_negative() -> None:
    parts = stretches(experiment(), told((-5, "accepted"), (3, "executing")))
    assert [(p.kind, p.seconds(at(10))) for p in parts] == [
        ("waiting", 0.0), ("preparing", 180.0), ("running", 420.0),
    ]  # fmt: skip
    assert parts[-1].end is None


def test_what_never_ran_only_waited() -> None:
    assert [p.kind for p in stretches(experiment(5), [])] == ["waiting"]
