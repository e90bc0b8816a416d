"""run.sh's options: those of the event's table (contract/request.py), and its own.

Everything that is wrong with them is said before anything is started. Depends on neither AWS nor
what becomes of the event.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NoReturn

from contract.bundle import Bundle
from contract.errors import BundleError, EventError, PromptError
from contract.request import EARLIEST_DATE, FIELDS, event_table, parse_request
from local_run.output import SiteFolderError, check_folder, check_site_folder

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "layers" / "model"
# What is accepted here instead of what an event may have: the bucket is new and empty.
LOCALLY = {"prompt": '"previous", "fresh" or the name of a .mid file'}
# Bytes of disk, with a margin. Unpacked functions and what the embedded AWS holds took 170 MB; a
# second of MP3 has 12 kB, in the folder and once more in the site.
UNPACKED_BYTES, SITE_BYTES, BYTES_A_SECOND = 300e6, 2e6, 30e3


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        words = message.removeprefix("argument ")
        self.exit(2, f"run.sh: {words}: see ./run.sh --help\n")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The options of run.sh. Exits with status 2, and a message of one line, for others."""
    parser = _Parser(
        prog="./run.sh",
        allow_abbrev=False,  # --piece, a field of the event, is not --pieces
        description="Compose a piece of music on this machine, through the same functions, state "
        "machine and schedule that ./deploy.sh puts on AWS.",
        epilog="The last line of the output is one JSON object with the facts about the piece.",
    )
    event = parser.add_argument_group("the piece", "fields of the event; see docs/event.md")
    bundle = _shipped()
    for field in FIELDS:
        if field.option is not None:
            text = field.help
            if bundle:
                accepts = LOCALLY.get(field.name) or field.accepted(bundle)
                text += f"; accepts {accepts} (default: {field.default_in_words(bundle)})"
            event.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=field.option,
                metavar=field.option.__name__.upper(),
                help=text.replace("%", "%%"),
            )
    own = parser.add_argument_group("this run")
    own.add_argument(
        "--days",
        type=int,
        default=1,
        help="consecutive days, a piece for each: from --date on, or else until today (default: 1)",
    )
    own.add_argument("--bundle", help="the trained model's folder (default: layers/model)")
    own.add_argument(
        "--out",
        help="folder for the pieces and their site, which each run makes anew, of its own days "
        "(default: out/ beside run.sh)",
    )
    own.add_argument("--keep", action="store_true", help="leave the local AWS running until Ctrl-C")
    options = parser.parse_args(arguments)
    if options.days < 1:
        parser.error("--days must be at least 1")
    for name in ("bundle", "out"):
        if getattr(options, name) == "":  # a variable of the caller's that is not set
            parser.error(f"--{name} is empty: name a folder, or leave it out")
    if options.pieces is not None and options.days > 1:
        parser.error("--pieces is for one day: leave --days out")
    return options


def _shipped() -> Bundle | None:
    """The bundle whose styles, metres and defaults --help names."""
    try:
        return Bundle.load(MODEL)
    except (BundleError, OSError):
        return None  # said of the run, not of --help


def event_of(options: argparse.Namespace) -> dict[str, Any]:
    """The event's fields that were given, but for the date: each of several days has its own."""
    names = [field.name for field in FIELDS if field.option is not None and field.name != "date"]
    return {name: value for name in names if (value := getattr(options, name)) is not None}


@dataclass(frozen=True)
class Checked:
    """What a run needs, all of it tried. `event` lacks the prompt if that is a file: `midi`."""

    event: dict[str, Any]
    midi: bytes | None
    bundle: Path | None
    days: list[date]
    out: Path
    keep: bool


def check(options: argparse.Namespace, caller: Path, today: date) -> Checked:
    """Refuses what the functions would refuse, and what this machine cannot do.

    Paths are relative to `caller`. Raises ValueError, whose message names the option and what it
    accepts.
    """
    event = event_of(options)
    midi = None
    if event.get("prompt", "fresh") not in ("previous", "fresh"):
        midi = _midi(event.pop("prompt"), caller)
    folder = caller / options.bundle if options.bundle else None
    if folder and not os.path.isdir(folder):  # noqa: PTH112  Path.is_dir raises for some names
        raise ValueError(
            f"--bundle: there is no folder {folder}: name one that training.model.export wrote"
        )
    try:
        bundle = Bundle.load(folder or MODEL)
    except (BundleError, OSError) as error:
        raise ValueError(f"--bundle: {error}") from error
    try:
        request = parse_request({**event, "date": options.date}, bundle, "2000-01-01")
        days = days_of(options.days, request.date if options.date else None, today)
    except EventError as error:
        # The message begins with the name of the field.
        raise ValueError(re.sub(r"^\w+", lambda m: _option(m[0]), str(error))) from error
    out = caller / options.out if options.out else ROOT / "out"
    seconds = request.duration_s * len(days) * (options.pieces or 1)
    check_folder("--out", out, SITE_BYTES + seconds * BYTES_A_SECOND)
    if options.pieces is None:
        try:
            check_site_folder(out / "site")
        except (SiteFolderError, OSError) as error:
            raise ValueError(f"--out: {error}") from error
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise ValueError(f"TMPDIR: {error.strerror}") from error
    check_folder("TMPDIR", temporary, UNPACKED_BYTES + seconds * BYTES_A_SECOND)
    return Checked(event, midi, folder, days, out, options.keep)


def _option(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _midi(prompt: str, caller: Path) -> bytes:
    """The file that --prompt names, if midi_save will take it."""
    # Not above: numpy and symusic take 0.4 s.
    from midi_save.prompt import SIZE_LIMIT, read_prompt, too_large

    if prompt.startswith("s3://"):
        raise ValueError(
            f"--prompt: the bucket is new and empty, {prompt} is not in it: name a file"
        )
    path = caller / prompt
    try:
        if stat.S_ISFIFO(path.stat().st_mode):
            raise ValueError(f"--prompt: {path} is a pipe: name a file")
        with path.open("rb") as file:
            midi = file.read(SIZE_LIMIT + 1)
            if len(midi) > SIZE_LIMIT:
                raise too_large(max(len(midi), path.stat().st_size))
        read_prompt(midi)
    except FileNotFoundError as error:
        raise ValueError(f"--prompt: there is no file {path}") from error
    except OSError as error:
        raise ValueError(f"--prompt: {path} cannot be read: {error.strerror}") from error
    except PromptError as error:
        raise ValueError(f"--prompt: {path}: {error}") from error
    return midi


def days_of(count: int, begin: str | None, today: date) -> list[date]:
    """So many days: from `begin` on, or else until today.

    Raises ValueError if the calendar has no such days.
    """
    try:
        first = today - timedelta(days=count - 1) if begin is None else date.fromisoformat(begin)
        first + timedelta(days=count - 1)
    except OverflowError as error:
        raise ValueError(
            f"--days {count}: the calendar has no such days: name fewer, or another --date"
        ) from error
    if first < EARLIEST_DATE:  # --date has been checked
        raise ValueError(f"--days {count}: the first would be {first}: name fewer")
    return [first + timedelta(days=number) for number in range(count)]


if __name__ == "__main__":
    print(event_table(Bundle.load(MODEL)))
