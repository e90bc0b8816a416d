"""One execution environment of one function: a process with AWS's runtime client, kept warm.

It enforces Lambda's limits: ten seconds for the init phase (which then gets one more try within the
function's own time), the time-out, the memory size, and the size of a response. After a time-out,
an exit or a memory kill the sandbox is dead, and its owner makes another. Where the system allows
user namespaces, the process sees Lambda's own paths (`isolate.py`). Elsewhere paths are rewritten:
PYTHONPATH and the values in the function's environment that start with /opt.

Not imitated are the share of CPU that goes with the memory size and, where there is no /proc
(macOS), the memory limit. Depends on neither moto, roles nor CloudWatch.
"""

import json
import math
import os
import queue
import select
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local_aws.host import VERSION, Host
from local_aws.runtime_api import RUN_CLIENT, Event, Invocation, RuntimeApi

INIT_LIMIT_S = 10.0
RESPONSE_LIMIT_BYTES = 6_291_556
MEMORY_POLL_S = 0.05


@dataclass(frozen=True)
class Function:
    """A deployed function, its zips unpacked."""

    name: str
    arn: str
    handler: str
    timeout_s: float
    memory_mb: int
    tmp_mb: int
    environment: Mapping[str, str]
    task_dir: Path
    opt_dir: Path

    @property
    def region(self) -> str:
        return self.arn.split(":")[3]


@dataclass(frozen=True)
class Outcome:
    payload: bytes
    failed: bool
    lines: list[tuple[int, str]]  # (ms since the epoch, log line)


class Sandbox:
    """Call `invoke` from one thread at a time; `alive` tells whether it may be called again."""

    def __init__(
        self,
        function: Function,
        host: Host,
        credentials: Mapping[str, str],
        log: Callable[[str], None],
        init_limit_s: float = INIT_LIMIT_S,
    ) -> None:
        self.function, self.alive = function, True
        self.log_stream = f"{time.strftime('%Y/%m/%d')}/[$LATEST]{uuid.uuid4().hex}"
        self._host, self._credentials, self._log = host, credentials, log
        self._init_limit_s = init_limit_s
        self._directory = Path(tempfile.mkdtemp(prefix="sandbox-", dir=host.state_dir))
        self._api = RuntimeApi(function.arn)
        self._lines: list[tuple[int, str]] = []
        self._output = threading.Lock()
        self._life = threading.Lock()  # no process may start after `close`
        self._peak_kb = 0
        self._cold = True
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None

    def invoke(self, payload: bytes) -> Outcome:
        """Run the function once. Function errors come back in the outcome; nothing is raised."""
        request_id, init_ms = str(uuid.uuid4()), None
        event = Event("ready")
        if self._cold:
            began = time.monotonic()
            self._start()
            event = self._next_event(began + self._init_limit_s)
            init_ms = (time.monotonic() - began) * 1000
            if event.kind != "ready":
                self._note(f"INIT_REPORT Init Duration: {init_ms:.2f} ms Status: {event.kind}")
        self._note(f"START RequestId: {request_id} Version: $LATEST")
        began = time.monotonic()
        deadline = began + self.function.timeout_s
        if event.kind != "ready":  # as on Lambda: try once more, within the function's time
            self._kill()
            self._start()
            event = self._next_event(deadline)
        if event.kind == "ready":
            self._cold = False
            remaining_ms = (deadline - time.monotonic()) * 1000
            deadline_ms = int(time.time() * 1000 + remaining_ms)
            self._api.send(Invocation(request_id, deadline_ms, payload))
            event = self._next_event(deadline)
        if event.kind in ("response", "error") and self._next_event(deadline).kind != "ready":
            self.close()  # it answered, but cannot run another invocation
        body, failed = self._judge(event, request_id)
        self._drain()
        duration_ms = (time.monotonic() - began) * 1000
        self._report(request_id, duration_ms, init_ms, event.kind)
        with self._output:
            lines, self._lines = self._lines, []
        return Outcome(body, failed, lines)

    def close(self) -> None:
        """Kill the process and remove its files; an invocation under way ends as an exit."""
        with self._life:
            self.alive = False
            self._kill()
        self._api.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    # --- the process

    def _start(self) -> None:
        self._drop_old_events()
        with self._life:
            if self.alive:
                self._launch()
            else:  # closed during its init phase
                self._api.events.put(Event("exit"))

    def _launch(self) -> None:
        # Popen runs in the lasting thread: see Host.spawner.
        self._process = self._host.spawner.submit(
            subprocess.Popen,
            self._command(),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        ).result()
        self._pump = threading.Thread(target=self._read_output, args=(self._process,), daemon=True)
        self._pump.start()

    def _drop_old_events(self) -> None:
        while not self._api.events.empty():
            self._api.events.get_nowait()

    def _kill(self) -> None:
        if self._process is None or self._pump is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._pump.join(timeout=5)

    def _next_event(self, deadline: float) -> Event:
        """What the process does next, or that it reached its deadline or its memory size."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return Event("timeout")
            try:
                return self._api.events.get(timeout=min(left, MEMORY_POLL_S))
            except queue.Empty:
                if self._resident_kb() > self.function.memory_mb * 1024:
                    return Event("memory")

    def _resident_kb(self) -> int:
        """Memory of the process and its children now; the greatest sum is kept for the report."""
        if self._process is None:
            return 0
        total_kb, waiting = 0, [self._process.pid]
        while waiting:
            folder = Path("/proc") / str(waiting.pop())
            try:
                status = (folder / "status").read_text()
                waiting += map(
                    int, (folder / "task" / folder.name / "children").read_text().split()
                )
            except OSError:  # ended meanwhile, or a system without /proc
                continue
            resident = [line for line in status.splitlines() if line.startswith("VmRSS:")]
            total_kb += int(resident[0].split()[1]) if resident else 0
        self._peak_kb = max(self._peak_kb, total_kb)
        return total_kb

    # --- the process's command and environment

    def _command(self) -> list[str]:
        function, host = self.function, self._host
        task = "/var/task" if host.namespaces else str(function.task_dir)
        binds = {
            "/var/task": str(function.task_dir),
            "/opt": str(function.opt_dir),
            "/var/runtime": str(host.runtime_dir),
        }
        return host.command(
            binds if host.namespaces else {},
            task,
            ["-s", "-S", *RUN_CLIENT, function.handler],
            function.tmp_mb,
        )

    def _environment(self) -> dict[str, str]:
        function, host = self.function, self._host
        if host.namespaces:
            task, opt, runtime = "/var/task", "/opt", "/var/runtime"
            own = dict(function.environment)
        else:
            task, opt = str(function.task_dir), str(function.opt_dir)
            runtime = str(host.runtime_dir)
            private_tmp = self._directory / "tmp"
            private_tmp.mkdir(exist_ok=True)
            own = {"TMPDIR": str(private_tmp)}
            own |= {name: _moved(value, opt) for name, value in function.environment.items()}
        python_path = [task, f"{opt}/python/lib/{VERSION}/site-packages", f"{opt}/python", runtime]
        libraries = [str(sysconfig.get_config_var("LIBDIR")), task, f"{task}/lib", f"{opt}/lib"]
        defaults = {  # the function's own settings win over these
            "PATH": f"/usr/local/bin:/usr/bin:/bin:{opt}/bin",
            "LD_LIBRARY_PATH": ":".join(libraries),
            "PYTHONPATH": ":".join(python_path),
            "PYTHONUNBUFFERED": "1",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
        }
        reserved = {  # these win over the function's own settings, as on Lambda
            "_HANDLER": function.handler,
            "LAMBDA_TASK_ROOT": task,
            "LAMBDA_RUNTIME_DIR": runtime,
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": self.log_stream,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{VERSION}",
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            **self._credentials,
        }
        return defaults | own | reserved

    # --- the process's output

    def _read_output(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        descriptor, rest = process.stdout.fileno(), b""
        while True:
            select.select([descriptor], [], [])
            with self._output:  # reads and keeps under one lock: `_drain` relies on it
                data = os.read(descriptor, 1 << 16)
                *lines, rest = (rest + data).split(b"\n")
                if not data and rest:
                    lines.append(rest)
                for line in lines:
                    self._keep(line.decode("utf-8", "replace"))
                if not data:
                    process.stdout.close()
                    break
        process.wait()
        self._api.events.put(Event("exit"))

    def _drain(self) -> None:
        """Wait until all output that the process has written is in the log."""
        while self._process and self._process.stdout:
            with self._output:
                if self._process.stdout.closed:
                    return
                if not select.select([self._process.stdout], [], [], 0)[0]:
                    return
            time.sleep(0.001)

    def _note(self, line: str) -> None:
        with self._output:
            self._keep(line)

    def _keep(self, line: str) -> None:
        self._lines.append((int(time.time() * 1000), line))
        self._log(line)

    # --- the outcome of an invocation

    def _judge(self, event: Event, request_id: str) -> tuple[bytes, bool]:
        """Payload and whether the invocation failed, with the error names that AWS gives."""
        if event.kind == "response" and len(event.body) > RESPONSE_LIMIT_BYTES:
            message = f"Response payload size ({len(event.body)} bytes) exceeded maximum allowed "
            message += f"payload size ({RESPONSE_LIMIT_BYTES} bytes)."
            return _error("Function.ResponseSizeTooLarge", message), True
        if event.kind == "response":
            return event.body, False
        if event.kind == "error":
            return event.body, True
        self.close()
        if event.kind == "init_error":
            return event.body, True
        if event.kind == "timeout":
            message = f"Task timed out after {self.function.timeout_s:.2f} seconds"
            self._note(
                f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {request_id} {message}"
            )
            return _error("Sandbox.Timedout", f"RequestId: {request_id} Error: {message}"), True
        code = self._process.returncode if self._process else 1
        how = "signal: killed" if code == -signal.SIGKILL else f"exit status {abs(code)}"
        message = f"RequestId: {request_id} Error: Runtime exited with error: {how}"
        self._note(message)
        return _error("Runtime.ExitError", message), True

    def _report(
        self, request_id: str, duration_ms: float, init_ms: float | None, kind: str
    ) -> None:
        self._resident_kb()
        billed_ms = math.ceil(duration_ms + (init_ms or 0))  # the init phase is billed too
        used_mb = min(math.ceil(self._peak_kb / 1024), self.function.memory_mb)
        fields = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {duration_ms:.2f} ms",
            f"Billed Duration: {billed_ms} ms",
            f"Memory Size: {self.function.memory_mb} MB",
            f"Max Memory Used: {used_mb} MB",
        ]
        if init_ms is not None:
            fields.append(f"Init Duration: {init_ms:.2f} ms")
        if kind not in ("response", "error"):
            fields.append(f"Status: {'timeout' if kind == 'timeout' else 'error'}")
        self._note(f"END RequestId: {request_id}")
        self._note("\t".join(fields))


def _moved(value: str, opt: str) -> str:
    """A path under /opt, moved to the directory `opt`: without namespaces the layers are there."""
    return opt + value[4:] if value == "/opt" or value.startswith("/opt/") else value


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
