"""Finds what IAM decides on for a request to moto: its action, its resource's ARN, its conditions.

moto knows resources for S3, SQS and IAM only. This module adds those of the services that the
deployment calls. Where AWS has an ARN that this module does not work out, the resource is "*", so
that only policies for all resources allow it. Depends on neither policies nor roles.
"""

import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from moto.cloudfront.models import cloudfront_backends
from moto.iam.access_control import IAMRequestBase
from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends

PARTITION = "aws"
# Operations whose permission has another name.
ACTIONS = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:HeadBucket": "s3:ListBucket",
    "cloudfront:CreateDistributionWithTags": "cloudfront:CreateDistribution",
}


Asked = tuple[str, str, dict[str, str]]


def asked(request: IAMRequestBase, resource: str) -> Asked:
    """Action, resource ARN and condition keys of a request."""
    account, region = request.account_id, request._region
    context = {"aws:SecureTransport": "true", "aws:RequestedRegion": region}
    # CloudWatch is "monitoring" in signatures, but "cloudwatch" in policies.
    action = request._action.replace("monitoring:", "cloudwatch:")
    action = ACTIONS.get(action, action)
    service, operation = action.split(":")
    if action == "s3:GetObject" and "versionId=" in request._path:
        action = "s3:GetObjectVersion"
    base = f"arn:{PARTITION}:{service}:{region}:{account}"
    fields, path = _fields(request), urllib.parse.unquote(request._path)
    if action == "s3:DeleteObject" and "/" not in resource:
        resource += "/*"  # DeleteObjects: many keys at once
    if service == "lambda":
        resource = _lambda(path, fields, base) or resource
    elif service == "states":
        arns = [fields.get(f"{kind}Arn") for kind in ("stateMachine", "execution", "mapRun")]
        if operation == "CreateStateMachine":
            arns = [f"{base}:stateMachine:{fields['name']}"]
        resource = str(next(filter(None, arns), resource))
    elif service == "logs":
        name = fields.get("logGroupName", "")
        stream = ":*" if "Stream" in operation or "Event" in operation else ""
        resource = f"{base}:log-group:{name}{stream}" if name else resource
    elif service == "sns":
        name = fields.get("Name") if operation == "CreateTopic" else None
        resource = f"{base}:{name}" if name else str(fields.get("TopicArn", resource))
    elif service == "sqs":
        name = fields.get("QueueName") or str(fields.get("QueueUrl", "")).rpartition("/")[2]
        resource = f"{base}:{name}" if name else resource
    elif service == "iam" and "RoleName" in fields:
        resource = f"arn:{PARTITION}:iam::{account}:role/{fields['RoleName']}"
        boundary = fields.get("PermissionsBoundary") or _boundary(request, fields["RoleName"])
        context |= {"iam:PermissionsBoundary": boundary} if boundary else {}
    elif service == "scheduler" and (named := re.search(r"/schedules/([^/?]+)", path)):
        resource = f"{base}:schedule/default/{named[1]}"
    elif service == "cloudwatch":
        resource = _cloudwatch(operation, fields, base, account) or resource
    elif service == "cloudfront":
        resource, tags = _cloudfront(request, path)
        context |= tags
    elif action.startswith("s3:List"):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request._path).query)
        for name in ("prefix", "delimiter"):
            if name in query:
                context[f"s3:{name}"] = query[name][0]
    return action, resource, context


def also_asked(request: IAMRequestBase) -> list[Asked]:
    """iam:PassRole for each role that a request gives to a service; the tags that it gives."""
    if request._service == "cloudfront":
        if request._action != "cloudfront:CreateDistribution":
            return []
        base = f"arn:{PARTITION}:cloudfront::{request.account_id}"
        return [("cloudfront:TagResource", f"{base}:distribution/*", _cloudfront(request, "")[1])]
    fields = _fields(request)
    target = fields.get("Target")
    roles = [fields.get("Role"), fields.get("roleArn")]
    roles.append(target.get("RoleArn") if isinstance(target, dict) else None)
    service = {"iam:PassedToService": f"{request._service}.amazonaws.com"}
    mentioned = [str(role) for role in roles if str(role).startswith("arn:")]
    return [("iam:PassRole", role, service) for role in mentioned]


def _boundary(request: IAMRequestBase, role: str) -> str | None:
    """The permissions boundary of a role that is there."""
    try:
        found: str | None = (
            iam_backends[request.account_id][PARTITION].get_role(role).permissions_boundary_arn
        )
    except NotFoundException:
        return None
    return found


def _lambda(path: str, fields: Mapping[str, Any], base: str) -> str | None:
    if layer := re.search(r"/layers/([^/?]+)/versions(?:/(\d+))?", path):
        return f"{base}:layer:{layer[1]}" + (f":{layer[2]}" if layer[2] else "")
    named = re.search(r"/functions/([^/?]+)", path)
    name = named[1] if named else fields.get("FunctionName")
    if name is None:
        return None
    return str(name) if name.startswith("arn:") else f"{base}:function:{name}"


def _cloudfront(request: IAMRequestBase, path: str) -> tuple[str, dict[str, str]]:
    """The ARN of a request to CloudFront, whose bodies are XML, and the tags of it and in it."""
    url = urllib.parse.urlsplit(path)
    query = urllib.parse.parse_qs(url.query)
    named = re.search(r"/(distribution|origin-access-control)/(\w+)", url.path)
    base = f"arn:{PARTITION}:cloudfront::{request.account_id}"
    arn = f"{base}:{named[1]}/{named[2]}" if named else query.get("Resource", ["*"])[0]
    tagger = cloudfront_backends[request.account_id][PARTITION].tagger
    tags = {f"aws:ResourceTag/{k}": v for k, v in tagger.get_tag_dict_for_resource(arn).items()}
    body = request._body
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body or ""
    given = re.findall(r"<Tag><Key>([^<]*)</Key><Value>([^<]*)</Value></Tag>", text)
    return arn, tags | {f"aws:RequestTag/{key}": value for key, value in given}


def _cloudwatch(operation: str, fields: Mapping[str, Any], base: str, account: str) -> str | None:
    if "Dashboard" in operation:
        names = fields.get("DashboardName") or fields.get("DashboardNames")
        name = names[0] if isinstance(names, list) else names
        return f"arn:{PARTITION}:cloudwatch::{account}:dashboard/{name}"
    names = fields.get("AlarmName") or fields.get("AlarmNames")
    name = names[0] if isinstance(names, list) else names
    return f"{base}:alarm:{name}" if name and operation != "DescribeAlarms" else None


def _fields(request: IAMRequestBase) -> Mapping[str, Any]:
    """The request's parameters, from JSON or a form; of a form's list only the first element."""
    if request._service == "s3":  # its body is an object, which it takes seconds to read as a form
        return {}
    body = request._body
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        parsed = json.loads(text)
    except ValueError:
        form: Mapping[str, Any] = urllib.parse.parse_qs(text) or request._data or {}
        values = {name: v[0] if isinstance(v, list) else v for name, v in form.items()}
        # A form numbers the elements of a list: AlarmNames.member.1.
        return {name.split(".")[0]: value for name, value in values.items()}
    return parsed if isinstance(parsed, dict) else {}
