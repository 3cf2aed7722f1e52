"""Which encoding an answer gets, and that what it says of itself stays true."""

import zlib
from collections.abc import AsyncIterator

import brotli
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from portal.compression import MIN_BYTES, Compressed, preferred
from portal.conditional import Conditional, Headless, is_head, matches

TEXT = "a line of text\n" * 500
_STRONG = {"ETag": '"abc"', "Accept-Ranges": "bytes", "Content-Length": str(3 * len(TEXT))}


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("GZIP;q=1.0, br;q=0.5", "gzip"),
        ("br;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0", None),
        ("*", "br"),
        ("*;q=0", None),
        ("br;q=0, *", "gzip"),
        ("gzip;q=nonsense", None),
        (";;,,;q=", None),
    ],
)
def test_the_encoding_that_is_liked_best(header: str, encoding: str | None) -> None:
    assert preferred(header) == encoding


@pytest.mark.parametrize(
    ("header", "same"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", W/"a"', True),
        ("*", True),
        ("", False),
        ("a", False),
        ('"ab"', False),
    ],
)
def test_tags_are_compared_weakly(header: str, same: bool) -> None:
    assert matches(header, 'W/"a"') is same
    assert matches(header, '"a"') is same


async def _pieces(request: Request) -> Response:
    async def body() -> AsyncIterator[str]:
        for _ in range(3):
            yield TEXT

    return StreamingResponse(body(), media_type="text/csv", headers=_STRONG)


async def _value(request: Request) -> Response:
    return JSONResponse({"text": TEXT, "head": is_head(request)})


async def _secret(request: Request) -> Response:
    return HTMLResponse(TEXT, headers={"Cache-Control": "no-store, no-transform"})


async def _page(request: Request) -> Response:
    return HTMLResponse(TEXT if request.method == "GET" else TEXT * 2)


APP = Starlette(
    routes=[
        Route("/api/pieces", _pieces),
        Route("/api/value", _value, methods=["GET", "POST"]),
        Route("/secret", _secret, methods=["GET", "POST"]),
        Route("/page", _page, methods=["GET", "POST"]),
        Route("/api/small", lambda _: JSONResponse("x" * (MIN_BYTES // 2))),
        Route("/image", lambda _: Response(TEXT, media_type="image/png")),
    ],
    middleware=[Middleware(Compressed), Middleware(Conditional), Middleware(Headless)],
)


async def _ask(path: str, method: str = "GET", **headers: str) -> tuple[httpx.Response, bytes]:
    transport = httpx.ASGITransport(APP)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://portal") as client,
        client.stream(method, path, headers={"accept-encoding": "", **headers}) as answer,
    ):
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    return answer, raw


async def test_brotli_and_gzip_carry_the_same() -> None:
    plain, value = await _ask("/api/value")
    assert "content-encoding" not in plain.headers
    for encoding, unpack in (
        ("br", brotli.decompress),
        ("gzip", lambda data: zlib.decompress(data, 16 + zlib.MAX_WBITS)),
    ):
        answer, raw = await _ask("/api/value", **{"accept-encoding": encoding})
        assert answer.headers["content-encoding"] == encoding
        assert answer.headers["content-length"] == str(len(raw))
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["etag"] == plain.headers["etag"]
        assert len(raw) < len(value) / 10
        assert unpack(raw) == value


async def test_what_streams_is_compressed_as_it_goes() -> None:
    answer, raw = await _ask("/api/pieces", **{"accept-encoding": "gzip"})
    assert zlib.decompress(raw, 16 + zlib.MAX_WBITS).decode() == TEXT * 3
    assert "content-length" not in answer.headers
    assert "accept-ranges" not in answer.headers
    assert answer.headers["etag"] == 'W/"abc"', "other bytes must not pass for a part of these"
    whole, raw = await _ask("/api/pieces", **{"accept-encoding": "gzip", "range": "bytes=1-"})
    assert raw.decode() == TEXT * 3, "who asks for a range gets the bytes that it counts"
    assert whole.headers["etag"] == '"abc"'


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/secret", "GET"),
        ("/secret", "POST"),
        ("/api/value", "POST"),
        ("/api/small", "GET"),
        ("/image", "GET"),
    ],
)
async def test_what_is_not_compressed(path: str, method: str) -> None:
    answer, raw = await _ask(path, method, **{"accept-encoding": "br, gzip"})
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-length"] == str(len(raw))


async def test_a_page_that_answers_a_form_is_compressed() -> None:
    _, raw = await _ask("/page", "POST", **{"accept-encoding": "br"})
    assert brotli.decompress(raw).decode() == TEXT * 2


async def test_who_has_it_already_gets_304() -> None:
    first, _ = await _ask("/api/value")
    assert first.headers["cache-control"] == "private, no-cache"
    again, raw = await _ask("/api/value", **{"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert raw == b""
    assert "content-length" not in again.headers
    assert again.headers["etag"] == first.headers["etag"]
    other, _ = await _ask("/api/value", **{"if-none-match": 'W/"another"'})
    assert other.status_code == 200
    changed, _ = await _ask("/api/value", "POST", **{"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200
    assert "etag" not in changed.headers
    page, _ = await _ask("/page")
    assert "etag" not in page.headers


async def test_head_is_answered_as_get_is() -> None:
    answer, _ = await _ask("/api/value", "HEAD")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) > len(TEXT)
