"""Runs faults on the real chain: the deployed zips and state machine, on the embedded AWS.

The state machine's waits are not slept but added up, and an outage is over when they have added up
to its length: so a quarter of an hour takes a second.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from deploy.aws import Aws
from deploy.half_made import complete_days
from deploy.place import Place
from local_aws.runtime import ensure_runtime
from local_aws.schedule import StartError, fire_for
from local_aws.server import LocalAws
from local_run.deployment import deploy
from local_run.executions import wait_for
from tests.bench.rows import ALARMS, LASTS_S, ROWS, Row
from tests.emf import alarms_of, metrics_in

EVENT = {"duration_s": 8, "candidates": 1}
LATEST, PROMPT = "neural-net/model-prediction.mid", "prompts/a.mid"


@dataclass
class Day:
    """How a day ended, and what an operator can see of it. `error`: "" if there is a piece."""

    error: str = ""
    hits: int = 0
    errors: set[str] = field(default_factory=set)  # named in the log, with advice
    metrics: Counter[str] = field(default_factory=Counter)

    def read(self, lines: list[str]) -> None:
        """Take in the log."""
        for line in (re.sub(r"^\[[\w-]+\] ", "", line) for line in lines):
            if "_aws" in line:
                self.metrics.update({name: round(v) for name, (v, _) in metrics_in(line).items()})
            elif line.startswith('{"level": "ERROR"') and json.loads(line)["advice"]:
                self.errors.add(json.loads(line)["error"])


@dataclass
class Chain:
    """A deployed installation; `names` are deploy.sh's outputs, `lines` its functions' logs."""

    aws: LocalAws
    names: dict[str, Any]
    lines: list[str]
    outage_s: float = 0.0

    def wait(self, seconds: float) -> None:
        """In place of the state machine's sleep."""
        self.outage_s -= seconds
        if self.outage_s <= 0:
            self.aws.clear_faults()

    def run(self, today: date, row: Row | None = None) -> Day:
        """The day's execution, with the fault of a row."""
        day, event, fault = Day(), dict[str, Any](EVENT), None
        if row is not None:
            call, _, key = row.call.partition(" ")
            service, _, operation = call.partition(".")
            key = key.format(day=today, before=today - timedelta(days=1))
            if service == "bucket":
                day.hits = self._spoil(operation, key)
            else:
                self.outage_s = LASTS_S[row.lasts]
                fault = self.aws.fail_next(service, operation, key, **row.how)
            if row.state == "Prompt":
                body = self.body(LATEST)
                self.s3.put_object(Bucket=self.bucket, Key=PROMPT, Body=body)
                event["prompt"] = f"s3://{self.bucket}/{PROMPT}"
        self.lines.clear()
        try:
            arn = fire_for(self.aws, self.names["schedule"], today, event)
            ended = wait_for(self.aws, arn, timeout_s=300)
            day.error = "" if ended["status"] == "SUCCEEDED" else str(ended.get("error"))
            day.metrics["ExecutionsFailed"] += ended["status"] == "FAILED"
        except StartError as refused:
            day.error = "StartError"
            day.metrics["ApproximateNumberOfMessagesVisible"] += "message is in" in str(refused)
        self.aws.clear_faults()
        if fault is not None:
            day.hits = fault.hits
            day.metrics["Throttles"] += fault.hits * (fault.status == 429)
        day.read(self.lines)
        return day

    def whole(self, today: date, *, latest: bool = True) -> list[str]:
        """What is wrong with a day: the files that its record names, the latest, the pages."""
        try:
            record = json.loads(self.body(f"neural-net/{today}_sequence.json"))
            wrong = []
            for name, named in record["objects"].items():
                body = self.body(record["keys"][name], VersionId=named["version"])
                if hashlib.sha256(body).hexdigest() != named["sha256"]:
                    wrong.append(f"{name} is not what its record names")
                if latest and name == "archive" and self.body(LATEST) != body:
                    wrong.append("it is not the latest")
            pages = (f"days/{today}.html", "index.html", "feed.xml") if latest else ()
            lacking = [
                page for page in pages if f"{today}".encode() not in self.body(f"site/{page}")
            ]
            return wrong + [f"it is not in {page}" for page in lacking]
        except ClientError as missing:
            return [str(missing)]

    def files(self) -> Counter[str]:
        """How many files each day has, by its date."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [entry["Key"].split("/") for page in pages for entry in page["Contents"]]
        return Counter(name[:10] for folder, name, *_ in keys if folder == "neural-net")

    @property
    def s3(self) -> Any:
        return self.aws.client("s3")

    @property
    def bucket(self) -> str:
        return str(self.names["music_bucket"])

    def body(self, key: str, **version: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=self.bucket, Key=key, **version)["Body"].read())

    def _spoil(self, operation: str, key: str) -> int:
        if operation == "damage":
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=b'{"date": ')
            return 1
        found = self.s3.list_object_versions(Bucket=self.bucket, Prefix=key)["Versions"]
        for version in found:
            self.s3.delete_object(Bucket=self.bucket, Key=key, VersionId=version["VersionId"])
        return len(found)


@contextmanager
def deployed() -> Iterator[Chain]:
    lines: list[str] = []
    runtime = ensure_runtime(Path(__file__).parents[2] / ".cache")
    with LocalAws(runtime, log=lines.append, wait=lambda s: chain.wait(s)) as aws:  # noqa: PLW0108 - made later
        chain = Chain(aws, deploy(aws), lines)
        yield chain


def check(chain: Chain, row: Row, today: date) -> list[str]:
    """A row on a day of its own: what differs from what is expected."""
    day = chain.run(today, row)
    wrong = [] if day.error == row.error else [f"ended with {day.error or 'a piece'}"]
    wrong += [] if day.hits else ["nothing was hit"]
    if (fired := alarms_of(day.metrics)) != {ALARMS[letter] for letter in row.alarms.split()}:
        wrong.append(f"alarms: {' '.join(sorted(fired))}")
    by_function = row.call.startswith("s3.") and (row.error or row.lasts != "once")
    if by_function and not ({row.error} & day.errors if row.error else day.errors):
        wrong.append(f"the log names {sorted(day.errors)}")
    again = [today - timedelta(days=1)] * ("D" in row.alarms) + [today] * bool(row.error)
    for name in again:  # what a person does: an execution with the date
        wrong += [f"{name} again: {error}" for error in [chain.run(name).error] if error]
    return wrong + chain.whole(today)


def year(chain: Chain, first: date, days: int, seed: int) -> Iterator[tuple[date, Row, str]]:
    """A fault a day, and how the day ended; nobody looks until --complete-days at the end."""
    draw = random.Random(seed)
    for number in range(days):
        row = draw.choice([row for row in ROWS if not row.call.startswith("bucket.")])
        today = first + timedelta(days=number)
        yield today, row, chain.run(today, row).error
    names, aws = chain.names, Aws(chain.aws.client, chain.aws.region, lambda _: None)
    place = Place(names["name"], names["account"], names["region"])
    complete_days(aws, place, lambda _: "yes", dry=False)
