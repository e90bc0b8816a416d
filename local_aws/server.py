"""The local AWS: moto's server on 127.0.0.1 with roles enforced and functions run as deployed.

    with LocalAws(runtime_dir=ensure_runtime(cache_dir)) as aws:
        subprocess.run(["./deploy.sh"], env={**os.environ, **aws.env})

This module connects the parts (front.py, iam.py, objects.py, functions.py, distributions.py,
statemachines.py, faults.py); their rules are in those files. It serves only those who know a key of
the account, so neither other users of the machine nor web pages, and only its own user can read its
files. There can be one local AWS per process, since moto keeps its state in the process, and it
starts empty. On leaving the `with` block, also by an exception, Ctrl-C or SIGTERM, sandboxes are
killed and files are removed. If the process is killed outright, its sandboxes die with it.
"""

import os
import shutil
import signal
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from moto import settings
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from local_aws import distributions, objects, statemachines
from local_aws.clients import make_client
from local_aws.faults import Fault, Faults
from local_aws.front import Front, only_backends_in_use
from local_aws.functions import Functions
from local_aws.host import Host, namespaces_work
from local_aws.iam import Credentials, Iam
from local_aws.packages import remove_tree
from local_aws.replacing import replace

REGION = "us-east-1"
STATE_PREFIX = "local-aws-"

_running = threading.Lock()


class AlreadyRunningError(RuntimeError):
    """A second local AWS was started in the same process."""


class _QuietRequestHandler(MotoRequestHandler):
    disable_nagle_algorithm = True  # head and body are two packets, which would wait 40 ms

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """No line per request; errors inside moto are still shown."""


class LocalAws:
    """See the module. Attributes, once entered: `endpoint`, `region`, `account`, `env`.

    `env` has the variables that a client needs in addition to its environment: an administrator's
    credentials, the endpoint, and a configuration in place of the user's own.
    """

    def __init__(
        self,
        runtime_dir: Path,
        log: Callable[[str], None] = lambda _: None,
        *,
        port: int = 0,
        region: str = REGION,
        namespaces: bool | None = None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        """`log` gets each line that functions write and each refusal by IAM.

        `wait` is called with the seconds that a state machine waits before a retry.

        `namespaces`: None uses them if the system allows them, False rewrites paths instead, True
        fails without them.
        """
        self.region, self.account = region, DEFAULT_ACCOUNT_ID
        self.endpoint = ""
        self.env: dict[str, str] = {}
        self._runtime_dir, self._port, self._namespaces = runtime_dir, port, namespaces
        self._log, self._wait = log, wait
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if not _running.acquire(blocking=False):
            raise AlreadyRunningError("one local AWS per process: leave the first one's block")
        with ExitStack() as stack:
            stack.callback(_running.release)
            stack.enter_context(_ending_on_sigterm())
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def client(self, service: str, credentials: Credentials | None = None) -> Any:
        """A boto3 client, by default with the administrator's credentials."""
        if credentials is not None:
            return make_client(service, self.endpoint, self.region, credentials)
        with self._lock:
            if service not in self._clients:
                self._clients[service] = make_client(
                    service, self.endpoint, self.region, self._administrator
                )
            return self._clients[service]

    def assume(self, role_arn: str, service: str, source_arn: str) -> Credentials:
        """A role's credentials as an AWS service gets them. Raises iam.AssumeRoleError."""
        return self._iam.assume(role_arn, service, service.split(".", maxsplit=1)[0], source_arn)

    def fail_next(self, service: str, operation: str, key_prefix: str = "", **how: Any) -> Fault:
        """For tests: the next requests fail, as in `fail_next("s3", "PutObject", "runs/")`.

        `how` are fields of Fault: times, status, code, drop, done, delay_s. boto3 in the function
        retries a 500 or 503 and a lost connection itself: `times` counts its attempts.
        """
        fault = Fault(service, operation, key_prefix, **how)
        self._faults.add(fault)
        return fault

    def clear_faults(self) -> None:
        self._faults.clear()

    def _start(self, stack: ExitStack) -> None:
        state_dir = _make_state_dir()
        stack.callback(remove_tree, state_dir)
        moto_api_backend.reset()  # moto's state is that of the process: begin with none
        self._iam = Iam(self.account, self.region, self._log)
        self._administrator = self._iam.make_administrator()
        self._iam.install(stack)
        # By default moto checks neither signatures nor permissions; from here on it checks both.
        replace(stack, settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
        replace(stack, ActionAuthenticatorMixin, "request_count", 0)
        # moto checks no request to any service if its X-Amz-Target header names one of these.
        replace(stack, ActionAuthenticatorMixin, "PUBLIC_OPERATIONS", [])
        objects.install(stack)
        self._serve(stack)  # not before the lines above
        self.env = self._client_environment(state_dir)
        statemachines.install(stack, self.endpoint, self._iam, self._wait)
        distributions.install(stack)
        spawner = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="spawner"))
        host = Host(self._runtime_dir, state_dir, False, spawner)
        if self._namespaces is not False and namespaces_work(host):
            host = Host(self._runtime_dir, state_dir, True, spawner)
        elif self._namespaces:
            raise RuntimeError("this system allows no user namespaces: leave `namespaces` out")
        self.namespaces = host.namespaces
        functions = Functions(host, self._iam, self.endpoint, self._log)
        stack.callback(functions.close)
        functions.install(stack)
        stack.callback(statemachines.stop_all)
        stack.callback(self._front.close)

    def _serve(self, stack: ExitStack) -> None:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", self._port)))
        port = listening.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        moto = DomainDispatcherApplication(only_backends_in_use(create_backend_app))
        self._faults = Faults(moto)
        self._front = Front(self._faults, port)
        server = make_server(
            "127.0.0.1",
            port,
            self._front,
            threaded=True,
            request_handler=_QuietRequestHandler,
            fd=listening.fileno(),
        )
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)

    def _client_environment(self, state_dir: Path) -> dict[str, str]:
        config = state_dir / "aws-config"
        config.write_text(f"[default]\nregion = {self.region}\n")
        no_proxy = os.environ.get("NO_PROXY", os.environ.get("no_proxy", ""))
        local = ",".join(filter(None, [no_proxy, "127.0.0.1"]))
        return {
            **self._administrator.environment(),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_PROFILE": "default",
            "AWS_CONFIG_FILE": str(config),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            "NO_PROXY": local,
            "no_proxy": local,
        }


def _make_state_dir() -> Path:
    """Make a private directory with this process's id in its name; remove those of dead processes.

    Other users can make files of such names in /tmp; these are left alone.
    """
    parent = Path(tempfile.gettempdir())
    for directory in parent.glob(f"{STATE_PREFIX}*-*"):
        pid = directory.name.removeprefix(STATE_PREFIX).split("-")[0]
        if _is_own_directory(directory) and pid.isdigit() and not _process_exists(int(pid)):
            shutil.rmtree(directory, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{STATE_PREFIX}{os.getpid()}-"))


def _is_own_directory(path: Path) -> bool:
    try:
        found = path.lstat()  # of a link itself
    except FileNotFoundError:  # another local AWS has just removed it
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the stack as Ctrl-C does, unless the program handles them."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    changed: Mapping[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        signals = [signal.SIGTERM, signal.SIGHUP]
        changed = {
            number: signal.signal(number, end)
            for number in signals
            if signal.getsignal(number) == signal.SIG_DFL
        }
    try:
        yield
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)
