"""Serves a folder on 127.0.0.1 as CloudFront does: with parts of files, and 404.html."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".mp3": "audio/mpeg",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, *arguments: Any) -> None:
        self._folder = folder
        super().__init__(*arguments)

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].strip("/") or "index.html"
        path = self._folder / name
        found = path.is_file() and path.resolve().is_relative_to(self._folder.resolve())
        path = path if found else self._folder / "404.html"
        body = path.read_bytes()
        size = len(body)
        status, headers = (200 if found else 404), {"Accept-Ranges": "bytes"}
        # A browser seeks in a sound by asking for the rest of it.
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), int(match[2] or size - 1)
            body = body[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{size}"
            status = 206
        self.send_response(status)
        headers["Content-Type"] = TYPES.get(path.suffix, "application/octet-stream")
        headers["Content-Length"] = str(len(body))
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Tests need no log of requests."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address of the folder, without a slash at its end."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, folder)) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
