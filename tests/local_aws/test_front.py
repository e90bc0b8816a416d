"""The front of the local AWS, each of its rules alone: the rest of the request is a good one."""

from __future__ import annotations

from typing import Any

import pytest

from local_aws.front import Front, only_backends_in_use

GOOD = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/music/a-moto-api.mid",
    "HTTP_HOST": "127.0.0.1:4566",
    "HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential=AKIA/20260102/us-east-1/s3/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=00ff",
}


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Access-Control-Allow-Origin", "*"), ("ETag", "1")])
    return [b"moto's answer"]


def answered(served: Any, environ: dict[str, str]) -> tuple[str, dict[str, str], str]:
    """Status, headers and body."""
    heads: list[Any] = []
    body = b"".join(served(environ, lambda status, headers: heads.append((status, headers))))
    ((status, headers),) = heads
    return status, dict(headers), body.decode()


def test_signed_request_of_a_client_is_passed_on_and_shared_with_no_page() -> None:
    assert answered(Front(app, 4566), GOOD) == ("200 OK", {"ETag": "1"}, "moto's answer")


def test_clients_do_not_name_the_port_80() -> None:
    assert answered(Front(app, 80), GOOD | {"HTTP_HOST": "127.0.0.1"})[0] == "200 OK"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"HTTP_HOST": "localhost:4566"}, "Host"),
        ({"HTTP_HOST": "127.0.0.1"}, "Host"),
        ({"HTTP_HOST": "127.0.0.1:4566,rebound.example"}, "Host"),  # two headers
        ({"HTTP_HOST": "moto-api.127.0.0.1:4566"}, "Host"),
        ({"HTTP_HOST": ""}, "Host"),
        ({"HTTP_ORIGIN": "http://127.0.0.1:4566"}, "web pages"),
        ({"HTTP_ORIGIN": "null", "REQUEST_METHOD": "OPTIONS"}, "web pages"),
        ({"HTTP_SEC_FETCH_MODE": "no-cors"}, "web pages"),
        ({"PATH_INFO": "/moto-api/data.json"}, "moto's own pages"),
        ({"PATH_INFO": "//MOTO-API"}, "moto's own pages"),
        ({"PATH_INFO": "/./%6Doto-api/"}, "moto's own pages"),
        ({"PATH_INFO": "/SimpleNotificationService-1.pem"}, "moto's own pages"),
        ({"HTTP_AUTHORIZATION": ""}, "without a signature"),
        ({"HTTP_AUTHORIZATION": "Basic AWS4-HMAC-SHA256 "}, "without a signature"),
        ({"HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 "}, "without a signature"),
        ({"HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential=AKIA"}, "without a signature"),
    ],
)
def test_other_requests_are_refused(changed: dict[str, str], reason: str) -> None:
    status, headers, body = answered(Front(app, 4566), GOOD | changed)

    assert (status, headers["Content-Type"]) == ("403 Forbidden", "text/plain")
    assert reason in body
    assert body.count("\n") == 1


@pytest.mark.parametrize("backend", ["moto_api", "instance_metadata", "cognitoidp", None])
def test_backend_that_nobody_uses_is_refused(backend: str | None) -> None:
    make = only_backends_in_use(lambda _: app)

    assert answered(make(backend), GOOD)[0] == "403 Forbidden"
    assert answered(make("s3"), GOOD)[0] == "200 OK"
