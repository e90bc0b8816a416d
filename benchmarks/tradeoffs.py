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
from typing import Any

from benchmarks import planner
from training import options
from training.options import DATASET, Parser

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "layers" / "model"
TABLE = Path(__file__).with_suffix(".json")
CPU_MINUTES = (20.0,)
SAMPLES, SECONDS, SEED = 24, 75.0, 20_000
# Decayed stretches of the long run before the released one: parameters, tokens seen, nats (LOG.md).
EARLIER = (
    (2_190_000, 66_500_000, 1.870),
    (2_190_000, 80_000_000, 1.829),
    (1_911_360, 107_102_208, 1.7919),
)


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
    add("--work", type=options.new_folder, default="build/ladder", help="for the trained models")
    a = parser.parse_args(arguments)

    import torch  # planning and drawing do not need it

    from benchmarks.ladder import TRAINED, exported, trained
    from benchmarks.ladder_speed import CANDIDATES, measure_speed
    from contract.bundle import Bundle, read_manifest
    from training.data.dataset import Dataset
    from training.model.archive_facts import NO_FACTS

    released = parser.read("--bundle", a.bundle, Bundle.load, "a bundle")
    dataset = parser.read("--dataset", a.dataset, Dataset.load, DATASET) if a.dataset else None
    torch.set_num_threads(1)
    table = read_table(a.table)
    if table.get("model_id") != released.model_id:
        facts = released.training
        table |= {
            "model_id": released.model_id,
            "released": {
                "size": f"{facts['parameters'] / 1e6:.1f}M",
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
    rows = table.setdefault("trained", [])
    done = {(row["size"], row["asked"]) for row in rows}
    if dataset is not None:
        for minutes, size in itertools.product(CPU_MINUTES, TRAINED):
            if (size, minutes) not in done:
                rows.append({"asked": minutes, **trained(size, minutes, dataset, a.work)})
                write_table(a.table, table)
    if dataset is not None and a.real is not None:
        manifest = read_manifest(released.directory)
        facts = {name: manifest[name] for name in NO_FACTS}
        for row in rows:
            if row["asked"] == max(CPU_MINUTES) and "judged" not in row:
                name = f"{row['size']}-{row['asked']:g}"
                bundle = exported(a.work / f"{name}.pt", dataset, a.work / name, facts)
                row["judged"] = judged(bundle.directory, a)
                write_table(a.table, table)
    for n in CANDIDATES if a.real else ():
        if str(n) not in table["candidates"]:
            table["candidates"][str(n)] = judged(a.bundle, a, candidates=n)
            write_table(a.table, table)


def points_of(table: Mapping[str, Any]) -> list[dict[str, float]]:
    """Parameters, tokens and nats of all trained models, to which the curve is fitted."""
    earlier = [dict(zip(planner.POINT, point, strict=True)) for point in EARLIER]
    rows = [*table["trained"], *earlier, table["released"]]
    return [{name: row[name] for name in planner.POINT} for row in rows]


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
    add("--budget-usd", type=float, default=asked.budget_usd, help="a month; default 0")
    add("--nats", type=positive, help="ask for the lowest price at this quality instead")
    add("--train-on", choices=planner.MACHINES, default=asked.train_on)
    add("--hours", type=positive, default=asked.hours, help="of training; default: no limit")
    add("--archive-tokens", type=positive, default=asked.archive_tokens, help="of training pieces")
    add("--architecture", choices=planner.GB_S, default=asked.architecture)
    add("--extrapolate", action="store_true", help="also sizes that were not trained here")
    a = parser.parse_args(arguments)
    table = whole_table(parser, a.table)
    wish = planner.Wish(**{name: value for name, value in vars(a).items() if name != "table"})
    curve = planner.fitted(points_of(table))
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
    for path in tradeoffs_page.draw(table, points_of(table), a.pictures):
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
