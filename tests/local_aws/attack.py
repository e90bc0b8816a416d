"""What another user of the machine, or a web page in a browser on it, may try on a local AWS.

test_shared_machine.py runs this text with `python3 -c TEXT JSON` as another user, so it needs only
the standard library. For each kind of attack it prints what was tried and what came of it, as JSON:
the status of an HTTP answer, with the headers that share it with web pages, or an exception's name.
"""

import http.client
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tries = list[tuple[str, str]]

# moto's own pages, which need no signature, in spellings that a check of the path may miss.
MOTO_PAGES = [
    "/moto-api/",
    "/moto-api/data.json",
    "//moto-api/data.json",
    "/./moto-api/data.json",
    "/x/../moto-api/data.json",
    "/MOTO-API/data.json",
    "/%6Doto-api/data.json",
    "/%256Doto-api/data.json",
    "/moto-api%2Fdata.json",
    "/music/%2e%2e/moto-api/data.json",
    "/latest/meta-data/iam/security-credentials/default-role",
    "/latest/api/token",
    "/favicon.ico",
]
MOTO_COMMANDS = ["/moto-api/reset", "/moto-api/reset-auth", "/moto-api/config", "/moto-api/seed"]
# moto checks no signature if this header names one of Cognito's public operations.
PUBLIC = {"X-Amz-Target": "AWSCognitoIdentityService.GetId"}
RUNTIME = "/2018-06-01/runtime"


def forged(service: str) -> dict[str, str]:
    """A signature with an invented key. moto chooses the service by it."""
    scope = f"AKIAEXAMPLEEXAMPLE12/20260102/us-east-1/{service}/aws4_request"
    return {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00",
        "X-Amz-Date": "20260102T030405Z",
    }


class Target:
    """A port of 127.0.0.1, and what came of the requests to it."""

    def __init__(self, port: int) -> None:
        self.port, self.came = port, Tries()

    def ask(
        self,
        request: str,
        headers: dict[str, str] | None = None,
        body: str = "",
        host: str | None = None,
    ) -> None:
        """Send "METHOD PATH" as it stands."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3)
        given = {"Host": host or f"127.0.0.1:{self.port}", **(headers or {})}
        try:
            method, path = request.split(" ")
            connection.putrequest(method, path, skip_host=True)
            for name, value in {**given, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body.encode() or None)
            answer = connection.getresponse()
            shares = [name for name in answer.headers if name.lower().startswith("access-control")]
            came = " ".join([str(answer.status), *shares])
        except (OSError, http.client.HTTPException) as error:
            came = type(error).__name__
        finally:
            connection.close()
        self.came.append((f"{request} {given}", came))


def attack_aws(port: int) -> Tries:
    """Without a key, so with no signature or a forged one."""
    aws = Target(port)
    for signed in ({}, forged("s3"), forged("motoapi")):
        for page in MOTO_PAGES:
            aws.ask(f"GET {page}", signed)
        for command in MOTO_COMMANDS:
            aws.ask(f"POST {command}", signed, "{}")
    aws.ask("GET /iam/security-credentials/default-role", forged("169.254.169.254"))
    aws.ask("GET /us-east-1_pool/.well-known/jwks.json", forged("cognito-idp"))
    aws.ask("GET /SimpleNotificationService-1.pem", forged("sns"))

    scheme, scope, *_ = forged("s3")["Authorization"].split(" ")
    for half in ("", f"{scheme} ", f"{scheme} Credential=AKIA", f"{scheme} {scope}"):
        aws.ask("GET /music/kept", {"Authorization": half})
    aws.ask("GET /moto-api/", {"X-Forwarded-Host": f"127.0.0.1:{port}"}, host="rebound.example")
    others = (f"[::1]:{port}", f"127.1:{port}", f"127.0.0.1:{port + 1}", f"a@127.0.0.1:{port}")
    for host in ("rebound.example", f"rebound.example:{port}", "motoapi.amazonaws.com", *others):
        aws.ask("GET /moto-api/data.json", host=host)
        aws.ask(f"GET http://{host}/moto-api/data.json")
        aws.ask("GET /music/kept", forged("s3"), host=host)
    for origin in (f"http://127.0.0.1:{port}", "https://page.example", "null"):
        aws.ask("GET /moto-api/data.json", {"Origin": origin})
        aws.ask("GET /music/kept", {"Origin": origin, **forged("s3")})
        aws.ask("OPTIONS /music/kept", {"Origin": origin, "Access-Control-Request-Method": "PUT"})
    aws.ask("GET /music/kept", {"Sec-Fetch-Site": "cross-site", **forged("s3")})

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    make_user = "Action=CreateUser&UserName=intruder&Version=2010-05-08"
    for more in ({}, PUBLIC):
        aws.ask("POST /", {**form, **more}, make_user)
        aws.ask("POST /", {**form, **more, **forged("iam")}, make_user)
        for request in ("GET /", "HEAD /music", "GET /music/kept", "DELETE /music/kept"):
            aws.ask(request, more)
            aws.ask(request, {**more, **forged("s3")})
    functions = "/2015-03-31/functions"
    for request in (f"GET {functions}/", f"POST {functions}/tiny/invocations"):
        aws.ask(request)
        aws.ask(request, forged("lambda"))
    return aws.came


def attack_runtime_api(port: int) -> Tries:
    """Answer in a function's place, and take its next event."""
    api = Target(port)
    for root in (RUNTIME, f"/guess{RUNTIME}", f"//{RUNTIME}", ""):
        for call in ("init/error", "invocation/1/response", "invocation/1/error"):
            api.ask(f"POST {root}/{call}")
        api.ask(f"GET {root}/invocation/next")
    return api.came


def attack_files(paths: list[str]) -> Tries:
    came = Tries()
    for path in paths:
        try:
            found = list(Path(path).iterdir()) if Path(path).is_dir() else Path(path).read_bytes()
            came.append((path, f"read {len(found)}"))
        except OSError as error:
            came.append((path, type(error).__name__))
    return came


def main() -> None:
    attacks: dict[str, Callable[[Any], Tries]] = {
        "aws": attack_aws,
        "runtime_api": attack_runtime_api,
        "files": attack_files,
    }
    targets = json.loads(sys.argv[1])
    print(json.dumps({name: attacks[name](target) for name, target in targets.items()}))


if __name__ == "__main__":
    main()
