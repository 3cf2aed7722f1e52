"""What the command line says before it ever reaches a hub."""

import fcntl
import json
import socket
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bioreactor.cli import render
from bioreactor.cli.app import app
from bioreactor.cli.arguments import parameters_of
from bioreactor.cli.session import Session, console
from broker.messages import StartForecast, utc_now
from tests.unit.hub_service.archive_entries import experiment

COMMANDS = (
    "up", "hub", "node", "portal", "image", "emulate", "submit", "list", "show", "logs", "watch",
    "results", "cancel", "pause", "resume", "move", "send", "queue", "nodes",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIOREACTOR_BROKER_URL", raising=False)


def test_every_command_is_there() -> None:
    result = CliRunner().invoke(app, ["--help"], terminal_width=100)
    assert result.exit_code == 0
    for command in COMMANDS:
        assert f" {command} " in result.output


@pytest.mark.parametrize(
    "command", sorted({*COMMANDS} - {"hub", "node", "portal", "image", "emulate"})
)
def test_every_command_offers_json(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], terminal_width=100)
    assert result.exit_code == 0
    assert "--json" in result.output


def test_no_system_is_said_with_a_remedy(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["list", "--json", "--data", str(tmp_path)])
    assert result.exit_code == 69
    error = json.loads(result.stderr)["error"]
    assert error["code"] == "UNAVAILABLE"
    assert "bioreactor up" in error["hint"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file"),
        ('[broker]\nurll = "mqtt://lab"', "did you mean url?"),
        ("[broker", "is not TOML"),
    ],
)
def test_wrong_settings_are_one_sentence(tmp_path: Path, content: str | None, why: str) -> None:
    config = tmp_path / "client.toml"
    if content is not None:
        config.write_text(content)
    result = CliRunner().invoke(app, ["list", "--json", "--config", str(config)])
    assert result.exit_code == 64
    assert why in json.loads(result.stderr)["error"]["message"]


def test_a_wrong_address_in_the_environment_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BIOREACTOR_BROKER_URL", "http://lab")
    result = CliRunner().invoke(app, ["list", "--json", "--data", str(tmp_path)])
    assert result.exit_code == 64
    assert "BIOREACTOR_BROKER_URL" in json.loads(result.stderr)["error"]["message"]


def test_nonsense_for_an_id(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["show", "nonsense", "--json", "--data", str(tmp_path)])
    assert result.exit_code == 66
    assert json.loads(result.stderr)["error"]["code"] == "NOT_FOUND"


def test_a_script_that_is_no_utf8_names_the_byte(tmp_path: Path) -> None:
    script = tmp_path / "latin.py"
    script.write_bytes(b"print('\xe4')")
    result = CliRunner().invoke(app, ["submit", str(script), "--json", "--data", str(tmp_path)])
    assert result.exit_code == 65
    assert "byte 7 is 0xe4" in json.loads(result.stderr)["error"]["message"]


def test_a_missing_script(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["submit", str(tmp_path / "none.py")])
    assert result.exit_code == 65
    assert "No such file" in result.stderr


def test_parameters_are_typed_as_they_look() -> None:
    session = Session(Path(), None, as_json=True)
    assert parameters_of(session, ["a=1", "b=0.5", "c=true", "d=x=y", "e="]) == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": "x=y",
        "e": "",
    }


def test_a_parameter_without_a_value(tmp_path: Path) -> None:
    script = tmp_path / "ok.py"
    script.write_text("x = 1")
    result = CliRunner().invoke(
        app, ["submit", str(script), "-p", "target_od", "--json", "--data", str(tmp_path)]
    )
    assert result.exit_code == 64
    assert "NAME=VALUE" in json.loads(result.stderr)["error"]["message"]


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(
            app, ["up", "--data", str(tmp_path), "--portal-port", str(port)]
        )
    assert result.exit_code == 1
    assert f"Port {port} is in use" in result.stderr
    assert "choose another --portal-port, or 0" in result.stderr


def test_a_second_one_is_told_of_the_first_and_of_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "up.lock").open("a+") as first, socket.socket() as taken:
        fcntl.flock(first, fcntl.LOCK_EX)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("bioreactor.cli.up.PORTAL_PORT", taken.getsockname()[1])
        result = CliRunner().invoke(app, ["up", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"another `bioreactor up` runs on {tmp_path}")


def test_a_forecast_is_told_as_exactly_as_it_is_known() -> None:
    def at(minutes: float) -> datetime:
        return (utc_now() + timedelta(minutes=minutes)).replace(microsecond=0)

    def shown(time: datetime) -> str:
        return render.when(time, exact=False)

    soon, later, last = at(5), at(10), at(60)
    whole = StartForecast(earliest=soon, likely=later, latest=last, basis="script")
    assert render.start(whole) == f"{shown(later)} ({shown(soon)} to {shown(last)})"
    begun = whole.model_copy(update={"earliest": at(-5)})
    assert render.start(begun) == f"{shown(later)} (now to {shown(last)})"
    assert render.start(StartForecast(likely=later)) == f"about {shown(later)}"
    assert render.start(StartForecast(latest=last)) == f"by {shown(last)}"
    assert render.start(StartForecast(earliest=soon)) == f"from {shown(soon)}"
    bounded = StartForecast(likely=later, latest=last)
    assert render.start(bounded) == f"{shown(later)} (by {shown(last)})"
    assert render.start(None) == "unknown"


def test_what_is_no_terminal_gets_whole_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    row = experiment(name="A name of five words " * 5, node="a-reactor-with-a-long-name")
    console().print(render.experiments((row,)))
    header, told = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "id", "name", "owner", "state", "place", "reactor", "created", "took",
    ]  # fmt: skip
    for whole in (row.experiment_id, row.name.strip(), row.node, render.when(row.created_at)):
        assert f"{whole}" in told


def test_a_narrow_terminal_leaves_nothing_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    console().print(render.experiments((experiment(node="reactor-with-a-long-name"),)))
    assert "…" not in capsys.readouterr().out
