# ruff: noqa: INP001 - run by its path or with -m, no package
"""Serves the templates with sample laboratories, so that every page can be looked at.

    python -m portal.frontend.dev.preview [PORT]

`?state=` chooses the laboratory: busy (default), new, empty, hub-offline, broker-down, paused,
recovery, estop, alarms, manual, failed, crowded, errors; `?as=guest` shows what somebody sees who
may change nothing. The live connection and the interface answer with samples too. With
`PREVIEW_FROZEN=1` in the environment nothing moves, and it is always the same moment.
"""

import asyncio
import math
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from broker.messages import (
    Error,
    ErrorCode,
    Experiment,
    LogPage,
    Payload,
    ServiceStatus,
    SortKey,
    Status,
    UsersOf,
)
from portal.frontend.dev import records, samples, uploads
from portal.frontend.dev.records import CHANNELS
from portal.known import NodeView
from portal.listing import Page
from portal.markup import pieces
from portal.mine_views import PERIODS, SORTS, Compared, Filters, parameter_rows
from portal.parameters import delivery
from portal.posting import Question
from portal.queue_views import late_move, places_of
from portal.sdk import sdk
from portal.sessions import Session
from portal.timeline import life_of
from portal.upload_form import Upload, read_upload

PORTAL = Path(__file__).parents[2]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


@asynccontextmanager
async def _life(_: FastAPI) -> AsyncIterator[None]:
    yield


app = FastAPI(lifespan=_life)
templates = Environment(
    loader=FileSystemLoader(PORTAL / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)

templates.globals.update(pieces("/static/{}".format), chunks=lambda _: ())


@app.middleware("http")
async def with_policy(request: Request, call_next: Any) -> Response:
    """Answer under the policy that the portal has."""
    response: Response = await call_next(request)
    response.headers["Content-Security-Policy"] = POLICY
    return response


def _context(page: str, state: str, *, guest: bool = False) -> dict[str, Any]:
    hub = {"state": "online", "since": records.NOW, "posture": "running", "posture_reason": ""}
    broker = {"connected": True, "since": records.NOW}
    queue: Any = samples.queue()
    nodes: tuple[NodeView, ...] = samples.LAB
    flash: list[dict[str, str]] = []
    since = records.NOW - timedelta(minutes=23)
    match state:
        case "hub-offline":
            hub |= {"state": "offline", "since": since}
        case "broker-down":
            broker = {"connected": False, "since": since}
            hub |= {"state": "unknown"}
        case "paused" | "recovery" | "draining":
            hub |= {"posture": state, "posture_reason": ""}
            queue = samples.queue(posture=state)
        case "estop" | "alarms":
            nodes = (samples.LAB[0], samples.ESTOPPED, samples.LAB[2])
        case "manual" | "failed":
            nodes = (samples.FREE, samples.REAL, samples.LAB[2])
        case "crowded":
            queue = samples.crowded()
        case "new":
            queue = samples.queue(
                running=(), waiting=(), total_queued=0, total_running=0, total_paused=0
            )
            nodes = (samples.node("reactor-1", "Reactor 1"),)
        case "empty":
            queue, nodes = None, ()
            hub |= {"state": "unknown"}
        case "errors":
            flash = [
                {"kind": "ok", "text": "“Chemostat D = 0.2” is paused.", "hint": ""},
                {"kind": "error", "text": "You have five experiments already.",
                 "hint": "Wait until one ends, or cancel one."},
            ]  # fmt: skip
    return {
        "page": page, "session": Session(samples.ME, "calm-otter", admin=not guest),
        "hub": hub, "broker": broker, "queue": queue, "nodes": list(nodes), "version": "0.1.0",
        "flash": flash, "partial": False, "mishaps": samples.MISHAPS if state == "failed" else (),
    }  # fmt: skip


def _page(request: Request, template: str, page: str, **more: Any) -> HTMLResponse:
    state = request.query_params.get("state", "busy")
    context = _context(page, state, guest=_guest(request))
    text = templates.get_template(template).render(**context, **more)
    return HTMLResponse(text, status_code=more.get("status", 200))


def _guest(request: Request) -> bool:
    return request.query_params.get("as") == "guest"


@app.get("/")
async def home(request: Request) -> Response:
    """Show what runs where."""
    new = request.query_params.get("state") in {"new", "empty"}
    return _page(
        request,
        "home.html",
        "home",
        experiments=[] if new else samples.ALL,
        examples=uploads.EXAMPLES,
    )


@app.get("/upload")
async def upload(request: Request) -> Response:
    """Show the form."""
    given, wrong = uploads.given(request.query_params.get("state", "busy"))
    return _upload(request, given, wrong, "upload.html")


@app.post("/upload")
async def uploaded(request: Request) -> Response:
    """Check as the hub would, or go to an experiment."""
    given = Upload()
    async with request.form() as fields:
        await read_upload(fields, given)
        queued = fields.get("action") != "check"
    found = uploads.found(given, parse_qs(urlsplit(request.headers.get("referer", "")).query))
    if queued and found.checked and found.checked.ok:
        await asyncio.sleep(0.3)
        target = f"/experiment/{samples.RUNNING.experiment_id}"
        return Response(status_code=201, headers={"Location": target})
    return _upload(request, given, found, "_upload_parts.html")


@app.get("/upload/sdk.json")
async def sdk_json() -> Response:
    """Say what the SDK offers."""
    return Response(orjson.dumps(sdk()), media_type="application/json")


def _upload(request: Request, given: Upload, found: uploads.Found, template: str) -> HTMLResponse:
    checked = found.checked
    return _page(
        request, template, "upload", form=given, checked=checked,
        info=checked.script if checked else None, prospect=checked.prospect if checked else None,
        problems=found.problems, errors=found.errors, examples=uploads.EXAMPLES,
        quota={"used": 5 if found.errors.get("form") else 3, "limit": 5},
        sdk_url="/upload/sdk.json",
    )  # fmt: skip


@app.get("/my-experiments")
async def mine(request: Request) -> Response:
    """List experiments."""
    query = request.query_params
    filters = Filters(
        search=query.get("search", ""),
        status=tuple(Status(s) for s in query.getlist("status")),
        sort=SortKey(query.get("sort", "created")),
        everybody=query.get("scope") == "all",
    )
    shown = [
        e for e in samples.ALL
        if (not filters.status or e.status in filters.status)
        and filters.search.lower() in e.name.lower()
    ]  # fmt: skip
    if query.get("state") in {"new", "empty"}:
        shown = []
    page = Page(shown, len(shown), samples.ulid(1) if shown else None)
    if query.get("state") == "hub-offline":
        page = Page(shown[:3])
    return _page(
        request, "my_experiments.html", "my-experiments", list=page, filters=filters,
        periods=PERIODS, sorts=SORTS, deleted=query.getlist("deleted"),
    )  # fmt: skip


@app.get("/experiment/{experiment_id}/annotate")
async def annotate(request: Request, experiment_id: str) -> Response:
    """Ask for name and note; in the state conflict with what somebody else made of it."""
    e = _find(experiment_id)
    crossed = Error(code=ErrorCode.CHANGED_MEANWHILE, message="somebody else changed the note")
    conflict = request.query_params.get("state") == "conflict"
    return _page(
        request, "annotate.html", "my-experiments", experiment=e, name=e.name,
        note="What I wrote" if conflict else e.note, longest={"name": 120, "note": 4000},
        error=crossed if conflict else None, back="/my-experiments",
    )  # fmt: skip


@app.get("/compare")
async def compare(request: Request) -> Response:
    """Compare runs."""
    wanted = [one for part in request.query_params.getlist("ids") for one in part.split(",")]
    runs = [Compared(letter, _find(one)) for letter, one in zip("ABCDEF", wanted, strict=False)]
    return _page(
        request, "compare.html", "my-experiments", runs=runs, missing=0, outlined=0, beyond=0,
        most=6, parameters=parameter_rows(runs),
        channels=[c.model_dump(mode="json") for c in CHANNELS],
    )  # fmt: skip


@app.get("/queue")
async def queue(request: Request) -> Response:
    """Show the queue; in the state conflict with a move that came too late."""
    late = request.query_params.get("state") == "conflict"
    everything = "all" in request.query_params
    conflict = late_move(samples.queue(), [samples.ulid(41)], "before", samples.ulid(60))
    return _page(
        request, "queue.html", "queue", everything=everything, conflict=conflict if late else None,
        audit=None if request.query_params.get("state") == "hub-offline" else samples.audited(),
        before=None,
    )  # fmt: skip


@app.get("/admin")
async def laboratory(request: Request) -> Response:
    """Show how everything is."""
    well = request.query_params.get("state") == "new"
    return _page(
        request, "admin_laboratory.html", "admin", tab="laboratory", login=not well,
        findings=samples.FINDINGS[3:] if well else samples.FINDINGS,
        versions={"portal": "0.1.0", "hub": "0.1.0", "Reactor 1": "0.1.0"},
    )  # fmt: skip


@app.get("/admin/{tab}")
async def admin(request: Request, tab: str) -> Response:
    """Show one of the administrators' pages."""
    state = request.query_params.get("state", "busy")
    known = state not in {"empty", "new"}
    audit = samples.audited()
    return _page(
        request, f"admin_{tab}.html", "admin", tab=tab, login=False, after="", before=None,
        found=None if state == "empty" else UsersOf(users=samples.USERS if known else ()),
        tokens=None if state == "empty" else samples.TOKENS if known else (),
        made=samples.TOKENS[0] if state == "made" else None,
        text="bioreactor_IjAxS0IwMDAwMDAwMDAwMDAwMDAwMDAwMDcwIg.HkZ0y3wq8gT2b5n1", now=records.NOW,
        address="http://127.0.0.1:8000", wrong=None,
        audit=audit if known else audit.model_copy(update={"entries": ()}),
        filters={"who": "", "verb": "move" if state == "busy" else "", "experiment": ""},
    )  # fmt: skip


@app.get("/experiment/{experiment_id}/run-now")
async def run_now(request: Request, experiment_id: str) -> Response:
    """Ask what may be stopped."""
    shown = samples.queue()
    entry = next((e for e in shown.waiting if e.experiment_id == experiment_id), shown.waiting[0])
    nodes = [*samples.LAB[:2], samples.node("reactor-4", "Reactor 4")]
    entry = entry.model_copy(update={"reactors": tuple(n.id for n in nodes)})
    return _page(
        request, "run_now.html", "queue", entry=entry, places=places_of(entry, shown, nodes)
    )  # fmt: skip


@app.post("/experiment/{_}/cancel")
async def cancel(request: Request, _: str) -> Response:
    """Ask whether it is sure."""
    question = Question(
        page="queue", title="Cancel this experiment?", ok="Cancel the experiment", back="/queue",
        text="It is “Chemostat D = 0.2” of calm-otter. It leaves the queue. This cannot be undone.",
    )  # fmt: skip
    return _page(request, "confirm.html", "queue", question=question)


def _find(experiment_id: str) -> Experiment:
    return next((e for e in samples.ALL if e.experiment_id == experiment_id), samples.RUNNING)


@app.get("/experiment/{experiment_id}")
async def experiment(request: Request, experiment_id: str) -> Response:
    """Show one experiment."""
    e = _find(experiment_id)
    lines = records.log_lines(0 if e.started_at is None else 60)
    log = LogPage(lines=lines, last=len(lines), complete=True)
    return _page(
        request, "experiment.html", "experiment", experiment=e,
        script=None if _guest(request) else records.SCRIPT, log=log,
        readings=records.values_at(records.ELAPSED), may_change=not _guest(request),
        results=e.results,
        info=samples.INFO, declared=samples.INFO.parameters, milestones=samples.milestones(e),
        delivery=delivery(samples.milestones(e), e.attempt),
        life=life_of(e, samples.milestones(e), records.NOW),
    )  # fmt: skip


@app.get("/nodes")
async def nodes(request: Request) -> Response:
    """Show the reactors."""
    return _page(request, "nodes.html", "nodes")


@app.get("/nodes/{name}")
async def node(request: Request, name: str) -> Response:
    """Show one reactor."""
    state = request.query_params.get("state", "busy")
    found = [n for n in _context("node", state)["nodes"] if n.id == name]
    ran: Any = [e for e in samples.ALL if e.node == name]
    away = state in {"hub-offline", "broker-down"}
    return _page(
        request, "node.html", "node", node=found[0] if found else samples.LAB[0],
        ran=None if away else ran, alarms=None if away else samples.PAST if ran else (),
        request_id="c",
    )  # fmt: skip


@app.get("/lost")
async def lost(request: Request, status: int = 404) -> Response:
    """Show an error."""
    error = {
        404: Error(
            code=ErrorCode.NOT_FOUND, message="There is no such page",
            hint="It may have been deleted, or the address is wrong.",
        ),
        500: Error(
            code=ErrorCode.INTERNAL, message="the portal made a mistake",
            hint="the log of the portal says more; experiments are not affected",
        ),
        503: uploads.AWAY,
    }[status]  # fmt: skip
    return _page(request, "error.html", "error", status=status, error=error, back=None)


@app.get("/offline")
async def offline() -> Response:
    """Show what browsers keep."""
    return HTMLResponse(templates.get_template("offline.html").render())


@app.get("/sw.js")
async def worker() -> Response:
    """Send the service worker."""
    return FileResponse(PORTAL / "static" / "sw.js", media_type="text/javascript")


def _json(payload: Payload) -> Response:
    return Response(payload.encode(), media_type="application/json")


@app.get("/api/experiments/{experiment_id}/history")
async def history(
    experiment_id: str, points: int = 2000, start: float = 0.0, end: float = records.ELAPSED
) -> Response:
    """Answer with a record: another one for each experiment."""
    other = 0.06 * (int(experiment_id[-2:]) % 5)
    told = records.history(points, start, min(end, records.ELAPSED * (1 - other)))
    traces = {
        name: trace.model_copy(
            update={"v": tuple(None if v is None else v * (1 + other) for v in trace.v)}
        )
        for name, trace in told.traces.items()
    }
    return _json(told.model_copy(update={"traces": traces}))


@app.get("/api/experiments/{_}/logs")
async def logs(_: str, after: int = 0, search: str = "") -> Response:
    """Answer with log lines."""
    lines = tuple(
        line
        for line in records.log_lines()
        if line.n > after and search.lower() in line.text.lower()
    )
    return _json(LogPage(lines=lines, last=60, complete=True, found=len(lines)))


FILES = {
    ".json": ("application/octet-stream", b'{"final_od":0.403,"dilutions":16}'),
    ".csv": (
        "application/octet-stream",
        b"time_s,pump,ml\r\n" + b"".join(b"%d,media,1.0\r\n" % (60 * n) for n in range(400)),
    ),
    ".svg": (
        "image/svg+xml",
        (
            b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 120">'
            b'<script>alert("no")</script>'
            b'<path d="M10 110C90 100 120 20 310 12" fill="none" stroke="teal" stroke-width="3"/>'
            b"</svg>"
        ),
    ),
}


@app.get("/api/experiments/{_}/files/{name:path}")
async def file(_: str, name: str) -> Response:
    """Answer with a result file."""
    kind, content = FILES.get(Path(name).suffix, FILES[".svg"])
    return Response(content, media_type=kind)


@app.get("/api/experiments/user")
async def mine_json() -> dict[str, Any]:
    """List experiments."""
    return {"experiments": [orjson.loads(e.encode()) for e in samples.ALL]}


@app.get("/api/experiments/{_}/script")
async def script(_: str) -> Response:
    """Answer with another script."""
    other = records.SCRIPT.replace("seconds=60", "seconds=30").replace("numpy", "scipy")
    return Response(other, media_type="text/plain")


@app.get("/api/nodes/{_}/history")
async def node_history(
    _: str, start: float, points: int = 200, end: float | None = None
) -> Response:
    """Answer with what a node measured."""
    return _json(records.node_history(start, end or _now().timestamp(), points))


@app.post("/api/{path:path}")
async def command(path: str) -> dict[str, Any]:
    """Say yes to everything."""
    await asyncio.sleep(0.3)
    return {"success": True, "message": f"Done: {path.rpartition('/')[2]}.",
            "experiment_id": samples.RUNNING.experiment_id}  # fmt: skip


async def _live(socket: WebSocket, wanted: set[str]) -> None:
    n, t = 60, records.ELAPSED
    while True:
        await asyncio.sleep(0.2)
        t += 12
        now = datetime.now(UTC).isoformat()
        for node in samples.LAB[:2]:
            if not {"nodes/+/telemetry", f"nodes/{node.id}/telemetry"} & wanted:
                continue
            reading = {
                "t": now, "experiment_id": samples.RUNNING.experiment_id, "elapsed": t,
                "values": records.values_at(t), "series": {},
            }  # fmt: skip
            await socket.send_text(
                orjson.dumps(
                    {"type": "telemetry", "topic": f"nodes/{node.id}/telemetry", "seq": n,
                     "payloads": [reading]}
                ).decode()
            )  # fmt: skip
        if int(t) % 60 < 12 and any(w.endswith("/console") for w in wanted):  # noqa: PLR2004
            n += 1
            line = {
                "n": n,
                "t": now,
                "source": "stdout",
                "text": f"od {records.values_at(t)['od']:.3f}",
            }
            await socket.send_text(
                orjson.dumps(
                    {"type": "console", "topic": "nodes/reactor-1/console", "seq": n,
                     "lines": [line], "experiment_id": samples.RUNNING.experiment_id, "dropped": 0}
                ).decode()
            )  # fmt: skip
        report = samples.LAB[0].report
        if report and report.activity:
            moved = replace_activity(report, t)
            await socket.send_text(
                orjson.dumps(
                    {"type": "change", "topic": "nodes/reactor-1/report", "seq": n,
                     "payload": orjson.Fragment(moved.encode())}
                ).decode()
            )  # fmt: skip


def _now() -> datetime:
    return records.NOW if records.FROZEN else datetime.now(UTC)


async def _silence() -> None:
    """Tell nothing more."""


def replace_activity(report: Any, elapsed: float) -> Payload:
    """Return the report with its experiment further on."""
    activity = report.activity.model_copy(update={"elapsed": elapsed})
    load = 4 + 3 * math.sin(elapsed / 40)
    container = report.container.model_copy(
        update={"cpu_percent": load, "memory": 74_000_000 + int(elapsed * 200)}
    )
    changed: Payload = report.model_copy(
        update={"activity": activity, "container": container, "at": datetime.now(UTC)}
    )
    return changed


@app.websocket("/ws")
async def ws(socket: WebSocket) -> None:
    """Tell live samples."""
    await socket.accept()
    await socket.send_text(
        orjson.dumps(
            {"type": "link", "broker": True, "hub": "online", "since": records.NOW}
        ).decode()
    )
    wanted: set[str] = set()
    told: dict[str, Payload] = {"queue": samples.queue()}
    for node in samples.LAB:
        told[f"nodes/{node.id}/status"] = ServiceStatus(
            state="online" if node.online else "offline", version="0.1.0", boot_id=samples.BOOT,
            since=records.NOW,
        )  # fmt: skip
        if node.report and node.channels:
            told[f"nodes/{node.id}/report"] = node.report
            told[f"nodes/{node.id}/channels"] = node.channels
    sender = asyncio.create_task(_silence() if records.FROZEN else _live(socket, wanted))
    try:
        while True:
            message = await socket.receive_json()
            new = set(message.get("subscribe", []))
            wanted |= new
            for topic, payload in told.items():
                head, _, tail = topic.partition("/")
                pattern = f"{head}/+/{tail.rpartition('/')[2]}" if tail else head
                if topic in new or pattern in new:
                    await socket.send_text(
                        orjson.dumps(
                            {"type": "snapshot", "topic": topic, "seq": 1,
                             "payload": orjson.Fragment(payload.encode())}
                        ).decode()
                    )  # fmt: skip
    except WebSocketDisconnect:
        pass
    finally:
        sender.cancel()


app.mount("/static", StaticFiles(directory=PORTAL / "static"))

if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8123
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
