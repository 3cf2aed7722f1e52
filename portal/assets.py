"""Static files: hashed addresses that browsers may keep for ever, sent compressed."""

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.messages import ContractError
from portal.errors import error_response, not_found

STATIC: Final = Path(__file__).parent / "static"
"""Built from `portal/frontend`; absent in a source tree that was never built."""

_TYPES: Final = {
    ".js": "text/javascript",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
}
_NAMED_BY_CONTENT: Final = re.compile(r"-[A-Z0-9]{8}\.\w+$")
"""How esbuild names chunks and fonts."""
_ENCODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
_KEEP: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Stamp:
    mtime_ns: int
    size: int
    digest: str


class Assets:
    """Serves a folder; each file under an address that changes with its content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._stamps: dict[str, _Stamp] = {}

    @property
    def built(self) -> bool:
        """Whether there is anything to serve."""
        return self._folder.is_dir()

    def url(self, name: str) -> str:
        """Return the address of a file, with its hash; without one if the file is missing."""
        try:
            return f"/static/{name}?v={self._digest(name)}"
        except ContractError:
            return f"/static/{name}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a file; mounted at `/static`."""
        name = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        try:
            response = self._respond(scope, name)
        except ContractError as missing:
            response = error_response(missing.error)
        await response(scope, receive, send)

    def _respond(self, scope: Scope, name: str) -> Response:
        digest = self._digest(name)
        request = Headers(scope=scope)
        wanted = QueryParams(scope["query_string"]).get("v")
        keep = wanted == digest or _NAMED_BY_CONTENT.search(name) is not None
        headers = {
            "ETag": f'"{digest}"',
            "Cache-Control": _KEEP if keep else "no-cache",
            "Vary": "Accept-Encoding",
        }
        if request.get("if-none-match") == headers["ETag"]:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        path = self._path(name)
        accepted = request.get("accept-encoding", "")
        for encoding, suffix in _ENCODINGS:
            packed = path.with_name(path.name + suffix)
            if encoding in accepted and packed.is_file():
                path = packed
                headers["Content-Encoding"] = encoding
                break
        return Response(path.read_bytes(), headers=headers, media_type=media_type(name))

    def _digest(self, name: str) -> str:
        """Return the hash of a file as it is now."""
        path = self._path(name)
        info = path.stat()
        stamp = self._stamps.get(name)
        if stamp is None or (stamp.mtime_ns, stamp.size) != (info.st_mtime_ns, info.st_size):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            stamp = self._stamps[name] = _Stamp(info.st_mtime_ns, info.st_size, digest)
        return stamp.digest

    def _path(self, name: str) -> Path:
        if "\0" not in name:
            path = (self._folder / name).resolve()
            if path.is_relative_to(self._folder) and path.is_file():
                return path
        raise not_found("this file")


def media_type(name: str) -> str:
    """Return the type that a browser shall take a static file for."""
    suffix = Path(name).suffix
    return _TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
