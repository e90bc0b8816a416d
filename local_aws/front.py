"""Refuses what the clients of the local AWS never send, before anything else sees it.

Other users of the machine can reach the server's port, and so can web pages that its user visits.
moto checks the signature of a request to a service, but it also serves pages of its own without
one: below /moto-api, keys can be read and all state can be wiped. It serves every Host and lets web
pages read its answers. So a request must name the server as the project's clients do, must not come
from a web page, and must carry a signature; and of moto's backends only the services that the
project uses are served. Whether the signature is right, moto decides. Depends on neither moto nor
IAM.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from local_aws.faults import WsgiApp

# moto's names of the services that the project, its state machines and its tests use.
BACKENDS = {
    *("awslambda", "cloudfront", "cloudwatch", "events", "iam", "logs", "s3"),
    *("scheduler", "sns", "sqs", "stepfunctions", "sts"),
}
# Parts of paths that moto answers without a signature: its own pages, and SNS's certificate.
UNCHECKED_PATHS = ("/moto-api", "/simplenotificationservice-")

# A whole one: moto reads parts of half a signature, and fails with an error of its own.
SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[\w-]+/\d{8}/[\w-]+/[\w-]+/aws4_request, ?"
    r"SignedHeaders=[\w;-]+, ?Signature=[0-9a-f]+"
)


class Front:
    """WSGI middleware: answers 403 or passes a request on."""

    def __init__(self, app: WsgiApp, port: int) -> None:
        self._app, self._closed = app, False
        # Clients leave out HTTP's own port.
        self._host = f"127.0.0.1:{port}".removesuffix(":80")

    def close(self) -> None:
        """Refuse everything from now on: what is behind is being taken apart."""
        self._closed = True

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        reason = self._reason_against(environ)
        if reason:
            return refuse(start_response, reason)

        def start_unshared(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            kept = [pair for pair in headers if not pair[0].lower().startswith("access-control-")]
            return start_response(status, kept, *more)

        return self._app(environ, start_unshared)

    def _reason_against(self, environ: dict[str, Any]) -> str | None:
        if self._closed:
            return "it is shutting down"
        # A name that someone else controls can be made to lead to 127.0.0.1 (DNS rebinding).
        if environ.get("HTTP_HOST") != self._host:
            return f"the Host must be {self._host}"
        # Browsers add these headers to the requests of web pages.
        if "HTTP_ORIGIN" in environ or any(name.startswith("HTTP_SEC_FETCH_") for name in environ):
            return "web pages are not served"
        # The server has decoded the path once. Decode it again, should anything behind do so.
        path = unquote(environ["PATH_INFO"]).lower()
        if any(part in path for part in UNCHECKED_PATHS):
            return "moto's own pages are not served"
        if not SIGNATURE.fullmatch(environ.get("HTTP_AUTHORIZATION", "")):
            return "requests without a signature are not served"
        return None


def refuse(start_response: Callable[..., Any], reason: str) -> Iterable[bytes]:
    body = f"local AWS: {reason}\n".encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("403 Forbidden", headers)
    return [body]


def only_backends_in_use(make_app: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`make_app`, which makes the app of one of moto's backends, with all others refused.

    moto chooses the backend by the path, the signature or the body. It has backends that check no
    signature, such as the instance metadata, which it chooses by the path alone.
    """

    def make(backend: str | None) -> Any:
        if backend in BACKENDS:
            return make_app(backend)
        return lambda _, start_response: refuse(
            start_response, f"the service {backend} is not served"
        )

    return make
