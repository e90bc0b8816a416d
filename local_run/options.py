"""run.sh's options: those of the event's table (contract/request.py), and its own.

Depends on neither AWS nor what becomes of the event.
"""

from __future__ import annotations

import argparse
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from contract.bundle import Bundle
from contract.errors import BundleError, EventError
from contract.request import FIELDS, event_table, parse_request

MODEL = Path(__file__).resolve().parents[1] / "layers" / "model"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The options of run.sh. Exits with status 2, and a message, for others."""
    parser = argparse.ArgumentParser(
        prog="./run.sh",
        description="Compose a piece of music on this machine, through the same functions, state "
        "machine and schedule that ./deploy.sh puts on AWS.",
        epilog="The last line of the output is one JSON object with the facts about the piece.",
    )
    event = parser.add_argument_group(
        "the piece", "fields of the event; docs/event.md has the styles and metres, too"
    )
    for field in FIELDS:
        if field.option is not None:
            default = field.default_text or (
                field.default if isinstance(field.default, str) else "the model's"
            )
            accepts = f"; accepts {field.accepts}" if isinstance(field.accepts, str) else ""
            event.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=field.option,
                metavar=field.option.__name__.upper(),
                help=f"{field.help}{accepts} (default: {default})".replace("%", "%%"),
            )
    own = parser.add_argument_group(
        "this run", "--prompt may also name a .mid file on this machine, which the piece continues"
    )
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
    if options.pieces is not None and options.days > 1:
        parser.error("--pieces is for one day: leave --days out")
    return options


def event_of(options: argparse.Namespace) -> dict[str, Any]:
    """The event's fields that were given, but for the date: each of several days has its own."""
    names = [field.name for field in FIELDS if field.option is not None and field.name != "date"]
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def is_file(prompt: str | None) -> bool:
    """Whether --prompt names a file on this machine."""
    return prompt not in (None, "previous", "fresh") and not str(prompt).startswith("s3://")


def check(options: argparse.Namespace, caller: Path) -> None:
    """Refuses what the functions would refuse, before anything is started.

    Raises ValueError, whose message names the option and what it accepts.
    """
    event = event_of(options)
    if is_file(options.prompt):
        if not (caller / options.prompt).is_file():
            raise ValueError(f"--prompt: there is no file {caller / options.prompt}")
        del event["prompt"]
    try:
        bundle = Bundle.load(caller / options.bundle if options.bundle else MODEL)
        parse_request({**event, "date": options.date}, bundle, "2000-01-01")
    except (BundleError, EventError) as error:
        raise ValueError(str(error)) from error


def days_of(options: argparse.Namespace, today: date) -> list[date]:
    """The days to compose for."""
    if options.date is None:
        first = today - timedelta(days=options.days - 1)
    else:
        first = date.fromisoformat(options.date[:10])  # a time of day may follow
    return [first + timedelta(days=number) for number in range(options.days)]


if __name__ == "__main__":
    print(event_table(Bundle.load(MODEL)))
