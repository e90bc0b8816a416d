"""Runs AWS CLI calls in forks of one process that has imported the AWS CLI already.

    python -m tests.deploy.aws_cli_server LISTENING_FD LIFELINE_FD REPLACEMENTS_JSON

A call brings the caller's arguments, environment, directory and open files, and goes through the
AWS CLI's own main() in a child process: nothing of one call is left for the next. Ends when the
lifeline's other end is closed. aws_cli.py starts this, and says what the hooks are for.
"""

from __future__ import annotations

import fcntl
import functools
import gc
import json
import os
import re
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

# What deploy.sh speaks to: their descriptions are read once, here.
SERVICES = (
    *("s3", "iam", "lambda", "logs", "sqs", "sns", "sts"),
    *("cloudwatch", "stepfunctions", "scheduler", "events", "budgets"),
)
READS = re.compile(r"(get|list|describe|head|test|validate)-|wait$|ls$|help$")
WITHOUT_VALUE = {"--debug", "--no-verify-ssl", "--no-paginate", "--no-sign-request"}
WITHOUT_VALUE |= {"--no-cli-pager", "--version"}


def command_of(arguments: Sequence[str]) -> tuple[str, str]:
    """Service and operation, which global options may precede."""
    words = iter(arguments)
    found: list[str] = []
    for word in words:
        if not word.startswith("--"):
            found.append(word)
        elif "=" not in word and word not in WITHOUT_VALUE and len(found) < 2:
            next(words, None)
    return (found[0] if found else "", found[1] if len(found) > 1 else "")


def is_write(arguments: Sequence[str]) -> bool:
    """Whether a call may change something on AWS, by the name of its operation."""
    service, operation = command_of(arguments)
    return service not in {"", "configure", "sts"} and not READS.match(operation)


@dataclass(frozen=True)
class Request:
    connection: socket.socket
    files: list[int]
    fields: list[bytes]

    @property
    def arguments(self) -> list[str]:
        return [os.fsdecode(field) for field in self.fields[4 : 4 + int(self.fields[3])]]

    def close(self) -> None:
        for file in self.files:
            os.close(file)
        self.connection.close()


class Server:
    """One client at a time is read, any number of calls run."""

    def __init__(self, listening: int, lifeline: int, replacements: dict[str, str]) -> None:
        self._listener = socket.socket(fileno=listening)
        self._lifeline, self._replacements = lifeline, replacements
        self._children: set[int] = set()
        self._tests_group = os.getpgid(os.getppid())
        self._watch({})

    def serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener.fileno(), self._lifeline], [], [])
            if self._lifeline in ready:
                return
            if (request := self._receive()) is not None:
                self._handle(request)
                request.close()
            self._reap(os.WNOHANG)

    def _receive(self) -> Request | None:
        """A whole request, or None of a client that was killed meanwhile."""
        connection, _ = self._listener.accept()
        data, files, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            more = connection.recv(1 << 20)
            if not more:
                Request(connection, files, []).close()
                return None
            data += more
        return Request(connection, files, data[4:].split(b"\0"))

    def _handle(self, request: Request) -> None:
        kind = request.fields[0]
        if kind == b"call":
            self._call(request)
            return
        self._reap(0)  # the answer is about calls that have ended
        if kind == b"watch":
            self._watch(json.loads(request.fields[1]))
        request.connection.sendall(json.dumps(self._calls).encode())
        request.connection.shutdown(socket.SHUT_WR)

    def _watch(self, hooks: dict[str, Any]) -> None:
        self._kill: dict[str, Any] | None = hooks.get("kill")
        self._refusals: list[dict[str, Any]] = hooks.get("refusals", [])
        self._calls: list[dict[str, Any]] = []
        self._writes, self._killed = 0, False  # writes that count for the kill

    def _call(self, request: Request) -> None:
        if self._killed:
            return  # it came from a process that is being killed
        arguments = request.arguments
        write = is_write(arguments)
        self._calls.append({"arguments": arguments, "write": write})
        if (refusal := self._refusal(arguments)) is not None:
            with suppress(OSError):  # the caller may be gone
                os.write(request.files[2], refusal["stderr"].encode() + b"\n")
                request.connection.sendall(bytes([refusal["code"]]))
        elif self._kill is None or not write:
            self._fork(request)
        else:
            self._writes += not _matches(self._kill["spare"], arguments)
            blow = self._writes == self._kill["write"]
            if not blow or self._kill["after"]:
                self._fork(request, answer=not blow)
                self._reap(0)  # one write at a time: none is under way when the blow falls
            if blow:
                self._strike(int(request.fields[1]))

    def _strike(self, group: int) -> None:
        self._killed = True
        if group == self._tests_group:
            print("to be killed, deploy.sh needs a session of its own", file=sys.stderr)
        else:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def _refusal(self, arguments: Sequence[str]) -> dict[str, Any] | None:
        for refusal in self._refusals:
            if _matches(refusal["pattern"], arguments):
                if refusal["let_through"] == 0:
                    return refusal
                refusal["let_through"] -= 1
        return None

    def _fork(self, request: Request, *, answer: bool = True) -> None:
        child = os.fork()
        if child:
            self._children.add(child)
            return
        self._listener.close()
        os.close(self._lifeline)
        self._run(request, answer=answer)

    def _run(self, request: Request, *, answer: bool) -> NoReturn:
        code = 1
        try:
            if answer:
                end_with(request.connection)
            for number, file in enumerate(request.files):
                os.dup2(file, number)
                os.close(file)
            os.chdir(request.fields[2])
            self._take_environment(request)
            sys.argv = ["aws", *map(self._replace, request.arguments)]
            code = main()
        finally:
            with suppress(OSError):
                if answer:
                    request.connection.sendall(bytes([code]))
            os._exit(code)

    def _take_environment(self, request: Request) -> None:
        data_path = os.environ["AWS_DATA_PATH"]  # the import of awscli put its own models there
        pairs = [pair.split(b"=", 1) for pair in request.fields[4 + int(request.fields[3]) :]]
        os.environ.clear()
        for name, value in pairs:
            os.environ[os.fsdecode(name)] = self._replace(os.fsdecode(value))
        own = os.environ.get("AWS_DATA_PATH")
        os.environ["AWS_DATA_PATH"] = os.pathsep.join(filter(None, [own, data_path]))

    def _replace(self, text: str) -> str:
        for old, new in self._replacements.items():
            text = text.replace(old, new)
        return text

    def _reap(self, option: int) -> None:
        for child in [*self._children]:
            if os.waitpid(child, option)[0]:
                self._children.discard(child)


def _matches(pattern: str, arguments: Sequence[str]) -> bool:
    """The empty pattern matches nothing."""
    return bool(pattern and re.search(pattern, " ".join(arguments), re.DOTALL))


def end_with(connection: socket.socket) -> None:
    """Has this process ended (SIGIO) when the other side of the connection is."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(connection, fcntl.F_GETFL)
    fcntl.fcntl(connection, fcntl.F_SETFL, flags | os.O_ASYNC)
    if select.select([connection], [], [], 0)[0]:  # it was before
        os._exit(1)


def main() -> int:
    """What the command `aws` does, with its exit code, as sys.exit() makes it."""
    import awscli.clidriver  # type: ignore[import-untyped]

    try:
        code: object = awscli.clidriver.main()
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - as at the end of any program
        sys.excepthook(*sys.exc_info())
        code = 1
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    sys.stderr.flush()
    return (code or 0) & 0xFF


def warm_up() -> None:
    """Imports the AWS CLI, and has done once what is the same in every call.

    The calls have in common the loader of the services' descriptions, and two look-ups of
    botocore's event hooks that depend on their arguments alone.
    """
    from awscli import clidriver

    botocore = clidriver.botocore
    session = botocore.session.Session()
    for service in ("s3", "lambda", "iam", "sqs", "scheduler"):  # one of each protocol, to import
        keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
        session.create_client(service, region_name="us-east-1", **keys)

    hooks = botocore.hooks
    hooks.accepts_kwargs = functools.cache(hooks.accepts_kwargs)
    alias = hooks.EventAliaser(None)._alias_event_name
    hooks.EventAliaser._alias_event_name = lambda _, name: alias(name)
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    driver = clidriver.create_clidriver()
    driver.session.get_available_services()
    loader = driver.session.get_component("data_loader")
    for kind in ("service-2", "paginators-1", "waiters-2", "endpoint-rule-set-1"):
        for service in {*SERVICES} & {*loader.list_available_services(kind)}:
            loader.load_service_model(service, kind)
    for data in ("cli", "endpoints", "partitions", "_retry", "sdk-default-configuration"):
        loader.load_data(data)
    gc.collect()
    gc.freeze()  # a child need not look through, hence copy, what it has from here
    gc.disable()


if __name__ == "__main__":
    warm_up()
    Server(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])).serve()
