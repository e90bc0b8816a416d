"""What CloudWatch makes of log lines: metrics, by its embedded metric format, and alarms."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping

import pytest

from deploy.place import DOCUMENTS, FUNCTIONS

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html
_SIZES = [
    f"{scale}{what}" for what in ("bytes", "bits") for scale in ("", "kilo", "mega", "giga", "tera")
]
_RATED = [*(size.capitalize() for size in _SIZES), "Count"]
CLOUDWATCH_UNITS = {
    "Seconds", "Microseconds", "Milliseconds", "Percent", "None",
    *_RATED,
    *(f"{unit}/Second" for unit in _RATED),
}  # fmt: skip
EVENT_LIMIT_BYTES = 256 * 1024  # of a log event; CloudWatch counts 26 more for each


def metrics_in(text: str) -> dict[str, tuple[float, str]]:
    """Value and unit of each metric in a line, after what EMF's JSON schema asks of it.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    assert "\n" not in text and len(text.encode()) + 26 <= EVENT_LIMIT_BYTES
    line = json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are not JSON
    assert set(line["_aws"]) == {"Timestamp", "CloudWatchMetrics"}
    assert type(line["_aws"]["Timestamp"]) is int
    # CloudWatch takes what is up to two weeks old or two hours ahead: neither seconds nor µs.
    assert abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 3600
    assert isinstance(line["_aws"]["CloudWatchMetrics"], list)
    found: dict[str, tuple[float, str]] = {}
    for directive in line["_aws"]["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 255  # 1024 in later editions of the schema
        assert directive["Dimensions"] == [[]]
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert set(metric) == {"Name", "Unit"}
            assert 1 <= len(metric["Name"]) <= 255 and metric["Name"] not in found
            assert metric["Unit"] in CLOUDWATCH_UNITS
            assert type(line[metric["Name"]]) in (int, float)
            found[metric["Name"]] = (line[metric["Name"]], metric["Unit"])
    return found


# Metrics that AWS's services write; the others are ours.
SERVICES = {
    **dict.fromkeys(("ExecutionsFailed", "ExecutionsTimedOut"), "AWS/States"),
    **dict.fromkeys(("Throttles", "Duration"), "AWS/Lambda"),
    "ApproximateNumberOfMessagesVisible": "AWS/SQS",
}


def alarms_of(metrics: Mapping[str, float]) -> set[str]:
    """The ends of the names of the alarms that a day's metrics set off, as they are deployed.

    A metric that is missing is 0. `Duration`, in ms, is of whichever function it exceeds.
    """
    documents = json.loads((DOCUMENTS / "alarms.json").read_text())
    fired = set()
    for alarm in [*documents["of the installation"], *documents["of each function"]]:
        assert alarm["Namespace"] == SERVICES.get(alarm["MetricName"], "${Name}"), alarm
        value, limit = metrics.get(alarm["MetricName"], 0), alarm["Threshold"]
        if isinstance(limit, str):
            limit = min(800 * row.timeout_s for row in FUNCTIONS)
        more = alarm["ComparisonOperator"] == "GreaterThanThreshold"
        if value > limit if more else value < limit:
            fired.add(re.sub(r"\$\{\w+\}-", "", alarm["AlarmName"]))
    return fired
