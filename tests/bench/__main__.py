"""Faults on the chain, a year with a fault a day, and damaged input at every border.

    python -m tests.bench [--long]

Prints what was injected, survived, healed and lost, and ends with one line of JSON. Short: under a
minute. Long: every row of the table, 365 days, 100,000 damaged inputs; half an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import date, timedelta
from typing import Any

from tests.bench.borders import borders_part
from tests.bench.chain import check, deployed, year
from tests.bench.rows import ALARMS, ROWS

FIRST, FIRST_OF_YEAR = date(2024, 1, 1), date(2025, 1, 1)


def chain_part(*, long: bool) -> dict[str, Any]:
    """The table of faults, then the year."""
    rows = [row for row in ROWS if long or row.short]
    days, seed = (365, 365) if long else (4, 29)  # with this seed one day is lost, one half-made
    table = {"injected": len(rows), "survived": 0, "healed": 0, "lost": 0}
    wrong: list[str] = []
    failed: set[str] = set()
    with deployed() as chain:
        chain.run(FIRST)
        for number, row in enumerate(rows, 1):
            today = FIRST + timedelta(days=number)
            differs = check(chain, row, today)
            wrong += [f"{row.state}, {row.call}, {row.fault}: {what}" for what in differs]
            end = "lost" if chain.whole(today) else "healed" if row.error else "survived"
            table[end] += 1
            came = ", ".join(differs) or (f"{row.error}, healed" if row.error else end)
            told = ", ".join(ALARMS[letter] for letter in row.alarms.split()) or "no alarm"
            what = f"{row.state:9}{row.call:50}{row.fault:25}{row.lasts:9}"
            print(f"{what}{came:42}{told}", flush=True)
        for number, (day, row, error) in enumerate(year(chain, FIRST_OF_YEAR, days, seed), 1):
            wrong += [f"{day}, {row}: {error or 'a piece'}"] if error != row.error else []
            failed |= {str(day)} if row.error else set()
            if number % 73 == 0 or number == days:
                print(f"{number} days with a fault each: {len(failed)} failed", flush=True)
        files = {name: n for name, n in chain.files().items() if name.startswith("2025")}
        lost = {str(FIRST_OF_YEAR + timedelta(days=n)) for n in range(days)} - files.keys()
        wrong += [f"{name}: lost, although its fault did not last" for name in lost - failed]
        for name in files:
            differs = chain.whole(date.fromisoformat(name), latest=False)
            wrong += [f"{name}: {what}" for what in differs]
    incomplete = sum(n != 3 for n in files.values())
    of_year = {"days": days, "failed": len(failed), "lost": len(lost), "incomplete": incomplete}
    return {"table": table, "year": of_year, "wrong": wrong[:20]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--long", action="store_true", help="half an hour instead of a minute")
    long, began = parser.parse_args().long, time.monotonic()
    borders = borders_part(100_000 if long else 1000, long=long)
    result = {**chain_part(long=long), "borders": borders}
    print(json.dumps({**result, "seconds": round(time.monotonic() - began)}))
    sys.exit(bool(result["wrong"] or any(border["unnamed"] for border in borders.values())))


if __name__ == "__main__":
    main()
