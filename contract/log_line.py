"""The one log line of an invocation, and the metrics that CloudWatch takes from it.

CloudWatch reads the metrics in the embedded metric format: a member "_aws" names those members of
the line that are metrics, so neither an agent nor a call of an API is needed.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
Environment: METRICS_NAMESPACE. Without it a line has facts only. If the process itself ends, as in
a time-out, there is only Lambda's own line. Both functions share this module; it depends on neither
of them.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from contract.errors import advice_on

Handler = Callable[[object, Any], dict[str, Any]]

# Each is one custom metric, since it has no dimensions that would multiply it. An account has ten
# custom metrics free.
UNITS: Mapping[str, str] = {
    "TokensPerSecond": "Count/Second",
    "BudgetUsed": "Percent",  # of the time that generate_tokens had when its call began
    "CandidatesRejected": "Count",
    "Notes": "Count",
    "MusicSeconds": "Seconds",
    "Pieces": "Count",
    "Damaged": "Count",  # days whose record, tokens or MIDI file is not as it was written
}
# Characters of an error's message; Lambda's own line has the whole message.
LONGEST_MESSAGE = 1000


def log_line(
    facts: Mapping[str, Any], metrics: Mapping[str, float], now_ms: int | None = None
) -> str:
    """The line of a call that succeeded: its facts, and its metrics if there are any.

    The names in ``metrics`` are those of `UNITS`; ``now_ms`` is in milliseconds since the epoch.
    """
    line: dict[str, Any] = {"level": "INFO", **facts}
    namespace = os.environ.get("METRICS_NAMESPACE")
    if namespace and metrics:
        directive = {
            "Namespace": namespace,
            "Dimensions": [[]],
            "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in metrics],
        }
        timestamp = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        line |= {name: round(value, 3) for name, value in metrics.items()}
        line["_aws"] = {"Timestamp": timestamp, "CloudWatchMetrics": [directive]}
    return json.dumps(line)


def logs_errors(handler: Handler) -> Handler:
    """The same handler, but each exception that it raises is logged as a line, too.

    Logs Insights can count these lines by the name of the error, which is the name that the state
    machine sees.
    """

    @functools.wraps(handler)
    def logged(event: object, context: Any) -> dict[str, Any]:
        try:
            return handler(event, context)
        except Exception as error:
            line = {
                "level": "ERROR",
                "error": type(error).__name__,
                "message": str(error)[:LONGEST_MESSAGE],
                "advice": advice_on(error),
                "execution": execution_of(event),
                "function": handler.__module__.partition(".")[0],
            }
            print(json.dumps(line))
            raise

    return logged


def execution_of(event: object) -> str | None:
    """The name of the execution, or None: the event may have any form."""
    job = event.get("job", event) if isinstance(event, dict) else None
    execution = job.get("execution") if isinstance(job, dict) else None
    name = execution.get("name") if isinstance(execution, dict) else None
    return name[:80] if isinstance(name, str) else None
