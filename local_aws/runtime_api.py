"""Serves the Lambda Runtime API of one sandbox on 127.0.0.1, to AWS's runtime client.

The client asks for the next invocation and posts its response or its error. Each of these requests
becomes an `Event` in a queue. Every process of the machine can reach the port, so each path must
begin with a secret, which only the client is told: in its environment, which other users cannot
read. Depends on neither processes, limits nor logs.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import queue
import secrets
import socketserver
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

PREFIX = "/2018-06-01/runtime"
# A program that runs AWS's client as `python -m awslambdaric HANDLER` would. In its environment
# AWS_LAMBDA_RUNTIME_API is HOST:PORT/SECRET. The native part of the client, which gets invocations
# and posts results, makes its URLs from that. But `call_rapid`, which reports an error of the init
# phase, takes it for a host and a port, so the secret is moved to the path there.
CLIENT = """\
import runpy
from awslambdaric.lambda_runtime_client import LambdaRuntimeClient as Client

call_rapid = Client.call_rapid

def call_with_secret(client, method, path, *rest):
    address, secret = client.lambda_runtime_address.split("/")
    call_rapid(Client(address), method, f"/{secret}{path}", *rest)

Client.call_rapid = call_with_secret
runpy.run_module("awslambdaric", run_name="__main__", alter_sys=True)
"""
# Python's arguments for it. -P: Python does not look in the current directory; PYTHONPATH has it.
RUN_CLIENT = ("-P", "-c", CLIENT)


class Event(NamedTuple):
    """What a sandbox's process did. The kinds from "exit" on come from sandbox.py itself."""

    kind: Literal["ready", "response", "error", "init_error", "exit", "timeout", "memory"]
    body: bytes = b""


@dataclass(frozen=True)
class Invocation:
    request_id: str
    deadline_ms: int  # since the epoch
    payload: bytes


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's name, which may query a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing if the process was killed in the middle of a request."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class RuntimeApi:
    """Serves until `close`."""

    def __init__(self, function_arn: str) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self._function_arn = function_arn
        self._invocations: queue.Queue[Invocation | None] = queue.Queue()
        self._secret = secrets.token_urlsafe()
        self._server = _Server(("127.0.0.1", 0), self._handler_class())
        self.address = f"127.0.0.1:{self._server.server_port}/{self._secret}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def send(self, invocation: Invocation) -> None:
        self._invocations.put(invocation)

    def close(self) -> None:
        self._invocations.put(None)
        self._server.shutdown()
        self._server.server_close()

    def _handler_class(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet per answer: two would wait 40 ms for each other

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name
                """Print no line per request."""

            def parse_request(self) -> bool:
                """Refuse a path without the secret, before the body is read; else cut it off."""
                if not super().parse_request():
                    return False
                if not self.path.startswith(f"/{api._secret}/"):
                    self.send_error(404)
                    return False
                self.path = self.path.removeprefix(f"/{api._secret}")
                return True

            def do_GET(self) -> None:
                if self.path != f"{PREFIX}/invocation/next":
                    self._answer(404)
                    return
                # The client asks when it is initialized, and again after each invocation.
                api.events.put(Event("ready"))
                invocation = api._invocations.get()
                if invocation is None:
                    self.close_connection = True
                    return
                trace = f"Root=1-{int(time.time()):x}-{uuid.uuid4().hex[:24]};Sampled=0"
                self._answer(
                    200,
                    invocation.payload,
                    {
                        "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                        "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
                        "Lambda-Runtime-Invoked-Function-Arn": api._function_arn,
                        "Lambda-Runtime-Trace-Id": trace,
                    },
                )

            def do_POST(self) -> None:
                body = self._body()
                if self.path == f"{PREFIX}/init/error":
                    api.events.put(Event("init_error", body))
                elif self.path.endswith("/response"):
                    api.events.put(Event("response", body))
                elif self.path.endswith("/error"):
                    api.events.put(Event("error", body))
                else:
                    self._answer(404)
                    return
                self._answer(202, b'{"status":"OK"}')

            def _body(self) -> bytes:
                length = self.headers.get("Content-Length")
                if length is not None:
                    return self.rfile.read(int(length))
                # Chunked: a size in hexadecimal, the data, an empty line; size 0 ends the body.
                chunks = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():  # trailers
                    pass
                return b"".join(chunks)

            def _answer(
                self, status: int, body: bytes = b"{}", headers: dict[str, str] | None = None
            ) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler
