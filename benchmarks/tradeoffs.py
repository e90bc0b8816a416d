r"""How much model a free minute of Lambda buys: the measured table, its pictures, and a planner.

    python -m benchmarks.tradeoffs measure    # speeds; with --dataset and --real also quality
    python -m benchmarks.tradeoffs draw       # the pictures and tables of docs/tradeoffs.md
    python -m benchmarks.tradeoffs plan --minutes-per-day 3 --budget-usd 0

The table is benchmarks/tradeoffs.json. `measure` writes each figure there as soon as it has it, and
does not measure again what is there. Seconds of a Lambda processor are CPU seconds of one core of
this machine. Depends on neither S3 nor Lambda.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import planner
from contract.bundle import Bundle, read_manifest
from training import options
from training.options import DATASET, Parser

if TYPE_CHECKING:
    from training.data.dataset import Dataset

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "layers" / "model"
TABLE = Path(__file__).with_suffix(".json")
CPU_MINUTES = (20.0,)
SAMPLES, SECONDS, SEED = 24, 75.0, 20_000


def read_table(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def write_table(path: Path, table: Mapping[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def judged(bundle: Path, a: argparse.Namespace, candidates: int = 4) -> dict[str, Any]:
    """The figures of an evaluation against the pieces of --real that the table keeps."""
    from training.evaluation.evaluate import evaluate  # loads scikit-learn

    report = evaluate(
        bundle,
        a.real,
        a.samples,
        SECONDS,
        SEED,
        sampling={"candidates": candidates},
        styles="even",
        workers=a.workers,
        predict=False,  # the nats that the table compares are those of training
    ).to_json()
    heard = report["listener"]["means"]
    names = ("frozen", "longest_return_s", "tonic_triad")
    return {
        **{name: report[name] for name in ("oa", "oa_values")},
        "auc": report["two_sample"]["auc"],
        **{name: heard[name]["generated"]["mean"] for name in names},
        "pieces": report["pieces"]["generated"],
    }


def measure(arguments: Sequence[str]) -> None:
    """Adds to the table what it lacks."""
    parser = Parser("benchmarks.tradeoffs measure", "Measure what the table lacks, and keep it.")
    add, whole = parser.add_argument, options.whole(1)
    made = options.file("training.data.dataset")
    add("--table", type=options.new_file(".json"), default=str(TABLE), help="default: %(default)s")
    add("--bundle", type=options.folder, default=str(BUNDLE), help="the released one")
    add("--rounds", type=whole, default=3, help="of speeds, of which the fastest counts")
    add("--dataset", type=made, help="to train on: sizes are trained only with it")
    add("--real", type=options.folder, help="real pieces to judge by: judged only with it")
    add("--samples", type=whole, default=SAMPLES, help="pieces of each evaluation")
    add("--workers", type=whole, help="processes of an evaluation; by default one a core")
    add("--original", type=options.file("benchmarks.original --out"), help="kept in the table")
    add("--work", type=options.new_folder, default="build/ladder", help="for the trained models")
    a = parser.parse_args(arguments)

    import torch  # here, as planning and drawing need neither this nor what uses it

    from benchmarks.ladder_speed import measure_speed
    from training.data.dataset import Dataset

    released = parser.read("--bundle", a.bundle, Bundle.load, "a bundle")
    dataset = parser.read("--dataset", a.dataset, Dataset.load, DATASET) if a.dataset else None
    torch.set_num_threads(1)
    table = read_table(a.table)
    if table.get("model_id") != released.model_id:
        facts = released.training
        table |= {
            "model_id": released.model_id,
            "released": {
                "parameters": facts["parameters"],
                "tokens": facts["tokens_seen"],
                "nats": facts["validation_nats_per_note"],
            },
            "candidates": {},
        }
        write_table(a.table, table)
    if "speed" not in table:
        table["speed"] = measure_speed(released, a.rounds)
        table["measured_on"] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        write_table(a.table, table)
    if a.original is not None:
        table["original"] = json.loads(a.original.read_text(encoding="utf-8"))
        write_table(a.table, table)
    add_quality(table, released, dataset, a)


def add_quality(
    table: dict[str, Any], released: Bundle, dataset: Dataset | None, a: argparse.Namespace
) -> None:
    """Adds what the sizes learn, and how their pieces and the released model's are judged."""
    from benchmarks.ladder import TRAINED, exported, trained
    from benchmarks.ladder_speed import CANDIDATES
    from training.model.archive_facts import NO_FACTS

    manifest = read_manifest(released.directory)
    facts = {name: manifest[name] for name in NO_FACTS}
    rows = {(row["size"], row["asked"]): row for row in table.get("trained", ())}
    for key in itertools.product(TRAINED, CPU_MINUTES) if dataset is not None else ():
        assert dataset is not None
        if key in rows and ("judged" in rows[key] or a.real is None):
            continue
        # A row that is there, but not judged, is trained again where its checkpoint is not kept.
        size, minutes = key
        rows[key] = {"asked": minutes, **trained(size, minutes, dataset, a.work)}
        if a.real is not None:
            name = f"{size}-{minutes:g}"
            bundle = exported(a.work / f"{name}.pt", dataset, a.work / name, facts)
            rows[key]["judged"] = judged(bundle.directory, a)
        table["trained"] = list(rows.values())
        write_table(a.table, table)
    for n in CANDIDATES if a.real else ():
        if str(n) not in table["candidates"]:
            table["candidates"][str(n)] = judged(a.bundle, a, candidates=n)
            write_table(a.table, table)


def usd(text: str) -> float:
    """The type of the option for a budget, which may be nothing."""
    return 0.0 if text.strip("0.") == "" else options.positive(text)


def whole_table(parser: Parser, path: Path) -> dict[str, Any]:
    table = parser.read("--table", path, read_table, "a table that `measure` wrote")
    missing = [name for name in ("speed", "trained", "candidates") if not table.get(name)]
    if missing:
        parser.error(f"--table: {path} lacks {', '.join(missing)}: `measure` adds them")
    return table


def plan(arguments: Sequence[str]) -> None:
    """Prints the best plan, the next ones, and all that was assumed."""
    parser = Parser("benchmarks.tradeoffs plan", "What to train and deploy for a wish.")
    add, positive, asked = parser.add_argument, options.positive, planner.Wish()
    add("--table", type=options.file("benchmarks.tradeoffs measure"), default=str(TABLE))
    add("--minutes-per-day", type=positive, default=asked.minutes_per_day, help="of music")
    add("--pieces-per-day", type=positive, default=asked.pieces_per_day, help="that share them")
    add("--budget-usd", type=usd, help="a month at most; default 0, with --nats no limit")
    add("--nats", type=positive, help="ask for the lowest price at this quality instead")
    add("--train-on", choices=planner.MACHINES, default=asked.train_on)
    add("--hours", type=positive, default=asked.hours, help="of training; default: no limit")
    add("--archive-tokens", type=positive, default=asked.archive_tokens, help="of training pieces")
    add("--architecture", choices=planner.GB_S, default=asked.architecture)
    add("--extrapolate", action="store_true", help="also sizes that were not trained here")
    a = parser.parse_args(arguments)
    table = whole_table(parser, a.table)
    wish = planner.Wish(**{name: value for name, value in vars(a).items() if name != "table"})
    curve = planner.curve_of(table)
    found = planner.plans(table, curve, wish)
    print("\n".join(planner.told(table, curve, wish, found)))
    if not found:
        sys.exit(1)
    print(json.dumps(found[0].to_json()))


def draw(arguments: Sequence[str]) -> None:
    """Draws the pictures, and writes the tables into the page."""
    parser = Parser("benchmarks.tradeoffs draw", "The pictures and tables of docs/tradeoffs.md.")
    add = parser.add_argument
    add("--table", type=options.file("benchmarks.tradeoffs measure"), default=str(TABLE))
    add("--pictures", type=options.new_folder, default=str(ROOT / "docs" / "pictures"))
    a = parser.parse_args(arguments)
    from benchmarks import tradeoffs_page  # loads matplotlib

    table = whole_table(parser, a.table)
    for path in tradeoffs_page.draw(table, a.pictures):
        print(path)


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "measure": measure,
    "draw": draw,
    "plan": plan,
}


def main() -> None:
    parser = Parser("benchmarks.tradeoffs", (__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=COMMANDS, help="each has a --help of its own")
    COMMANDS[parser.parse_args(sys.argv[1:2]).command](sys.argv[2:])


if __name__ == "__main__":
    main()
