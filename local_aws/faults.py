"""Makes chosen requests to the local AWS fail or wait, before they reach moto. For tests.

A request is chosen by what its HTTP head shows: service, operation, and for S3 the key. Depends on
neither moto nor boto3.
"""

import json
import re
import socket
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_S3_OBJECT = {
    "PUT": "PutObject",
    "GET": "GetObject",
    "HEAD": "HeadObject",
    "DELETE": "DeleteObject",
}
_REASONS = {500: "Internal Server Error", 503: "Service Unavailable", 429: "Too Many Requests"}


@dataclass
class Fault:
    """Requests still to fail; `hits` counts those that did.

    Each is answered after `delay_s` with `status` and `code`; with `drop` its connection is closed
    without an answer instead. With `done` it takes effect all the same: only its answer is lost.
    """

    service: str
    operation: str
    key_prefix: str = ""
    times: int = 1
    status: int = 503
    code: str = "ServiceUnavailable"
    drop: bool = False
    done: bool = False
    delay_s: float = 0.0
    hits: int = 0


class Faults:
    """WSGI middleware: answers a request that is to fail, and passes the others on."""

    def __init__(self, app: WsgiApp) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        fault = self._fault_for(environ) if self._faults else None
        if fault is None:
            return self._app(environ, start_response)
        if fault.done:
            for _ in self._app(environ, lambda *_: None):
                pass
        else:  # read the body, as moto would have: the answer follows the whole request
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        time.sleep(fault.delay_s)
        if fault.drop:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("a test asked for it")
        reason = _REASONS.get(fault.status, "Error")
        message = "a fault that a test asked for"
        if fault.service == "s3":
            kind = "application/xml"
            text = f"<Error><Code>{fault.code}</Code><Message>{message}</Message></Error>"
        else:
            kind = "application/json"
            text = json.dumps({"__type": fault.code, "message": message})
        body = b"" if environ["REQUEST_METHOD"] == "HEAD" else text.encode()
        headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        headers += [("x-amzn-ErrorType", fault.code), ("x-amzn-RequestId", str(uuid.uuid4()))]
        start_response(f"{fault.status} {reason}", headers)
        return [body]

    def _fault_for(self, environ: dict[str, Any]) -> Fault | None:
        service, operation, key = _asked(environ)
        with self._lock:
            for fault in self._faults:
                same = (fault.service, fault.operation) == (service, operation)
                if fault.times > 0 and same and key.startswith(fault.key_prefix):
                    fault.times -= 1
                    fault.hits += 1
                    return fault
        return None


def _asked(environ: dict[str, Any]) -> tuple[str, str, str]:
    """Service, operation and (S3) key of a request; "" for what cannot be told from its head."""
    # A signed request names its service: Credential=KEY/DATE/REGION/SERVICE/aws4_request.
    scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    service = scope[1] if scope else ""
    path = environ.get("PATH_INFO", "")
    if service == "s3":
        _, _, key = path.lstrip("/").partition("/")
        return service, _s3_operation(environ, key), key
    if service == "lambda" and path.endswith("/invocations"):
        return service, "Invoke", ""
    return service, environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2], ""


def _s3_operation(environ: dict[str, Any], key: str) -> str:
    method = environ["REQUEST_METHOD"]
    query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    if not key:
        return "ListObjectsV2" if method == "GET" and "list-type" in query else ""
    if method == "PUT" and "HTTP_X_AMZ_COPY_SOURCE" in environ:
        return "CopyObject"
    if method == "PUT" and "uploadId" in query:
        return "UploadPart"
    if {"tagging", "acl", "uploadId", "uploads"} & query.keys():
        return ""
    return _S3_OBJECT.get(method, "")
