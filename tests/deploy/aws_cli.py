"""A quick `aws` for tests: the real AWS CLI, forked from a process that has imported it already.

    with FastAws() as fast:
        tree.deploy(PATH=fast.path(os.environ["PATH"]))
        assert [call.command for call in fast.calls() if call.write] == []

It answers as the command itself does (output, files, exit codes, environment of the call) in a
third of the time or less. `watch` makes calls fail, or kills the caller in the midst of its work.
Knows nothing of deploy.sh.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tests.deploy.aws_cli_server import command_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Call:
    """One call, in the order of their starts."""

    arguments: list[str]
    write: bool

    @property
    def command(self) -> str:
        """Service and operation, as in `s3api put-object`."""
        return " ".join(command_of(self.arguments))


@dataclass(frozen=True)
class Kill:
    """SIGKILL to the caller's whole process group at its `write`-th write (the first is 1), before
    that is carried out or, with `after`, when it has been. Writes take turns until then. Those in
    whose arguments `spare` is found do not count. The caller needs a session of its own.
    """

    write: int
    after: bool
    spare: str = ""


@dataclass(frozen=True)
class Refusal:
    """Calls in whose arguments (joined by spaces) `pattern` is found fail, carrying out nothing;
    the first `let_through` of them are spared.
    """

    pattern: str
    stderr: str
    code: int = 254
    let_through: int = 0


class FastAws:
    """See the module. `directory` holds the command; `replacements` are made in each call's
    arguments and environment: an endpoint of another name, say.
    """

    def __init__(self, replacements: Mapping[str, str] | None = None) -> None:
        self._replacements = dict(replacements or {})
        # Not pytest's: the path of a unix socket may have 100 characters.
        self.directory = Path(tempfile.mkdtemp(prefix="aws-cli-"))
        self._socket = self.directory / "aws.socket"

    def __enter__(self) -> Self:
        source = (Path(__file__).parent / "aws_cli_command.py").read_text()
        command = self.directory / "aws"
        command.write_text(f"#!{sys.executable} -IS\n{source}")
        command.chmod(0o755)
        lifeline, self._lifeline = os.pipe()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._socket))
            listener.listen(128)
            files = (listener.fileno(), lifeline)
            self._server = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.deploy.aws_cli_server"),
                    *(*map(str, files), json.dumps(self._replacements)),
                ],
                cwd=ROOT,
                env={name: v for name, v in os.environ.items() if not name.startswith("AWS_")},
                pass_fds=files,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the test, which ends it
            )
        os.close(lifeline)
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._lifeline)
        self._server.wait()
        shutil.rmtree(self.directory)

    @property
    def pid(self) -> int:
        """Of the server, whose children the calls are."""
        return self._server.pid

    def path(self, path: str) -> str:
        """A PATH on which this `aws` comes first."""
        return os.pathsep.join([str(self.directory), path])

    def watch(self, *, kill: Kill | None = None, refusals: Sequence[Refusal] = ()) -> None:
        """From now on, these hooks and no others; `calls` begins anew."""
        hooks: dict[str, Any] = {"refusals": [asdict(refusal) for refusal in refusals]}
        for refusal in refusals:
            re.compile(refusal.pattern)
        self._ask("watch", json.dumps({**hooks, "kill": asdict(kill) if kill else None}))

    def calls(self) -> list[Call]:
        """Those since the last `watch`, when all of them have ended."""
        return [Call(**call) for call in self._ask("calls")]

    def writes(self) -> list[Call]:
        return [call for call in self.calls() if call.write]

    def _ask(self, *fields: str) -> list[dict[str, Any]]:
        body = "\0".join(fields).encode()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(len(body).to_bytes(4, "big") + body)
            answer: list[dict[str, Any]] = json.load(connection.makefile())
        return answer
