"""The ways to give the hub a command, each with its answer in one form."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
from typer.testing import CliRunner

from bioreactor.cli.app import app
from bioreactor.cli.exits import EXIT_CODES
from broker.asking import Asker
from broker.identity import write_private
from broker.messages import (
    ADMIN_REQUESTS,
    REQUESTS,
    ContractError,
    Done,
    ErrorCode,
    Plain,
    Submit,
    Submitted,
)
from broker.settings import BrokerSettings
from portal.errors import HTTP_STATUS

Fields = Mapping[str, object]


@dataclass(frozen=True)
class Answer:
    """What a command came to: done, accepted, unchanged or an error's code."""

    outcome: str
    status: str | None = None
    position: int | None = None


class Door(Protocol):
    """One way in."""

    name: str

    async def ask(self, verb: str, **fields: object) -> Answer:
        """Give a command in the words of the contract."""

    async def submit(self, script: str, parameters: Fields, key: str) -> tuple[str, str]:
        """Submit a script; return the experiment's state and id, or an error's code."""


class MqttDoor:
    """Messages to `hub/request/…` or `hub/admin/…`."""

    def __init__(self, asker: Asker, *, admin: bool) -> None:
        self.name = "admin" if admin else "request"
        self._asker = asker
        self._admin = admin

    async def ask(self, verb: str, **fields: object) -> Answer:
        models = {**REQUESTS, **ADMIN_REQUESTS}
        # Built unchecked: the hub is to refuse what is wrong, not the test.
        request = models.get(verb, Plain).model_construct(**fields)  # type: ignore[arg-type]
        try:
            done = await self._asker.ask(verb, request, admin=self._admin, timeout=30)
        except ContractError as error:
            return Answer(str(error.error.code))
        assert isinstance(done, Done)
        return Answer(done.outcome, done.status and str(done.status), done.queue_position)

    async def submit(self, script: str, parameters: Fields, key: str) -> tuple[str, str]:
        request = Submit.model_validate({"script": script, "parameters": parameters, "id": key})
        try:
            done = await self._asker.ask("submit", request, admin=self._admin, timeout=30)
        except ContractError as error:
            return str(error.error.code), ""
        assert isinstance(done, Submitted)
        return str(done.status), done.experiment_id


class RestDoor:
    """Calls of the portal."""

    name = "rest"

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def ask(self, verb: str, **fields: object) -> Answer:
        method, path, query, body = _call(verb, dict(fields))
        answer = await self.client.request(method, path, params=query, json=body)
        if answer.status_code == 200:
            said = answer.json()
            return Answer(said["outcome"], said["status"], said["queue_position"])
        return Answer(_refused(answer))

    async def submit(self, script: str, parameters: Fields, key: str) -> tuple[str, str]:
        answer = await self.client.post(
            "/api/experiments/start",
            json={"script_content": script, "parameters": parameters},
            headers={"Idempotency-Key": key},
        )
        if answer.status_code == 200:
            return answer.json()["status"], answer.json()["experiment_id"]
        return _refused(answer), ""


class CommandLineDoor:
    """Commands of the command line, as its program runs them."""

    name = "cli"

    def __init__(self, settings: BrokerSettings, directory: Path) -> None:
        assert settings.password is not None
        self._config = directory / "cli.toml"
        lines = (
            "[broker]",
            f'url = "{settings.url}"',
            f'username = "{settings.username}"',
            f'password = "{settings.password.get_secret_value()}"',
        )
        write_private(self._config, "\n".join(lines))

    async def ask(self, verb: str, **fields: object) -> Answer:
        code, said = await self.run(_words(verb, dict(fields)))
        return Answer(code or said["outcome"], said.get("status"), said.get("queue_position"))

    async def submit(self, script: str, parameters: Fields, key: str) -> tuple[str, str]:
        given = [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]
        code, said = await self.run(["submit", "-", "--request-id", key, *given], script)
        return (code, "") if code else (said["status"], said["experiment_id"])

    async def run(self, words: list[str], stdin: str = "") -> tuple[str, dict[str, Any]]:
        """Return an error's code or nothing, and what was printed."""
        options = ["--json", "--config", str(self._config)]
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, *options], input=stdin)
        if done.exit_code == 0:
            return "", json.loads(done.stdout)
        code = ErrorCode(json.loads(done.stderr)["error"]["code"])
        assert done.exit_code == EXIT_CODES[code]
        return str(code), {}

    async def text(self, words: list[str]) -> str:
        """Return what people are shown."""
        options = ["--config", str(self._config)]
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, *options])
        assert done.exit_code == 0, done.output
        return str(done.stdout)


def _refused(answer: httpx.Response) -> str:
    """Return the error's code, which must go with its status."""
    said = answer.json()
    code = ErrorCode(said["error"]["code"])
    assert answer.status_code == HTTP_STATUS[code]
    assert said["detail"]
    return str(code)


def _call(verb: str, fields: dict[str, object]) -> tuple[str, str, Mapping[str, str], object]:
    experiment = f"/api/experiments/{fields.pop('experiment_id', '')}"
    node = f"/api/nodes/{fields.pop('node', '')}"
    match verb:
        case "move":
            position = fields.pop("position", None)
            places = {"new_position": position, **fields}
            query = {key: str(value) for key, value in places.items() if value is not None}
            return "POST", f"{experiment}/reorder", query, None
        case "delete":
            return "DELETE", experiment, {}, None
        case "annotate":
            return "PATCH", experiment, {}, fields
        case "send":
            return "POST", f"{experiment}/parameters", {}, fields
        case "drain-node" | "resume-node" | "declare-dead":
            return "POST", f"{node}/{verb.removesuffix('-node')}", {}, fields or None
        case "limits" | "retention":
            return "POST", f"/api/queue/{verb}", {}, {"days": None, **fields}
        case _ if verb.endswith("-queue"):
            return "POST", f"/api/queue/{verb.removesuffix('-queue')}", {}, None
        case _:
            return "POST", f"{experiment}/{verb}", {}, fields or None


def _words(verb: str, fields: dict[str, object]) -> list[str]:
    experiment, node = str(fields.pop("experiment_id", "")), str(fields.pop("node", ""))
    options = [
        word
        for key, value in fields.items()
        for word in (f"--{key.replace('_', '-')}", str(value))
        if key not in {"parameters", "power_is_off", "days"}
    ]
    match verb:
        case "move":
            return ["move", experiment, *["--to" if w == "--position" else w for w in options]]
        case "restore":
            return ["restore", experiment, "--admin"]
        case "delete":
            return ["delete", experiment, "--yes", "--admin"]
        case "send":
            parameters = fields["parameters"]
            assert isinstance(parameters, dict)
            return ["send", experiment, *(f"{k}={v}" for k, v in parameters.items())]
        case "drain-node" | "resume-node":
            return ["reactor", verb.removesuffix("-node"), node]
        case "declare-dead":
            said = ["--power-is-off"] if fields.get("power_is_off") else []
            return ["reactor", "declare-dead", node, *said]
        case "limits":
            return ["queue", "limits", *options]
        case "retention":
            days = fields.get("days")
            return ["queue", "retention", *(["--days", str(days)] if days else ["--forever"])]
        case _ if verb.endswith("-queue"):
            return ["queue", verb.removesuffix("-queue")]
        case _:
            return [verb, experiment, *options]
