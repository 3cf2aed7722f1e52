"""Small pure parts: ranges, rates, parameters, examples, static files, the reference."""

import ast
import asyncio
import base64
import shlex
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from broker.messages import MAX_FETCH_BYTES, ContractError, Fetched, ParameterInfo
from broker.pace import Bucket
from portal.assets import Assets
from portal.downloads import Downloads, Span, disposition, parse_range
from portal.examples import load_examples
from portal.metrics import Measured, RequestFigures
from portal.parameters import changes
from portal.ratelimit import MAX_KEYS, RateLimit
from portal.reference import groups_of
from portal.security import same_origin
from portal.settings import PortalSettings
from portal.upload_form import parse_as


@given(st.text(max_size=40), st.integers(0, 10**6))
def test_any_range_is_inside_the_file(text: str, size: int) -> None:
    span = parse_range(text, size)
    assert span is None or 0 <= span.start <= span.stop <= size


@given(st.integers(0, 10**4), st.integers(0, 10**4), st.integers(1, 10**4))
def test_ranges_mean_what_rfc_9110_says(first: int, last: int, size: int) -> None:
    span = parse_range(f"bytes={first}-{last}", size)
    if last < first:
        assert span == Span(0, size)
    elif first >= size:
        assert span is None
    else:
        assert span == Span(first, min(size, last + 1))
    tail = parse_range(f"bytes=-{last}", size)
    assert tail == (Span(max(0, size - last), size) if last else None)


@given(
    st.integers(0, 3 * MAX_FETCH_BYTES // 1000),
    st.integers(0, 3 * MAX_FETCH_BYTES // 1000),
    st.data(),
)
def test_pieces_are_exactly_the_span(size: int, cut: int, data: st.DataObject) -> None:
    size, start = size * 1000, min(size, cut) * 1000
    content = bytes(i % 251 for i in range(size))
    delays = data.draw(st.lists(st.integers(0, 3), min_size=4, max_size=4))

    async def fetch(offset: int, length: int) -> Fetched:
        for _ in range(delays[offset // MAX_FETCH_BYTES % 4]):
            await asyncio.sleep(0)
        piece = content[offset : offset + length]
        return Fetched(offset=offset, size=size, data=base64.b64encode(piece).decode())

    async def collect() -> bytes:
        pieces = Downloads().pieces(Span(start, size), size, fetch)
        return b"".join([piece async for piece in pieces])

    assert asyncio.run(collect()) == content[start:]


@given(st.text(max_size=60))
def test_file_names_cannot_break_the_header(name: str) -> None:
    header = disposition(name.encode("utf-8", "replace").decode())
    assert header.startswith("attachment; ")
    assert header.isascii()
    assert "\r" not in header
    assert "\n" not in header
    assert header.count('"') == 2


def test_a_bucket_allows_a_burst_and_then_its_rate() -> None:
    bucket = Bucket(10.0, 20.0)
    assert sum(bucket.take(0.0) == 0 for _ in range(50)) == 20
    assert bucket.take(0.0) == pytest.approx(0.1)
    assert sum(bucket.take(1.0) == 0 for _ in range(50)) == 10


def test_rate_limits_are_apart_and_their_number_is_bounded() -> None:
    now = 0.0
    limit = RateLimit(1.0, lambda: now, burst_seconds=1.0)
    assert limit.wait_of("a") == 0
    assert limit.wait_of("a") > 0
    assert limit.wait_of("b") == 0
    for n in range(MAX_KEYS + 10):
        limit.wait_of(f"k{n}")
    assert len(limit._buckets) == MAX_KEYS


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [
        (0.5, "1", 1.0),
        (0.5, "1e-3", 0.001),
        (3, "4", 4),
        (3, "0.5", 0.5),
        (True, "No", False),
        (False, "1", True),
        ("a", "12", "12"),
    ],
)
def test_form_text_takes_the_declared_type(default: Any, text: str, value: object) -> None:
    parsed = parse_as(default, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("default", "text"), [(0.5, "x"), (1, ""), (0.5, "nan"), (1, "inf"), (True, "maybe")]
)
def test_form_text_of_another_type_is_refused(default: Any, text: str) -> None:
    with pytest.raises(ValueError, match="is wanted"):
        parse_as(default, text)


@given(st.sampled_from([True, 1, 0.5, "a"]), st.text(max_size=30))
def test_form_text_never_breaks_anything(default: Any, text: str) -> None:
    try:
        value = parse_as(default, text)
    except ValueError:
        return
    assert ast.literal_eval(repr(value)) == value


def test_examples_come_with_what_their_docstring_says(tmp_path: Path) -> None:
    (tmp_path / "b_two.py").write_text('"""Second: the other one.\n\nIt does\nthis.\n\nMore."""\n')
    (tmp_path / "a-one.py").write_text("x = 1\n")
    (tmp_path / "_hidden.py").write_text("x = 1\n")
    (tmp_path / "broken.py").write_text("def\n")
    (tmp_path / "huge.py").write_text("#" * 300_000)
    found = load_examples(tmp_path)
    assert [(e.id, e.title, e.summary) for e in found] == [
        ("a-one", "A one", ""),
        ("b_two", "Second", "The other one. It does this."),
    ]
    assert load_examples(None) == ()
    assert load_examples(tmp_path / "missing") == ()


def test_static_files_have_an_address_of_their_content(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "app.js").write_text("one")
    (tmp_path / "secret.txt").write_text("no")
    assets = Assets(folder)
    first = assets.url("app.js")
    assert first.startswith("/static/app.js?v=")
    rmtree(folder)
    folder.mkdir()
    (folder / "app.js").write_text("another")
    assert assets.url("app.js") != first
    for outside in ("../secret.txt", "/etc/passwd", "none.js", "a\0b", "", "."):
        assert "?v=" not in assets.url(outside)


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({}, True),
        ({"origin": "http://lab:8000"}, True),
        ({"origin": "https://lab:8000", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "http://lab"}, False),
        ({"origin": "http://lab:8000.evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://[lab"}, False),
        ({"origin": "http://lab:8000", "sec-fetch-site": "same-site"}, False),
    ],
)
def test_origins(headers: dict[str, str], ours: bool) -> None:
    assert same_origin(Headers({"host": "lab:8000", **headers}), "http") is ours


def test_a_page_without_tls_is_another_one_where_there_is_tls() -> None:
    for scheme in ("https", "wss"):
        headers = Headers({"host": "lab", "origin": "http://lab"})
        assert not same_origin(headers, scheme)
        assert same_origin(Headers({"host": "lab", "origin": "https://lab"}), scheme)


def test_a_login_needs_a_password() -> None:
    with pytest.raises(ValidationError, match="at least 8"):
        PortalSettings(admin="login")
    with pytest.raises(ValidationError, match="at least 8"):
        PortalSettings(admin="login", admin_password="short")
    assert PortalSettings(admin="login", admin_password="long enough").admin == "login"


def test_the_reference_shows_how_a_call_is_made() -> None:
    path = {"name": "id", "in": "path", "required": True, "example": "a b", "schema": {}}
    sent = {"application/json": {"schema": {"$ref": "#/x/Loop"}, "example": {"text": "it's"}}}
    document = {
        "paths": {
            "/a/{id}": {
                "patch": {
                    "operationId": "a",
                    "parameters": [path],
                    "requestBody": {"content": sent},
                    "responses": {"200": {}},
                }
            }
        }
    }
    (group,) = groups_of(document, "http://lab")
    (call,) = group.calls
    assert "-X PATCH" in call.curl
    assert "'http://lab/a/a%20b'" in call.curl
    assert shlex.split(call.curl)[-1] == '{"text": "it\'s"}'
    assert call.answer == ""


async def test_requests_are_counted_by_the_methods_that_routes_take() -> None:
    figures = RequestFigures()

    async def answer(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_: Message) -> None:
        """Leave it."""

    for method in ("GET", "HEAD", "POST", "DELETE", "BREW"):
        scope: Scope = {"type": "http", "method": method}
        await Measured(answer, figures)(scope, receive, send)
    counted = [line for line in figures.lines() if "requests_total{" in line]
    assert [line.split('"')[1] for line in counted] == ["DELETE", "GET", "HEAD", "POST", "other"]


def test_a_form_sends_what_was_changed_and_what_it_was() -> None:
    infos = (
        ParameterInfo(name="target", default=0.5),
        ParameterInfo(name="night", default=False),
        ParameterInfo(name="strain", default="MG1655"),
    )
    fields = {
        "param.target": "0.7", "shown.target": "0.5",
        "param.night": "yes", "shown.night": "no",
        "param.strain": "MG1655", "shown.strain": "MG1655", "param.other": "1",
    }  # fmt: skip
    assert changes(infos, fields) == (
        {"target": 0.7, "night": True},
        {"target": 0.5, "night": False},
    )
    with pytest.raises(ContractError, match="target") as refused:
        changes(infos, {"param.target": "lots"})
    assert refused.value.error.details["field"] == "parameters.target"


def test_a_page_names_what_its_module_imports(tmp_path: Path) -> None:
    assert Assets(tmp_path).chunks("home.js") == []
    modules = b'{"home.js": ["chunks/a.js", "chunks/b.js"]}'
    (tmp_path / "modules.json").write_bytes(modules)
    built = Assets(tmp_path)
    assert built.chunks("home.js") == ["/static/chunks/a.js", "/static/chunks/b.js"]
    assert built.chunks("new.js") == []
