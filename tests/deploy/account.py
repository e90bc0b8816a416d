"""All that deploy.sh could have changed in an account, as plain data, and what differs.

    before = snapshot(aws.client)
    ...
    assert difference(before, snapshot(aws.client)) == []

Whatever lists the kinds of things is here; it knows no names that deploy.sh gives them. Left out is
what happens without a deployment: executions, log streams, metrics, states of alarms. Dates, ids
and version numbers are kept, since they reveal that a thing was made or written anew: `lasting`
takes them out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

Client = Callable[[str], Any]
Things = dict[str, Any]

ABSENT = re.compile("NoSuch|NotFound|NonExistent|DoesNotExist")
VOLATILE = re.compile(
    "ResponseMetadata$|Approximate|State(Updated|Transitioned|Reason|Value)|storedBytes$"
    "|Location$|RoleLastUsed$|NextToken$|Owner$"
)
HISTORY = re.compile("(Id|Date|ETag|Modified|Timestamp|Time|created|updated)$", re.IGNORECASE)


def snapshot(client: Client) -> dict[str, Things]:
    """Everything there is, by kind and name. `client` makes a boto3 client of a service."""
    s3, iam, functions = client("s3"), client("iam"), client("lambda")
    logs, queues, topics = client("logs"), client("sqs"), client("sns")
    watch, machines = client("cloudwatch"), client("stepfunctions")
    scheduler, events, front = client("scheduler"), client("events"), client("cloudfront")
    queue_urls = list(_all(queues, "list_queues", "QueueUrls"))
    alarms = watch.describe_alarms()
    return {
        "bucket": {b["Name"]: _bucket(s3, b) for b in _all(s3, "list_buckets", "Buckets")},
        "role": {r["RoleName"]: _role(iam, r) for r in _all(iam, "list_roles", "Roles")},
        "function": {
            f["FunctionName"]: _function(functions, f["FunctionName"])
            for f in _all(functions, "list_functions", "Functions")
        },
        "layer": {
            layer["LayerName"]: _layer_versions(functions, layer["LayerName"])
            for layer in _all(functions, "list_layers", "Layers")
        },
        "log group": {
            group["logGroupName"]: _log_group(logs, group)
            for group in _all(logs, "describe_log_groups", "logGroups")
        },
        "queue": {url.rsplit("/", 1)[1]: _queue(queues, url) for url in queue_urls},
        "topic": {
            t["TopicArn"].rsplit(":", 1)[1]: _topic(topics, t["TopicArn"])
            for t in _all(topics, "list_topics", "Topics")
        },
        "alarm": {
            alarm["AlarmName"]: _plain({**alarm, "tags": _tags_of(watch, alarm["AlarmArn"])})
            for alarm in [*alarms["MetricAlarms"], *alarms["CompositeAlarms"]]
        },
        "dashboard": {
            d["DashboardName"]: _try(watch.get_dashboard, DashboardName=d["DashboardName"])
            for d in _all(watch, "list_dashboards", "DashboardEntries")
        },
        "state machine": {
            machine["name"]: _machine(machines, machine["stateMachineArn"])
            for machine in _all(machines, "list_state_machines", "stateMachines")
        },
        "schedule group": {
            g["Name"]: _plain(
                {**g, "tags": _try(scheduler.list_tags_for_resource, ResourceArn=g["Arn"])}
            )
            for g in _all(scheduler, "list_schedule_groups", "ScheduleGroups")
        },
        "schedule": {
            s["Name"]: _try(scheduler.get_schedule, Name=s["Name"], GroupName=s["GroupName"])
            for s in _all(scheduler, "list_schedules", "Schedules")
        },
        "distribution": {
            each["DistributionConfig"]["CallerReference"]: each
            for each in (
                _distribution(front, listed)
                for listed in _all(front, "list_distributions", "DistributionList")
            )
        },
        "origin access control": {
            each["Name"]: _plain(each)
            for each in _all(front, "list_origin_access_controls", "OriginAccessControlList")
        },
        "rule": {
            r["Name"]: _plain({**r, "targets": _try(events.list_targets_by_rule, Rule=r["Name"])})
            for r in _all(events, "list_rules", "Rules")
        },
    }


def lasting(value: Any) -> Any:
    """The same without dates and ids: equal for two accounts in which the same was deployed."""
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if not HISTORY.search(k)}
    if isinstance(value, str):  # CloudFront chooses these two
        return re.sub(r"\b\w{13}(?=\.cloudfront\.net)|(?<=:distribution/)\w+", "ID", value)
    return [lasting(item) for item in value] if isinstance(value, list) else value


def recordable(value: Any, key: str = "") -> Any:
    """The same without what differs with the code that is deployed: digests, sizes, versions of
    Python, the definition of the state machine.
    """
    if key in ("CodeSize", "Size", "definition"):
        return "left out"
    if isinstance(value, dict):
        return {recordable(k): recordable(v, k) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [recordable(item) for item in value]
    if isinstance(value, str):
        text = re.sub(r"\b[0-9a-f]{32,64}\b|^[A-Za-z0-9+/]{43}=$", "DIGEST", value)
        text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "DIGEST", text)
        return re.sub(r"python3\.\d+", "RUNTIME", text)
    return value


def difference(before: Any, after: Any, path: str = "") -> list[str]:
    """A line for each value that differs: `path: old -> new`, with None for what is not there."""
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = [(key, before.get(key), after.get(key)) for key in {**before, **after}]
    elif isinstance(before, list) and isinstance(after, list):
        length = max(len(before), len(after))
        olds, news = ([*v, *[None] * (length - len(v))] for v in (before, after))
        pairs = [(str(i), olds[i], news[i]) for i in range(length)]
    else:
        return [] if before == after else [f"{path}: {_short(before)} -> {_short(after)}"]
    steps = sorted(pairs, key=lambda pair: "" if pair[0].isdigit() else pair[0])
    return [
        line
        for key, old, new in steps
        for line in difference(old, new, f"{path} / {key}" if path else key)
    ]


def what_is_left(client: Client, name: str) -> list[str]:
    """Kind and name of each thing that belongs to the installation `name`."""
    ours = re.compile(rf"(^|/){re.escape(name)}(-|$)")
    things = snapshot(client).items()
    return [f"{kind} {key}" for kind, found in things for key in found if ours.search(key)]


def _bucket(s3: Any, bucket: Things) -> Things:
    name = bucket["Name"]
    settings = {
        setting: _try(getattr(s3, f"get_{setting}"), Bucket=name)
        for setting in (
            *("bucket_policy", "bucket_lifecycle_configuration", "bucket_versioning"),
            *("public_access_block", "bucket_encryption", "bucket_tagging"),
        )
    }
    pages = [*s3.get_paginator("list_object_versions").paginate(Bucket=name)]
    objects: dict[str, list[Any]] = {}
    for version in [
        v for p in pages for v in [*p.get("Versions", []), *p.get("DeleteMarkers", [])]
    ]:
        objects.setdefault(version.pop("Key"), []).append(_plain(version))
    return {"CreationDate": bucket["CreationDate"].isoformat(), **settings, "objects": objects}


def _role(iam: Any, role: Things) -> Things:
    name = role["RoleName"]
    policies = iam.list_role_policies(RoleName=name)["PolicyNames"]
    return {
        **_plain(iam.get_role(RoleName=name)["Role"]),
        "policies": {
            p: _plain(iam.get_role_policy(RoleName=name, PolicyName=p)["PolicyDocument"])
            for p in policies
        },
        "attached": _try(iam.list_attached_role_policies, RoleName=name),
        "tags": _try(iam.list_role_tags, RoleName=name),
    }


def _function(functions: Any, name: str) -> Things:
    return {
        **_try(functions.get_function, FunctionName=name),
        "versions": _try(functions.list_versions_by_function, FunctionName=name),
        "aliases": _try(functions.list_aliases, FunctionName=name),
        "event invoke": _try(functions.get_function_event_invoke_config, FunctionName=name),
        "policy": _try(functions.get_policy, FunctionName=name),
    }


def _layer_versions(functions: Any, layer: str) -> Things:
    return {
        str(version["Version"]): _try(
            functions.get_layer_version, LayerName=layer, VersionNumber=version["Version"]
        )
        for version in _all(functions, "list_layer_versions", "LayerVersions", LayerName=layer)
    }


def _log_group(logs: Any, group: Things) -> Things:
    name = group["logGroupName"]
    return {
        **_plain(group),
        "tags": _try(logs.list_tags_log_group, logGroupName=name),
        "metric filters": _try(logs.describe_metric_filters, logGroupName=name),
    }


def _queue(queues: Any, url: str) -> Things:
    attributes = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return {**_plain(attributes), "tags": _try(queues.list_queue_tags, QueueUrl=url)}


def _topic(topics: Any, arn: str) -> Things:
    return {
        **_try(topics.get_topic_attributes, TopicArn=arn),
        "subscriptions": _try(topics.list_subscriptions_by_topic, TopicArn=arn),
        "tags": _tags_of(topics, arn, "ResourceArn"),
    }


def _machine(machines: Any, arn: str) -> Things:
    tags = _tags_of(machines, arn, "resourceArn")
    return {**_try(machines.describe_state_machine, stateMachineArn=arn), "tags": tags}


def _distribution(front: Any, listed: Things) -> Things:
    whole = front.get_distribution(Id=listed["Id"])
    tags = _try(front.list_tags_for_resource, Resource=listed["ARN"])
    return {**_plain(whole["Distribution"]), "tags": tags, "ETag": whole["ETag"]}


def _tags_of(client: Any, arn: str, argument: str = "ResourceARN") -> Any:
    return _try(client.list_tags_for_resource, **{argument: arn})


def _all(client: Any, operation: str, key: str, **arguments: str) -> Iterator[Any]:
    """Of every page. CloudFront has the list one level deeper, as Items."""
    if not client.can_paginate(operation):
        yield from getattr(client, operation)(**arguments).get(key, [])
        return
    for page in client.get_paginator(operation).paginate(**arguments):
        found = page.get(key, [])
        yield from found.get("Items", []) if isinstance(found, dict) else found


def _try(read: Callable[..., Any], **arguments: Any) -> Any:
    """The answer, or None of a thing or setting that is not there."""
    try:
        return _plain(read(**arguments))
    except ClientError as error:
        if not ABSENT.search(error.response["Error"]["Code"]):
            raise
        return None


def _plain(value: Any) -> Any:
    """Without what changes by itself; dates as text; JSON inside strings as what it says."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in sorted(value.items()) if not VOLATILE.match(k)}
    if isinstance(value, list):
        plain = [_plain(item) for item in value]
        named = all(isinstance(item, dict) and {"Key", "Value"} == {*item} for item in plain)
        return sorted(plain, key=lambda tag: tag["Key"]) if named else plain
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(("{", "[")):
        with suppress(ValueError):
            return json.loads(value)
    return value


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 200 else f"{text[:200]}..."
