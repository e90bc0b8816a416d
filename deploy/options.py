"""deploy.sh's options, and what is wrong with them before any call to AWS."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from contract.bundle import Bundle
from contract.errors import BundleError
from deploy.errors import DeployError
from deploy.place import ROOT
from deploy.schedule_expression import (
    ScheduleExpressionError,
    check_expression,
    check_in_zone,
    check_timezone,
)
from deploy.soundfont import DEFAULT, programs_of, trimmed_bank
from deploy.wheels import HOST_RUNTIME, MACHINES

# The pins have wheels for 3.11 to 3.14 only, and they need glibc 2.28, while Lambda's python3.11 is
# on Amazon Linux 2 with 2.26. An embedded AWS runs functions with the machine's own Python.
RUNTIMES = ("python3.12", "python3.13", "python3.14")
LOCAL_RUNTIME = "python3.11"
LARGEST_MB, SMALLEST_MB = 10240, 512


@dataclass(frozen=True)
class Options:
    """What the caller asks for; None is what stays as it is deployed."""

    action: str = "deploy"  # or "rollback", "rebuild-site", "complete-days", "destroy"
    dry_run: bool = False
    delete_music: bool = False
    smoke: bool = True
    name: str = "midi-archive"
    region: str | None = None
    profile: str | None = None
    schedule: str | None = None
    timezone: str | None = None
    memory: int | None = None
    runtime: str | None = None
    arch: str | None = None
    alarm_email: str | None = None
    permissions_boundary: str | None = None
    site: bool | None = None
    bundle: Path | None = None  # the folder; None is layers/model
    soundfont: Path | Literal["default"] | None = None
    outputs: Path | None = None
    root: Path = ROOT  # of the code that is deployed

    @property
    def model(self) -> Path:
        return self.bundle or self.root / "layers" / "model"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        words = message.removeprefix("argument ").rstrip(".")
        raise DeployError(f"{words}: see ./deploy.sh --help")


def parse(arguments: Sequence[str], caller: Path, root: Path = ROOT) -> Options:
    """Paths in them are relative to `caller`; `root` is of the code. Raises DeployError."""
    parser = _Parser(
        prog="./deploy.sh",
        description="Create or update everything that the composer needs in one AWS account and "
        "region. Run it again at any time: it compares before it writes, prints a line for each "
        "change, and ends with `changes: N`.",
        allow_abbrev=False,
    )
    group = parser.add_argument_group(
        "what to do", "without any of these: create or update, then compose a trial piece"
    )
    group.add_argument("--dry-run", action="store_true", help="only say what would be changed")
    action = group.add_mutually_exclusive_group()
    for name, text in (
        ("rollback", "put the functions back on the model before the present one"),
        ("rebuild-site", "make all pages, feeds and sounds of the site again"),
        (
            "complete-days",
            "list the days that have files but no record, ask, and make them again",
        ),
        ("destroy", "list everything, ask, and delete it; the music bucket stays"),
    ):
        action.add_argument(f"--{name}", dest="action", action="store_const", const=name, help=text)
    group.add_argument(
        "--delete-music", action="store_true", help="with --destroy: the music bucket, too"
    )
    group.add_argument(
        "--no-smoke", dest="smoke", action="store_false", help="without the trial piece at the end"
    )

    def option(name: str, metavar: str, check: Callable[[str], object], text: str) -> None:
        group.add_argument(f"--{name}", metavar=metavar, type=check, help=text)

    group = parser.add_argument_group("where")
    option(
        "name",
        "NAME",
        _like(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "lower-case letters, digits and single hyphens"),
        "an installation: the prefix of all its names in AWS (default: midi-archive)",
    )
    option(
        "region",
        "REGION",
        _like(r"[a-z]{2}(-[a-z]+)+-\d+", "eu-central-1"),
        "AWS region (default: AWS_REGION, AWS_DEFAULT_REGION, or the profile's)",
    )
    option(
        "profile",
        "PROFILE",
        _like(r".+", "a profile in ~/.aws/config"),
        "profile in ~/.aws/config, which wins over keys in the environment (default: AWS_PROFILE, "
        "or none)",
    )
    group = parser.add_argument_group(
        "how", "what is not given stays as it is deployed; the defaults are for the first time"
    )
    option(
        "schedule",
        "EXPR",
        _checked(check_expression),
        "when a piece is made: cron(...), rate(...), at(...) (default: cron(0 6 * * ? *))",
    )
    option(
        "timezone",
        "ZONE",
        _checked(check_timezone),
        "time zone of the schedule, as in Europe/Berlin (default: UTC)",
    )
    option(
        "memory",
        "MB",
        _memory,
        "of each function, 512 to 10240; 1769 is one whole vCPU (default: 1769)",
    )
    option(
        "runtime",
        "RUNTIME",
        _runtime,
        f"{', '.join(RUNTIMES)} (default: this machine's Python, or python3.13)",
    )
    option(
        "arch",
        "ARCH",
        _like("|".join(MACHINES), "x86_64 or arm64"),
        "x86_64 or arm64 (default: x86_64)",
    )
    option(
        "alarm-email",
        "MAIL",
        _like(r"[\w.%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", "me@example.org"),
        "also mail alarms to this address (default: nobody)",
    )
    option(
        "permissions-boundary",
        "ARN",
        _like(r"arn:aws:iam::(\d{12}|aws):policy/[\w+=,.@/-]+", "arn:aws:iam::ACCOUNT:policy/NAME"),
        "policy that bounds each role: see docs/deploy.md (default: none)",
    )
    public = group.add_mutually_exclusive_group()
    for name, in_public, text in (
        ("site", True, "put the site in public, by CloudFront (default: no)"),
        ("no-site", False, "take it away; its address is lost, the pieces stay"),
    ):
        public.add_argument(
            f"--{name}", dest="site", action="store_const", const=in_public, help=text
        )
    at = _like(r".+", "a path")
    option("bundle", "DIR", lambda v: caller / at(v), "the trained model's folder (layers/model)")
    option(
        "soundfont",
        "FILE",
        lambda v: v if v == DEFAULT else caller / at(v),
        "a SoundFont (.sf2) to play the pieces on (default: TimGM6mb, to which the word "
        f"'{DEFAULT}' goes back)",
    )
    option(
        "outputs",
        "FILE",
        lambda v: caller / at(v),
        "also write the deployed names to FILE, as JSON",
    )
    given = vars(parser.parse_args(arguments))
    given = {name: value for name, value in given.items() if value is not None}
    options = Options(root=root, **given)
    if options.schedule and options.timezone:  # one alone goes with what is deployed
        check_schedule(options.schedule, options.timezone)
    if options.delete_music and options.action != "destroy":
        raise DeployError("--delete-music goes with --destroy")
    if options.outputs is not None:
        if options.outputs.is_dir():
            raise DeployError(f"--outputs: {options.outputs} is a folder: name a file")
        if not options.outputs.parent.is_dir():
            raise DeployError(f"--outputs: there is no folder {options.outputs.parent}")
    if options.action == "deploy":
        try:
            bundle = Bundle.load(options.model)
        except BundleError as error:
            raise DeployError(f"--bundle: {error}") from error
        if isinstance(options.soundfont, Path):
            trimmed_bank(options.soundfont, programs_of(bundle))
    return options


def first_runtime(host: str = HOST_RUNTIME) -> str:
    """The runtime of a first deployment: this machine's Python, which can compile the layers.

    A local AWS, in AWS_ENDPOINT_URL, runs functions with this machine's Python, whichever that is.
    """
    local = bool(os.environ.get("AWS_ENDPOINT_URL"))
    return host if local or host in RUNTIMES else "python3.13"


def check_schedule(schedule: str, timezone: str) -> None:
    """Raises DeployError if the schedule has days without a start in its zone."""
    try:
        check_in_zone(schedule, timezone)
    except ScheduleExpressionError as error:
        raise DeployError(f"--schedule: {error}, or another --timezone") from error


def check_name(name: str, region: str) -> None:
    """Raises DeployError for a name that is too long in this region."""
    longest = 63 - len(region) - len("-artifacts-123456789012-")
    if len(name) > longest:
        raise DeployError(
            f"--name may have {longest} characters in {region} (bucket names end at 63), {name!r} "
            f"has {len(name)}"
        )


def _like(pattern: str, example: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise argparse.ArgumentTypeError(f"must look like {example}, not {value!r}")
        return value

    return check


def _checked(check: Callable[[str], None]) -> Callable[[str], str]:
    def checked(value: str) -> str:
        try:
            check(value)
        except ScheduleExpressionError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return value

    return checked


def _memory(value: str) -> int:
    if not re.fullmatch(r"\d{1,5}", value) or not SMALLEST_MB <= int(value) <= LARGEST_MB:
        raise argparse.ArgumentTypeError(
            f"must be a number of MB from {SMALLEST_MB} to {LARGEST_MB}, not {value!r}"
        )
    return int(value)


def _runtime(value: str) -> str:
    if value == LOCAL_RUNTIME and not os.environ.get("AWS_ENDPOINT_URL"):
        raise argparse.ArgumentTypeError(
            f"{LOCAL_RUNTIME} cannot run on Lambda: its glibc 2.26 is older than the 2.28 that the "
            f"layers' packages need. Use one of {', '.join(RUNTIMES)} ({LOCAL_RUNTIME} is for a "
            "local AWS, in AWS_ENDPOINT_URL)"
        )
    if value not in (*RUNTIMES, LOCAL_RUNTIME):
        raise argparse.ArgumentTypeError(
            f"must be one of {', '.join(RUNTIMES)}, since the layers' packages have no others, "
            f"not {value!r}"
        )
    return value
