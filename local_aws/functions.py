"""Runs Lambda functions for moto: the deployed zips and layers, in sandboxes.

This module keeps the pool of warm sandboxes, gives each sandbox the credentials of its function's
role, and writes CloudWatch logs if that role allows it. After a change of code, configuration,
layers or role, new sandboxes are started. Depends on neither the limits that a sandbox enforces
(sandbox.py) nor how it is isolated (isolate.py).
"""

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from moto.awslambda.models import LambdaFunction
from moto.awslambda.utils import get_backend

from local_aws.host import VERSION, Host, mount_points_in_opt
from local_aws.iam import AssumeRoleError, Iam
from local_aws.packages import PackageError, PackageStore
from local_aws.replacing import replace
from local_aws.sandbox import Function, Outcome, Sandbox

REQUEST_LIMIT_BYTES = 6_291_456
LOG_TAIL_BYTES = 4096


class Functions:
    """Runs functions until `close`."""

    def __init__(self, host: Host, iam: Iam, endpoint: str, log: Callable[[str], None]) -> None:
        self._host, self._iam, self._endpoint, self._log = host, iam, endpoint, log
        self._packages = PackageStore(host.state_dir / "packages", log)
        self._lock = threading.Lock()
        self._idle: dict[str, list[tuple[str, Sandbox]]] = {}  # by function ARN
        self._all: set[Sandbox] = set()
        self._closed = False
        self._events = ThreadPoolExecutor(thread_name_prefix="asynchronous-invocation")

    def install(self, stack: ExitStack) -> None:
        """Replace how moto runs functions, which needs Docker, until `stack` closes."""

        def invoke(
            function: LambdaFunction, body: Any, headers: Any, response_headers: dict[str, str]
        ) -> bytes:
            return self._answer(function, body, headers, response_headers)

        replace(stack, LambdaFunction, "invoke", invoke)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            sandboxes, self._all = self._all, set()
        for sandbox in sandboxes:
            sandbox.close()
        self._packages.close()
        self._events.shutdown(wait=False, cancel_futures=True)

    def _answer(
        self, function: LambdaFunction, body: Any, headers: Any, response_headers: dict[str, str]
    ) -> bytes:
        payload = (body.encode() if isinstance(body, str) else body) or b"{}"
        kind = headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if kind == "DryRun":
            return b""
        if kind == "Event":
            self._events.submit(self._run, function, payload)
            return b""
        outcome = self._run(function, payload)
        response_headers["x-amz-executed-version"] = "$LATEST"
        if outcome.failed:
            response_headers["x-amz-function-error"] = "Unhandled"
        tail = "\n".join(line for _, line in outcome.lines).encode()[-LOG_TAIL_BYTES:]
        response_headers["x-amz-log-result"] = base64.b64encode(tail).decode()
        return outcome.payload

    def _run(self, function: LambdaFunction, payload: bytes) -> Outcome:
        if len(payload) > REQUEST_LIMIT_BYTES:
            return _refused("RequestEntityTooLargeException", f"{len(payload)} bytes of payload")
        if function.run_time != VERSION:
            return _refused(
                "LocalAws.RuntimeMismatch",
                f"{function.function_name} is deployed for {function.run_time}, but here runs "
                f"{VERSION}: deploy with --runtime {VERSION}",
            )
        try:
            key, sandbox = self._take(function)
        except (AssumeRoleError, PackageError) as error:
            return _refused(type(error).__name__, str(error))
        outcome = sandbox.invoke(payload)
        with self._lock:
            if sandbox.alive:
                self._idle.setdefault(function.function_arn, []).append((key, sandbox))
            else:
                self._all.discard(sandbox)
        self._write_logs(function, sandbox.log_stream, outcome.lines)
        return outcome

    def _take(self, function: LambdaFunction) -> tuple[str, Sandbox]:
        """A warm sandbox of the function as it is deployed now, or a new one."""
        layers = [layer["Arn"] for layer in function.layers]
        # The key holds all that a sandbox is started with: one with another key is outdated.
        key = json.dumps(
            [
                *(function.code_sha_256, function.handler, function.role, function.timeout),
                *(function.memory_size, function.ephemeral_storage, layers),
                function.environment_vars,
            ],
            sort_keys=True,
        )
        with self._lock:
            idle = self._idle.pop(function.function_arn, [])
            outdated = [sandbox for old_key, sandbox in idle if old_key != key]
            current = [sandbox for old_key, sandbox in idle if old_key == key]
            warm = current.pop() if current else None
            self._idle[function.function_arn] = [(key, sandbox) for sandbox in current]
            self._all.difference_update(outdated)
        for sandbox in outdated:
            sandbox.close()
        if warm is not None:
            return key, warm
        sandbox = self._new_sandbox(function, layers)
        with self._lock:
            if not self._closed:
                self._all.add(sandbox)
                return key, sandbox
        sandbox.close()
        raise AssumeRoleError("the local AWS is shutting down")

    def _new_sandbox(self, function: LambdaFunction, layers: list[str]) -> Sandbox:
        backend = get_backend(function.account_id, function.region)
        found = [backend.layers_versions_by_arn(arn) for arn in layers]
        zips = [layer.code_bytes for layer in found if layer is not None]
        if len(zips) < len(layers):
            raise PackageError(f"{function.function_name}: one of its layers was deleted: {layers}")
        name = function.function_name
        credentials = self._iam.assume(
            function.role, "lambda.amazonaws.com", name, function.function_arn
        )
        return Sandbox(
            Function(
                name=name,
                arn=function.function_arn,
                handler=str(function.handler),
                timeout_s=float(function.timeout),
                memory_mb=int(function.memory_size),
                tmp_mb=int(function.ephemeral_storage),
                environment={k: str(v) for k, v in function.environment_vars.items()},
                task_dir=self._packages.unpacked([function.code_bytes]),
                opt_dir=self._packages.unpacked(zips, mount_points_in_opt()),
            ),
            self._host,
            credentials.environment() | {"AWS_ENDPOINT_URL": self._endpoint},
            lambda line: self._log(f"[{name}] {line}"),
        )

    def _write_logs(
        self, function: LambdaFunction, stream: str, lines: list[tuple[int, str]]
    ) -> None:
        group = function.logs_group_name
        arn = f"arn:aws:logs:{function.region}:{function.account_id}:log-group:{group}"
        if not self._iam.allows(function.role, "logs:PutLogEvents", f"{arn}:log-stream:{stream}"):
            self._log(
                f"[{function.function_name}] its role may not logs:PutLogEvents on {arn}:*: "
                "no CloudWatch log"
            )
            return
        logs = function.logs_backend
        with self._lock:
            logs.ensure_log_group(group)
            logs.ensure_log_stream(group, stream)
            events = [{"timestamp": moment, "message": line or " "} for moment, line in lines]
            logs.put_log_events(group, stream, events)


def _refused(kind: str, message: str) -> Outcome:
    payload = json.dumps({"errorType": kind, "errorMessage": message}).encode()
    return Outcome(payload, failed=True, lines=[])
