"""Styles, scripts and pictures, read once and served under the digest of their bytes.

Promises: an address with the right digest may be kept for ever, one without is asked again by its ETag; nothing
outside the folder can be named; libraries that were not built are told by `missing`, and break nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from penstock.console.security import PREFIX
from penstock.kernel.errors import NotFound

FOLDER: Final = Path(__file__).parent / "static"
LIBRARIES: Final = ("vendor/htmx.js", "vendor/sse.js", "vendor/chart.js")
_KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, their digest and media type."""

    body: bytes
    digest: str
    kind: str


class Assets:
    """The static files, by their name below the folder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Read every file of a known kind below `folder`."""
        self._files = dict(_read(folder))

    @property
    def missing(self) -> tuple[str, ...]:
        """The libraries that the build has not laid out."""
        return tuple(name for name in LIBRARIES if name not in self._files)

    def url(self, name: str) -> str:
        """Return the address of a file; of a library that is missing, one that answers 404."""
        asset = self._files.get(name)
        return f"{PREFIX}/static/{asset.digest if asset else '0'}/{name}"

    def serve(self, request: Request) -> Response:
        """Answer a request for one file. Raises NotFound."""
        asset = self._files.get(request.path_params["name"])
        if asset is None:
            raise NotFound("There is no such file.", field="path", value=request.url.path[:200])
        tag = f'"{asset.digest}"'
        current = request.path_params["digest"] == asset.digest
        headers = {"etag": tag, "cache-control": _FOREVER if current else "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(asset.body, headers=headers, media_type=asset.kind)


def _read(folder: Path) -> Iterator[tuple[str, Asset]]:
    for path in sorted(folder.rglob("*")):
        kind = _KINDS.get(path.suffix)
        if kind is not None and path.is_file():
            body = path.read_bytes()
            yield (
                path.relative_to(folder).as_posix(),
                Asset(body, hashlib.sha256(body).hexdigest()[:16], kind),
            )
