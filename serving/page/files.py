"""The page at `/`: files that are read once, and that the browser allows nothing from elsewhere."""

from hashlib import sha256
from pathlib import Path

from fastapi import Request, Response

from recsys.serving.problems import Problem

FOLDER = Path(__file__).parent / "static"
_MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' "
    "data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_FILES = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in _MEDIA}
_TAGS = {name: f'"{sha256(content).hexdigest()[:16]}"' for name, content in _FILES.items()}


def page_file(name: str, request: Request) -> Response:
    """A file of the page by its name alone; a Problem where there is none. Nothing else on the disk is looked
    at."""
    if name not in _FILES:
        raise Problem("unknown_route", "The page has no such file.")
    headers = {**HEADERS, "ETag": _TAGS[name], "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == _TAGS[name]:
        return Response(status_code=304, headers=headers)
    return Response(_FILES[name], headers=headers, media_type=_MEDIA[Path(name).suffix])
