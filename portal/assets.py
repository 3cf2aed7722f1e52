"""Static files: hashed addresses that browsers may keep for ever, sent compressed."""

import hashlib
import mimetypes
import re
from http import HTTPStatus
from pathlib import Path
from typing import Final

import orjson
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from portal.conditional import matches
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
_MODULES: Final = "modules.json"
"""Which chunks each module imports, as the build says."""
_KEEP: Final = "public, max-age=31536000, immutable"


class Assets:
    """Serves a folder; each file under an address that changes with its content.

    The folder is read again when it was built anew: the build replaces it as a whole.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built_at: int | None = None
        self._digests: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._imports: dict[str, list[str]] = {}

    @property
    def built(self) -> bool:
        """Whether there is anything to serve."""
        return self._folder.is_dir()

    def url(self, name: str) -> str:
        """Return the address of a file, with its hash; without one if the file is missing."""
        self._refresh()
        return self._addresses.get(name) or f"/static/{name}"

    def chunks(self, module: str) -> list[str]:
        """Return the addresses of what a page's module imports, as it names them itself."""
        self._refresh()
        return [f"/static/{name}" for name in self._imports.get(module, ())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a file; mounted at `/static`."""
        name = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        self._refresh()
        digest = self._digests.get(name)
        if digest is None:
            response = error_response(not_found("this file").error)
        else:
            response = self._respond(scope, name, digest)
        await response(scope, receive, send)

    def whole(self, name: str) -> Response:
        """Return a file for an address of its own, to be asked for anew each time."""
        self._refresh()
        if name not in self._digests:
            return error_response(not_found("this file").error)
        headers = {"Cache-Control": "no-cache", "ETag": f'"{self._digests[name]}"'}
        body = (self._folder / name).read_bytes()
        return Response(body, headers=headers, media_type=media_type(name))

    def _respond(self, scope: Scope, name: str, digest: str) -> Response:
        request = Headers(scope=scope)
        wanted = QueryParams(scope["query_string"]).get("v")
        keep = wanted == digest or _NAMED_BY_CONTENT.search(name) is not None
        headers = {
            "ETag": f'"{digest}"',
            "Cache-Control": _KEEP if keep else "no-cache",
            "Vary": "Accept-Encoding",
        }
        if matches(request.get("if-none-match", ""), headers["ETag"]):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        accepted = request.get("accept-encoding", "")
        packed = name
        for encoding, suffix in _ENCODINGS:
            if encoding in accepted and name + suffix in self._digests:
                packed = name + suffix
                headers["Content-Encoding"] = encoding
                break
        body = (self._folder / packed).read_bytes()
        return Response(body, headers=headers, media_type=media_type(name))

    def _refresh(self) -> None:
        """Read the folder's files, if it is another than the one read last."""
        try:
            built_at = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            built_at = None
        if built_at == self._built_at:
            return
        self._built_at = built_at
        self._digests = {
            path.relative_to(self._folder).as_posix(): _digest(path)
            for path in sorted(self._folder.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }
        modules = self._folder / _MODULES
        self._imports = orjson.loads(modules.read_bytes()) if modules.is_file() else {}
        self._addresses = {
            name: f"/static/{name}?v={digest}" for name, digest in self._digests.items()
        }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def media_type(name: str) -> str:
    """Return the type that a browser shall take a static file for."""
    suffix = Path(name).suffix
    return _TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
