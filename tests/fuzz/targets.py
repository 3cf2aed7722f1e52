"""Every parser of foreign bytes: what it is given, and the one way in which it may refuse.

A target takes any bytes and returns; whatever else it raises than its parser's own typed error is
a finding. Seeds are sound inputs, for mutations to begin with.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from pydantic import ValidationError
from starlette.formparsers import MultiPartException

from broker.asyncapi import PAYLOADS
from broker.doorbook import Doorbook
from broker.journal.receiver import parse_batch
from broker.messages import ADMIN_REQUESTS, REQUESTS, ContractError, SortKey, decode, utc_now
from broker.settings import BrokerSettings, SettingsError, load_settings, parse_url
from broker.topics import Topics
from hardware.calibration.record import CalibrationBook, CalibrationFileError
from hardware.channels import Equipment
from hardware.clock import ManualClock
from hardware.configuration.build import Readings, configure
from hardware.configuration.document import ConfigurationError
from hardware.dosebook import DoseBook
from hardware.drivers.board import lines as board
from hardware.drivers.ezo import lines as ezo
from hardware.drivers.ezo import totals
from hardware.drivers.senseair import protocol as senseair
from hardware.drivers.tic import protocol as tic
from hardware.replay.recording import RecordingError, read_recording
from hardware.simulation import actuators, memory
from hub_service import snapshot
from hub_service.checking.queue_file import read_queue
from hub_service.listing import _cursor
from hub_service.queue.state import Entry, Plan, QueueState
from hub_service.scripts.metadata import parse as parse_metadata
from hub_service.scripts.outline import outline_here
from hub_service.storage import StoreError
from node_service import taken
from node_service.gateway_models import DoseRequest, LogRequest, RecordRequest, SetRequest
from node_service.runner import wire
from node_service.runner.docker_logs import LogReader
from node_service.runner.interface import ContainerStatus, LogChunk, RunSpec
from node_service.watchdog import account
from portal.upload_form import FieldError
from portal.websocket import Wish
from tests.fuzz import doors
from tests.support.spoiled import whole

Run = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Target:
    """A parser.

    Attributes:
        run: Gives it the bytes.
        refuses: With what it may refuse them.
        seeds: Sound inputs.
        text: Its bytes are UTF-8: others are refused before it.
    """

    run: Run
    refuses: tuple[type[Exception], ...] = ()
    seeds: Sequence[bytes] = ()
    text: bool = False

    def __call__(self, data: bytes) -> None:
        if self.text:
            try:
                data.decode()
            except UnicodeDecodeError:
                return
        try:
            self.run(data)
        except self.refuses:
            return


_HERE: Final = tempfile.TemporaryDirectory(prefix="fuzz-")
_DEEP: Final = 20_000
NASTY: Final = (
    b"",
    b"[" * _DEEP + b"]" * _DEEP,
    b'{"a":' * _DEEP + b"1" + b"}" * _DEEP,
    b"a = " + b"[" * _DEEP + b"]" * _DEEP,
    b"1" * 5000,
    b"1" * 400,
    b"1e999",
    b"\xff\xfe\x00",
    b"\x00" * 100,
    b"\xf0\x9f\xa7\xab" * 50,
    b"null",
    b"NaN",
)
"""What parsers stumble over most often; each target gets all of it."""


def _file(name: str, read: Callable[[Path], object]) -> Run:
    """Have it parsed as a file."""

    def run(data: bytes) -> None:
        path = Path(_HERE.name) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        read(path)

    return run


def _calibration(path: Path) -> None:
    CalibrationBook(path.parent).history("media")


def _configuration(path: Path) -> None:
    configure(path, clock=ManualClock(), directory=path.parent, readings=Readings())


def _docker(data: bytes) -> None:
    reader = LogReader(None, 1_795_000_000_000_000_000)
    for start in range(0, len(data), 7):
        list(reader.feed(data[start : start + 7]))


def _wire(data: bytes) -> None:
    value = wire.parse(data)
    for kind in (RunSpec, ContainerStatus, LogChunk):
        try:
            wire.decode(kind, value.get("result", value))
        except ValueError:
            continue


def _senseair(data: bytes) -> None:
    frames = senseair.Frames()
    for asked in (senseair.acknowledged(), senseair.write(1, 2)):
        try:
            frames.answer(asked, data)
        except senseair.SenseairReplyError:
            continue


def _tic(data: bytes) -> None:
    for length, parse in ((8, tic.parse_status), (8, tic.parse_motion), (16, tic.parse_settings)):
        for crc in (True, False):
            try:
                parse(tic.answer(data, length, crc=crc))
            except tic.TicReplyError:
                continue


def _board(data: bytes) -> None:
    for line in data.split(b"\n"):
        reply = board.parse(line)
        if reply is not None:
            for name in reply.fields:
                try:
                    board.quantity(reply.fields, name, "degC")
                except board.BoardReplyError:
                    continue


def _ezo(data: bytes) -> None:
    for line in data.split(b"\r"):
        found = ezo.parse(line)
        if isinstance(found, ezo.Values):
            for text in found.texts:
                ezo.number(text)


def _settings(path: Path) -> None:
    load_settings(BrokerSettings, "broker", path)


def _messages() -> Mapping[str, Target]:
    kinds = (*PAYLOADS.values(), *REQUESTS.values(), *ADMIN_REQUESTS.values())
    models = {model.__name__: model for model in kinds}
    return {
        f"message {name}": Target(
            lambda data, model=model: decode(model, data),  # type: ignore[misc]
            (ContractError,),
            [orjson.dumps(whole(model))],
        )
        for name, model in models.items()
    }


def _gateway(data: bytes) -> None:
    for model in (SetRequest, DoseRequest, RecordRequest, LogRequest):
        try:
            model.model_validate_json(data)
        except ValidationError:
            continue


def _queue() -> bytes:
    """Return a queue's file with one experiment that waits."""
    identity = "01JNE5X6T3M9Y2Q8R4V7W0ZEX1"
    plan = Plan(identity, "one", "mqtt:ada", "ada", "a" * 64)
    entry = Entry(plan, 1, utc_now(), utc_now())
    state = QueueState(identity, 1, entries={identity: entry}, order=(identity,))
    about = {"queue": snapshot.about(state, 0)}
    return orjson.dumps({"about": about, "experiments": {identity: snapshot.entry(entry)}})


_FORM: Final = b"""multipart/form-data; boundary=x
--x\r
Content-Disposition: form-data; name="file"; filename="one.py"\r
Content-Type: text/x-python\r
\r
print(1)\r
--x\r
Content-Disposition: form-data; name="param.target"\r
\r
0.5\r
--x--\r
"""
_BATCH: Final = {"epoch": "01JNE5X6T3M9Y2Q8R4V7W0ZEX1", "order": 1, "floor": 1, "first": 1}
_SCRIPT: Final = b"""\
# /// script
# dependencies = ["numpy"]
# [tool.bioreactor]
# name = "one"
# needs = ["od"]
# [tool.bioreactor.parameters]
# target = {default = 0.5, min = 0, max = 4}
# ///
import numpy
"""
_DOSES: Final = b"""{"schema": 1, "at": "2026-02-17T14:26:01+00:00", "volume": 12.5,
 "pumps": {"media": {"total": 1.5, "hour": [[10.0, 0.5]]}}}"""

TARGETS: Final[Mapping[str, Target]] = {
    **_messages(),
    "script connection": Target(
        doors.script_connection,
        (),
        [
            b"GET /v1/clock HTTP/1.1\r\nhost: r\r\n\r\nGET /v1/clock HTTP/1.1\r\nhost: r\r\n\r\n",
            b'POST /v1/log HTTP/1.1\r\nhost: r\r\ncontent-length: 8\r\n\r\n{"a": 1}',
            (
                b"PUT /v1/files/a HTTP/1.1\r\nhost: r\r\ntransfer-encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n0\r\n\r\n"
            ),
        ],
    ),
    "script's call": Target(
        _gateway,
        (),
        [b'{"value": 1, "duration": 2, "id": "a"}', b'{"values": {"a": 1}, "id": "a"}'],
    ),
    "upload form": Target(
        doors.upload,
        (FieldError, MultiPartException),
        [_FORM, b"application/x-www-form-urlencoded\nscript=print%281%29&name=one&param.a=1"],
    ),
    "query": Target(
        doors.query,
        (),
        [
            b"limit=5&offset=1&status=queued&sort=name&order=desc&search=a%20b&page=2",
            b"channel=od&start=2026-02-17T14:26:01Z&end=2026-02-17T15:26:01%2B00:00&points=9",
            b"from=01JNE5X6T3M9Y2Q8R4V7W0ZEX1&example=turbidostat&after=4&who=ada&verb=submit",
        ],
    ),
    "queue file": Target(_file("queue.json", read_queue), (StoreError,), [_queue()]),
    "journal batch": Target(parse_batch, (), [orjson.dumps({**_BATCH, "entries": [{"t": 1}]})]),
    "topic": Target(
        lambda data: Topics().parse(data.decode()), (), [b"bioreactor/nodes/r1/report"], text=True
    ),
    "page cursor": Target(
        lambda data: [_cursor(data.decode(), sort) for sort in SortKey],
        (ContractError,),
        [b"01JNE5X6T3M9Y2Q8R4V7W0ZEX1", b"WyJhIiwiMDFKTkU1WDZUM005WTJROFI0VjdXMFpFWDEiXQ=="],
        text=True,
    ),
    "live wish": Target(
        lambda data: decode(Wish, data),
        (ContractError,),
        [b'{"subscribe": ["queue"], "unsubscribe": ["nodes/+/report"], "ping": 1}'],
    ),
    "script metadata": Target(lambda data: parse_metadata(data.decode()), (), [_SCRIPT], text=True),
    "script table": Target(
        lambda data: parse_metadata(
            "\n".join(["# /// script", *(f"# {x}" for x in data.decode().split("\n")), "# ///"])
        ),
        (),
        [b'dependencies = ["numpy"]\n[tool.bioreactor]\nname = "one"\nneeds = ["od"]\n', b"a = 5"],
        text=True,
    ),
    "script outline": Target(lambda data: outline_here(data.decode()), (), [_SCRIPT], text=True),
    "broker url": Target(
        lambda data: parse_url(data.decode()), (ValueError,), [b"wss://h:1/p?q"], text=True
    ),
    "settings file": Target(
        _file("settings.toml", _settings), (SettingsError,), [b'[broker]\nurl = "mqtt://h:1"\n']
    ),
    "reactor file": Target(
        _file("reactor.toml", _configuration),
        (ConfigurationError,),
        [
            (
                b'label = "R"\n[devices.ph]\ndriver = "ezo-ph"\nport = "/dev/null"\n'
                b'[channels.ph]\ndevice = "ph"\nread = "ph"\n'
            )
        ],
    ),
    "calibration file": Target(
        _file("calibrations/media-20260217T142601Z.json", _calibration),
        (CalibrationFileError,),
        [
            (
                b'{"schema": 1, "channel": "media", "at": "2026-02-17T14:26:01+00:00", "way":'
                b' "volume", "unit": "mL", "points": [{"read": 1, "true": 2}],'
                b' "curve": null, "factor": 1.5, "note": ""}'
            )
        ],
    ),
    "doses file": Target(
        _file("doses.json", lambda p: DoseBook(p, Equipment({}), ManualClock()).load()),
        (),
        [_DOSES],
    ),
    "taken file": Target(
        _file("taken.json", taken.read),
        (ValidationError,),
        [b'[["ada", "one", "2026-02-17T14:26:09Z"]]'],
    ),
    "vial file": Target(_file("vial.json", memory.load), (), [b'{"schema": 1, "culture": {}}']),
    "outputs file": Target(
        _file("outputs.json", actuators.load),
        (),
        [b'{"boot": "", "duty": 1, "stirring": 0, "light": 0, "off_since": null}'],
    ),
    "pump totals": Target(
        _file("totals.json", totals.load), (), [b'{"counted": 1, "moved": 2, "untold": 0}']
    ),
    "watchdog account": Target(_file("account.json", account.take), (), [b'{"at": "", "why": ""}']),
    "door book": Target(
        _file("doors.json", Doorbook), (), [b'{"echoes": {"a": 1}, "tries": {"b": 2}}']
    ),
    "recording": Target(
        _file("run.csv", read_recording),
        (RecordingError,),
        [b"time,elapsed_time,OD_135_V,pump\n09:00:00,0.001,0.05,off\n09:00:20,20.0,0.06,on\n"],
    ),
    "docker log": Target(
        _docker, (), [b"\x01\0\0\0\0\0\0\x23" + b"2026-02-17T14:26:01.000000001Z text\n"]
    ),
    "runner wire": Target(_wire, (ValueError,), [b'{"call": "start", "result": {"t": 1}}']),
    "board line": Target(_board, (), [b"<1 ok temperature=36.9degC*1A2B", b"<- error busy*0000"]),
    "ezo line": Target(_ezo, (), [b"7.123\r*OK\r", b"?T,25.0\r", b"*ER\r"]),
    "tic answer": Target(_tic, (), [bytes([10, 1, 0, 0, 0, 0, 0, 0, 55])]),
    "senseair answer": Target(_senseair, (), [b"\xfe\x04\x02\x01\xc2\x2c\xf5"]),
}
