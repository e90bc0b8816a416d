"""Runs the deployer in the test's process, on an embedded AWS, and steps in between its calls.

The code is the real one; what it deploys is a tree whose layers hold one tiny package each, so that
building them needs no network.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import boto3

from contract.bundle import model_id_of, read_manifest, write_manifest
from deploy import soundfont
from deploy.__main__ import main
from local_aws.runtime import ensure_runtime
from local_aws.server import LocalAws
from tests.deploy.account import snapshot

_Session = boto3.Session
ROOT = Path(__file__).parents[2]
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
NAME, ACCOUNT, REGION = "midi-archive", "123456789012", "us-east-1"
MUSIC, ARTIFACTS = (f"{NAME}-{kind}-{ACCOUNT}-{REGION}" for kind in ("music", "artifacts"))
FUNCTIONS = (f"{NAME}-generate-tokens", f"{NAME}-midi-save")
LOCK = "deploy.lock"  # written by every run, and left by one that is killed


class Killed(BaseException):
    """The process is gone: nothing that it does from now on reaches AWS."""


@dataclass(frozen=True)
class Call:
    operation: str  # as in `s3 PutObject`
    params: str

    @property
    def writes(self) -> bool:
        verb = self.operation.split()[1]
        return not verb.startswith(("Get", "List", "Describe", "Head"))


@dataclass
class Hooks:
    """Steps in between the deployer and AWS. `calls` are those that were made.

    `answers`: for a call of this operation, the answer of the function, a ClientError's code and
    message, is given in place of AWS's; None lets the call through. `kill(call)`: at which write
    the deployer is killed, before it is carried out or `after`.
    """

    answers: Mapping[str, Callable[[], tuple[str, str] | None]] = field(default_factory=dict)
    kill: Callable[[Call], bool] = lambda _: False
    after: bool = False
    in_turn: bool = False  # no two resources are written at once
    calls: list[Call] = field(default_factory=list)
    _dead: bool = False
    _doomed: Call | None = None

    def session(self, **given: Any) -> Any:
        """A boto3.Session that passes by here."""
        session: Any = _Session(**given)
        self.register(session)
        return session

    def register(self, session: Any) -> None:
        session.events.register("before-call.*.*", self._before)
        session.events.register("after-call.*.*", self._after)

    def writes(self) -> list[Call]:
        """Other than those of the lock."""
        return [call for call in self.calls if call.writes and LOCK not in call.params]

    def _before(self, model: Any, params: Any, **_: Any) -> Any:
        if self._dead:
            raise Killed
        body = params.get("body")
        sent = body if isinstance(body, bytes | str) else ""
        operation = f"{model.service_model.service_name} {model.name}"
        call = Call(operation, f"{params['url_path']} {params['query_string']} {sent!r}")
        self.calls.append(call)
        if call.writes and LOCK not in call.params and self._doomed is None and self.kill(call):
            self._doomed = call
            if not self.after:
                self._dead = True
                raise Killed
        answer = self.answers.get(operation, lambda: None)()
        if answer is None:
            return None
        status = type("Http", (), {"status_code": 400})()
        code, message = answer
        return status, {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {}}

    def _after(self, model: Any, **_: Any) -> None:
        doomed = self._doomed
        if doomed and doomed.operation == f"{model.service_model.service_name} {model.name}":
            self._dead = True
        if self._dead:
            raise Killed


def times(count: int, code: str, message: str = "") -> Callable[[], tuple[str, str] | None]:
    """For `Hooks.answers`: this error for the first `count` calls."""
    left = iter(range(count))
    return lambda: None if next(left, None) is None else (code, message)


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def last(self) -> str:
        return self.lines[-1]


@dataclass(frozen=True)
class Account:
    """An embedded AWS, and a tree to deploy to it."""

    aws: LocalAws
    root: Path

    def run(
        self,
        *options: str,
        answer: str = "",
        hooks: Hooks | None = None,
        smoke: bool = False,
        runtime: str = RUNTIME,
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> Done:
        """deploy.sh with these options; without a trial piece unless `smoke`."""
        deploys = not {"--destroy", "--rollback"} & {*options}
        own = ("--runtime", runtime) if runtime and deploys and "--runtime" not in options else ()
        quick = () if smoke or "--destroy" in options else ("--no-smoke",)
        out, err = io.StringIO(), io.StringIO()
        with (
            ExitStack() as stack,
            patch.dict(os.environ, {**self.aws.env, **env}),
            patch("deploy.aws.sleep", lambda s: None if s > 1 else self._nap()),
            patch("sys.stdin", io.StringIO(answer)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            for name in [name for name, value in env.items() if not value]:
                del os.environ[name]
            if hooks is not None:
                stack.enter_context(patch("deploy.__main__.boto3.Session", hooks.session))
                if hooks.in_turn:
                    in_turn = patch(
                        "deploy.resource.at_once", lambda do, things: [do(each) for each in things]
                    )
                    stack.enter_context(in_turn)
            code = main([*own, *quick, *options], root=self.root)
        return Done(code, out.getvalue(), err.getvalue())

    def deploy(self, *options: str, **more: Any) -> list[str]:
        """The lines that deploy.sh prints; it must succeed."""
        done = self.run(*options, **more)
        assert done.code == 0, done.out + done.err
        return done.lines

    def killed(self, hooks: Hooks, *options: str, smoke: bool = False) -> bool:
        """Whether a run that is to be killed was."""
        try:
            done = self.run(*options, hooks=hooks, smoke=smoke)
        except Killed:
            return True
        assert done.code == 0, done.out + done.err
        return False

    def state(self) -> Any:
        return snapshot(self.aws.client)

    def configuration(self, function: str) -> Any:
        return self.aws.client("lambda").get_function_configuration(FunctionName=function)

    def models(self) -> list[str]:
        """The model version that each function uses."""
        return self._versions("model")

    def sounds(self) -> list[str]:
        """The version of the sound bank that midi-save uses."""
        return self._versions("sounds")

    def _versions(self, kind: str) -> list[str]:
        layers = [self.configuration(name)["Layers"] for name in FUNCTIONS]
        arns = [each["Arn"] for those in layers for each in those]
        return [arn.rpartition(":")[2] for arn in arns if f"-{kind}:" in arn]

    def retrain(self, words: str) -> str:
        """A bundle that differs from all with other words."""
        bundle = self.root.parent / f"bundle-{words}"
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(self.root / "layers" / "model", bundle)
        (bundle / "model.onnx").write_text(words)
        write_manifest(bundle, read_manifest(bundle) | {"model_id": model_id_of(bundle)})
        return str(bundle)

    @staticmethod
    def _nap() -> None:
        """What the deployer waits for takes no time here, but for the functions' work."""
        import time

        time.sleep(0.05)


def make_wheel(directory: Path) -> str:
    """A wheel of one module, as a line of a lock file."""
    wheel = directory / "tiny-1.0-py3-none-any.whl"
    facts = "tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny.py", "value = 1\n")
        archive.writestr("tests/test_tiny.py", "")
        archive.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{facts}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"tiny @ {wheel.as_uri()} --hash=sha256:{digest}\n"


def make_tree(root: Path, bundle: Path) -> Path:
    """What deploy.sh deploys, and deploy/ itself, for `python -m deploy` in it."""
    root.mkdir(parents=True)
    for folder in ("deploy", "contract", "music", "generate_tokens", "midi_save", "site"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "statemachine.asl.json", root)
    shutil.copytree(bundle, root / "layers" / "model")
    line = make_wheel(root)
    for folder in ("generate_tokens", "midi_save"):
        (root / folder / "requirements.lock").write_text(line)
    (root / "build").mkdir()
    shutil.copy2(soundfont.fetch(ROOT / "build"), root / "build")
    return root


@contextmanager
def account(root: Path, **options: Any) -> Iterator[Account]:
    """An empty account. There can be one at a time in a process."""
    with LocalAws(ensure_runtime(ROOT / ".cache"), **options) as aws:
        yield Account(aws, root)
