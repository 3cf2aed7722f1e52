from dataclasses import dataclass, field

import pytest

from broker.messages import Error, ErrorCode
from hardware.channels import Equipment
from hardware.events import (
    DoseAsked,
    DoseEnded,
    DosePiece,
    EstopEngaged,
    EstopReleased,
    Event,
    GoOn,
    Hold,
    MakeSafe,
    Measured,
    PieceEnded,
    Rest,
    RunBegun,
    Set,
    Tick,
)
from hardware.safety import Decision, State, decide, due, initial
from tests.unit.hardware.equipment import bench


@dataclass
class Rules:
    """The rules with their state, spoken to in short."""

    equipment: Equipment = field(default_factory=bench)
    state: State = field(init=False)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.state = initial(self.equipment, 0.0)

    def tell(self, event: Event, *, after: float = 0.0) -> Decision:
        self.now += after
        decision = decide(self.equipment, self.state, event, self.now)
        self.state = decision.state
        return decision

    def refused(self, event: Event, *, after: float = 0.0) -> Error:
        refusal = self.tell(event, after=after).refusal
        assert refusal is not None
        return refusal

    def value(self, name: str) -> float:
        return self.state.outputs[name].value

    def heat(self, duty: float = 50.0, *, after: float = 0.0) -> float:
        decision = self.tell(Set("heater", duty, 15.0, by_controller=True), after=after)
        assert decision.refusal is None
        return self.value("heater")

    def dose(self, pump: str, ml: float) -> Error | None:
        """Ask, pump it all, end."""
        refusal = self.tell(DoseAsked(pump, ml)).refusal
        if refusal is not None:
            return refusal
        refusal = self.tell(DosePiece(pump, ml)).refusal
        flow = self.equipment.channels[pump].flow
        self.tell(DoseEnded(pump, 0.0 if refusal else ml), after=ml / flow)
        return refusal


@pytest.fixture
def rules() -> Rules:
    rules = Rules()
    rules.tell(Measured({"temperature": 25.0, "volume": 15.0}))
    return rules


def test_starts_safe_and_cold() -> None:
    rules = Rules()
    assert all(output.value == 0.0 for output in rules.state.outputs.values())
    assert rules.heat() == 0.0  # nothing was measured yet


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (Set("nowhere", 1.0), ErrorCode.UNKNOWN_CHANNEL),
        (DoseAsked("nowhere", 1.0), ErrorCode.UNKNOWN_CHANNEL),
        (Set("temperature", 1.0), ErrorCode.NOT_AN_ACTUATOR),
        (Set("heater", 50.0), ErrorCode.NOT_AN_ACTUATOR),
        (Set("media", 1.0), ErrorCode.NOT_AN_ACTUATOR),
        (DoseAsked("light", 1.0), ErrorCode.NOT_AN_ACTUATOR),
        (Set("setpoint", 42.1), ErrorCode.OUT_OF_RANGE),
        (Set("setpoint", 14.9), ErrorCode.OUT_OF_RANGE),
        (Set("setpoint", float("nan")), ErrorCode.OUT_OF_RANGE),
        (Set("stirring", float("inf")), ErrorCode.OUT_OF_RANGE),
        (Set("light", 50.0), ErrorCode.MALFORMED),
        (Set("light", 50.0, -1.0), ErrorCode.OUT_OF_RANGE),
        (Set("light", 50.0, float("nan")), ErrorCode.OUT_OF_RANGE),
        (Set("light", 50.0, 101.0), ErrorCode.LIMIT),
        (DoseAsked("media", 5.1), ErrorCode.LIMIT),
        (DoseAsked("media", 0.0), ErrorCode.OUT_OF_RANGE),
        (DoseAsked("media", float("nan")), ErrorCode.OUT_OF_RANGE),
        (DoseAsked("media", 3.5), ErrorCode.INTERLOCK),
        (DosePiece("media", 1.0), ErrorCode.LIMIT),
    ],
)
def test_refuses_and_changes_nothing(rules: Rules, event: Event, code: ErrorCode) -> None:
    before = rules.state
    refusal = rules.refused(event)
    assert refusal.code == code
    assert refusal.message
    assert refusal.hint
    assert rules.state.outputs == before.outputs
    assert rules.state.pumps == before.pumps
    assert rules.state.volume == before.volume


def test_a_direct_output_goes_off_by_itself(rules: Rules) -> None:
    assert rules.tell(Set("light", 80.0, 60.0)).writes == {"light": 80.0}
    assert due(rules.equipment, rules.state) == 60.0
    assert rules.tell(Tick(), after=59.9).writes == {}
    assert rules.tell(Tick(), after=0.1).writes == {"light": 0.0}


def test_renewing_does_not_stretch_the_longest_time_on(rules: Rules) -> None:
    rules.tell(Set("light", 80.0, 60.0))
    rules.tell(Set("light", 80.0, 60.0), after=50.0)
    assert due(rules.equipment, rules.state) == 100.0
    assert rules.tell(Tick(), after=50.0).writes == {"light": 0.0}
    assert "on-time-light" in rules.state.alarms
    refusal = rules.refused(Set("light", 10.0, 5.0), after=9.0)
    assert refusal.code == ErrorCode.LIMIT
    assert refusal.details["limit"] == "max_on_time"
    assert rules.tell(Set("light", 10.0, 5.0), after=1.0).refusal is None
    assert "on-time-light" not in rules.state.alarms


def test_a_short_rest_does_not_count(rules: Rules) -> None:
    rules.tell(Set("light", 80.0, 90.0))
    rules.tell(Set("light", 0.0), after=90.0)
    rules.tell(Set("light", 80.0, 90.0), after=5.0)
    assert rules.tell(Tick(), after=5.0).writes == {"light": 0.0}


def test_stirring_ramps_up_and_stops_at_once(rules: Rules) -> None:
    rules.tell(Tick(), after=500.0)
    # From its least at once: the device takes nothing below it.
    assert rules.tell(Set("stirring", 500.0)).writes == {"stirring": 50.0}
    assert due(rules.equipment, rules.state) == rules.now + 1.0
    assert rules.tell(Tick(), after=2.0).writes == {"stirring": 250.0}
    assert rules.tell(Tick(), after=10.0).writes == {"stirring": 500.0}
    assert rules.tell(Set("stirring", 0.0)).writes == {"stirring": 0.0}


def test_a_controllers_output_is_clamped_and_expires(rules: Rules) -> None:
    assert rules.heat(120.0) == 70.0
    assert rules.heat(-20.0) == 0.0
    rules.heat(50.0)
    rules.tell(Measured({"temperature": 30.0}), after=14.0)
    assert rules.tell(Tick(), after=1.0).writes == {"heater": 0.0}


@pytest.mark.parametrize("odd", [None, float("nan"), float("inf"), -300.0, 1000.0])
def test_no_sound_temperature_means_no_heat(rules: Rules, odd: float | None) -> None:
    assert rules.heat() == 50.0
    assert rules.tell(Measured({"temperature": odd}), after=1.0).writes == {"heater": 0.0}
    assert rules.heat() == 0.0
    rules.tell(Measured({"temperature": 25.0}), after=1.0)
    assert rules.heat() == 50.0


def test_a_silent_thermometer_means_no_heat(rules: Rules) -> None:
    rules.tell(Set("heater", 50.0, 1000.0, by_controller=True))
    assert due(rules.equipment, rules.state) == 30.0
    rules.tell(Tick(), after=30.0)
    assert rules.value("heater") == 0.0
    assert rules.state.alarms["temperature-unknown"].severity == "critical"
    rules.tell(Measured({"temperature": 25.0}))
    assert "temperature-unknown" not in rules.state.alarms


def test_over_temperature_has_hysteresis(rules: Rules) -> None:
    rules.heat()
    assert rules.tell(Measured({"temperature": 45.0}), after=1.0).writes == {"heater": 0.0}
    assert rules.state.alarms["over-temperature"].severity == "critical"
    since = rules.state.alarms["over-temperature"].since
    rules.tell(Measured({"temperature": 43.0}), after=1.0)
    rules.tell(Measured({"temperature": None}), after=1.0)
    assert rules.heat() == 0.0
    rules.tell(Measured({"temperature": 42.0}), after=1.0)
    assert rules.heat() == 0.0
    assert rules.state.alarms["over-temperature"].since == since
    rules.tell(Measured({"temperature": 41.9}), after=1.0)
    assert rules.heat() == 50.0
    assert "over-temperature" not in rules.state.alarms


def test_an_empty_vessel_is_not_heated(rules: Rules) -> None:
    rules.heat()
    assert rules.tell(Measured({"volume": 4.9}), after=1.0).writes == {"heater": 0.0}
    assert "vessel-low" in rules.state.alarms


def test_the_hourly_volume_comes_back_after_an_hour(rules: Rules) -> None:
    rules.tell(Measured({"volume": 6.0}))
    for _ in range(2):
        assert rules.dose("media", 5.0) is None
        rules.tell(Measured({"volume": 6.0}), after=10.0)
    refusal = rules.refused(DoseAsked("media", 3.0))
    assert refusal.details["limit"] == "max_hourly_ml"
    assert refusal.details["left"] == pytest.approx(2.0)
    wait = refusal.details["retry_after"]
    assert isinstance(wait, float)
    assert 3500.0 < wait < 3700.0
    assert rules.tell(DoseAsked("media", 3.0), after=wait).refusal is None


def test_the_total_counts_from_the_beginning_of_a_run(rules: Rules) -> None:
    for _ in range(4):
        rules.tell(Measured({"volume": 6.0}), after=3700.0)
        assert rules.dose("media", 5.0) is None
    rules.tell(Measured({"volume": 6.0}), after=3700.0)
    refusal = rules.refused(DoseAsked("media", 0.5))
    assert refusal.details["limit"] == "max_total_ml"
    assert refusal.details["left"] == 0.0
    rules.tell(RunBegun())
    assert rules.dose("media", 5.0) is None


def test_pumps_run_no_longer_than_allowed_at_a_stretch(rules: Rules) -> None:
    refusal = rules.refused(DoseAsked("base", 2.5))
    assert refusal.details["limit"] == "max_on_time"
    assert rules.dose("base", 1.5) is None
    assert rules.refused(DoseAsked("base", 1.0), after=0.5).details["limit"] == "max_on_time"
    assert rules.tell(DoseAsked("base", 1.0), after=0.5).refusal is None


def test_a_pump_that_stands_while_the_disk_takes_its_dose_does_not_run(rules: Rules) -> None:
    assert rules.tell(DoseAsked("base", 1.5)).refusal is None
    assert rules.tell(DosePiece("base", 0.5), after=60.0).refusal is None
    rules.tell(PieceEnded("base", 0.5), after=5.0)
    assert rules.tell(DosePiece("base", 0.5), after=60.0).refusal is None
    rules.tell(PieceEnded("base", 0.5), after=15.0)
    # It would run on for longer than 20 s: 15 s, a pause that is too short, and 5 s for this.
    assert rules.refused(DosePiece("base", 0.5), after=0.5).details["limit"] == "max_on_time"


def test_the_vessel_never_runs_over_with_two_pumps(rules: Rules) -> None:
    assert rules.tell(DoseAsked("media", 2.0)).refusal is None
    refusal = rules.refused(DoseAsked("base", 1.5))
    assert refusal.code == ErrorCode.INTERLOCK
    assert refusal.details["left"] == pytest.approx(1.0)
    assert rules.tell(DoseAsked("base", 1.0)).refusal is None
    rules.tell(Measured({"volume": 17.5}))
    assert rules.refused(DosePiece("media", 1.0)).code == ErrorCode.INTERLOCK


def test_waste_counts_only_when_it_is_measured() -> None:
    blind, sighted = Rules(bench(measured=False)), Rules()
    for rules in (blind, sighted):
        assert rules.dose("media", 2.5) is None
        assert rules.dose("waste", 3.0) is None
    assert blind.state.volume == pytest.approx(14.5)
    assert blind.dose("waste", 5.0) is None
    assert blind.state.volume == pytest.approx(14.0)  # the straw draws air
    assert sighted.state.volume == pytest.approx(17.5)
    assert sighted.refused(DoseAsked("media", 1.0)).code == ErrorCode.INTERLOCK
    sighted.tell(Measured({"volume": 14.5}))
    assert sighted.dose("media", 1.0) is None


def test_what_a_pump_rounds_up_is_in_the_vessel() -> None:
    rules = Rules(bench(measured=False))  # 15 of 18 mL
    moved = 0.0
    while rules.tell(DoseAsked("media", 0.051), after=10.0).refusal is None:
        assert rules.tell(DosePiece("media", 0.051)).refusal is None
        rules.tell(PieceEnded("media", 0.1))  # its least
        rules.tell(DoseEnded("media", 0.1))
        moved += 0.1
    assert moved == pytest.approx(3.0, abs=0.1)


def test_the_vessel_is_not_pumped_dry_without_a_straw() -> None:
    rules = Rules(bench(straw=0.0))
    rules.tell(Measured({"volume": 7.0}))
    refusal = rules.refused(DoseAsked("waste", 3.0))
    assert refusal.details["limit"] == "vessel_low"
    assert refusal.details["left"] == pytest.approx(2.0)


def test_hold_stops_what_is_direct_and_keeps_setpoints(rules: Rules) -> None:
    rules.tell(Set("setpoint", 37.0))
    rules.tell(Set("light", 50.0, 60.0))
    rules.tell(DoseAsked("media", 2.0))
    decision = rules.tell(Hold())
    assert decision.writes == {"light": 0.0}
    assert "media" in decision.stops
    assert rules.value("setpoint") == 37.0
    assert rules.refused(DosePiece("media", 1.0)).details["limit"] == "stopped"
    rules.tell(DoseEnded("media", 0.0))
    assert rules.tell(DoseAsked("media", 2.0)).refusal is None


@pytest.mark.parametrize("stop", [Hold(), MakeSafe(), EstopEngaged("smoke")])
def test_what_was_asked_for_before_a_stop_is_not_dosed_after_it(rules: Rules, stop: Event) -> None:
    before = rules.state.stops
    assert rules.tell(DoseAsked("media", 1.0, stops=before)).refusal is None
    rules.tell(DoseEnded("media", 1.0))
    rules.tell(stop)
    rules.tell(EstopReleased())
    for by_controller in (False, True):
        rules.tell(GoOn())
        waited = DoseAsked("media", 1.0, by_controller, stops=before)
        assert rules.refused(waited).details["limit"] == "stopped"
    assert not rules.state.pumps["media"].busy
    assert rules.tell(DoseAsked("media", 1.0, stops=rules.state.stops)).refusal is None


def test_a_hold_that_is_no_pause_neither_begins_nor_ends_one(rules: Rules) -> None:
    assert not rules.tell(Hold(pause=False)).state.held
    rules.tell(Hold())
    assert rules.tell(Hold(pause=False)).state.held


def test_make_safe_writes_everything_again(rules: Rules) -> None:
    rules.tell(Set("setpoint", 37.0))
    decision = rules.tell(MakeSafe())
    assert decision.writes == {"heater": 0.0, "stirring": 0.0, "light": 0.0}
    assert set(decision.stops) == {"media", "base", "waste"}
    assert rules.value("setpoint") == 0.0


def test_an_emergency_stop_holds_until_released(rules: Rules) -> None:
    rules.tell(Set("light", 50.0, 60.0))
    rules.tell(DoseAsked("media", 2.0))
    assert rules.tell(EstopEngaged("smoke")).writes["light"] == 0.0
    for event in (Set("light", 1.0, 1.0), DoseAsked("waste", 1.0), DosePiece("media", 1.0)):
        refusal = rules.refused(event)
        assert refusal.code == ErrorCode.ESTOP
        assert "smoke" in refusal.message
    assert rules.refused(Set("heater", 9.0, 9.0, by_controller=True)).code == ErrorCode.ESTOP
    assert "estop" in rules.state.alarms
    rules.tell(DoseEnded("media", 0.5))
    rules.tell(EstopReleased())
    assert rules.value("light") == 0.0
    assert rules.tell(Set("light", 1.0, 1.0)).refusal is None


def test_a_dose_of_unknown_outcome_counts_in_full(rules: Rules) -> None:
    rules.tell(DoseAsked("media", 2.0))
    rules.tell(DosePiece("media", 1.0))
    rules.tell(DoseEnded("media", None))
    assert rules.state.pumps["media"].budget.total == 2.0


def test_time_never_goes_back(rules: Rules) -> None:
    rules.tell(Tick(), after=10.0)
    for odd in (5.0, float("nan"), float("-inf")):
        assert decide(rules.equipment, rules.state, Tick(), odd).state.now == 10.0


@pytest.mark.parametrize(("pump", "start", "end"), [("media", 6.0, 6.3), ("waste", 14.0, 13.7)])
def test_what_a_resting_pump_did_not_deliver_is_pumped_later_and_counted_once(
    pump: str, start: float, end: float
) -> None:
    equipment = bench(measured=False, straw=5.0)
    state = initial(equipment, 0.0, volume=start)

    def tell(event: Event) -> Decision:
        nonlocal state
        decision = decide(equipment, state, event, 1.0)
        state = decision.state
        return decision

    assert tell(DoseAsked(pump, 2.0)).refusal is None
    assert tell(DosePiece(pump, 1.0)).refusal is None
    assert tell(Rest("all")).stops == (pump,)
    refusal = tell(DosePiece(pump, 1.0)).refusal
    assert refusal is not None
    assert refusal.details["limit"] == "silence"
    tell(PieceEnded(pump, 0.3))
    assert state.volume == pytest.approx(end)
    assert state.pumps[pump].left == pytest.approx(1.7)
    tell(PieceEnded(pump, 0.0))  # told twice: nothing more comes back
    assert state.pumps[pump].left == pytest.approx(1.7)
    tell(Rest(None))
    assert tell(DosePiece(pump, 1.0)).refusal is None
    tell(PieceEnded(pump, 0.9))  # it did not rest: its own count is a little short
    assert state.pumps[pump].left == pytest.approx(0.7)
    tell(Rest("all"))
    tell(MakeSafe())
    tell(PieceEnded(pump, 0.1))  # what was stopped stays stopped
    assert state.pumps[pump].left == 0.0
