"""Enforces IAM inside moto: checks each request against the policies of the role that sent it.

moto knows resources for S3, SQS and IAM only, takes every Condition for true, and checks no trust
policy when a service assumes a role. This module replaces its check. `resources.py` gives a request
the action name, the resource and the condition keys that AWS would give it, and `policy.py`
evaluates the policies. As on AWS, reading a missing object without s3:ListBucket on its bucket is
AccessDenied, not NoSuchKey.

The condition keys are s3:prefix and s3:delimiter of a listing, aws:SourceAccount and aws:SourceArn
when a service assumes a role, aws:RequestedRegion, and aws:SecureTransport, which is always "true":
plain http on the loopback address stands for TLS; iam:PermissionsBoundary and iam:PassedToService;
and for CloudFront aws:RequestTag and aws:ResourceTag. A role may do what its policies and its
permissions boundary both allow. Not checked are bucket policies for requests about the bucket
itself, and statements of bucket policies that allow. Every refusal is logged with role, action and
resource.
"""

import json
import re
import urllib.parse
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import AWSRequest
from moto.core.exceptions import AccessDeniedError, JsonRESTError
from moto.iam.access_control import (
    AssumedRoleAccessKey,
    IAMPolicy,
    IAMRequestBase,
    PermissionResult,
)
from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.s3.exceptions import MissingBucket
from moto.s3.models import FakeBucket, s3_backends
from moto.sts.models import sts_backends

from local_aws.policy import Decision, PolicyError, decide
from local_aws.replacing import replace
from local_aws.resources import PARTITION, also_asked, asked


class AssumeRoleError(RuntimeError):
    """The role does not exist, or its trust policy does not name the service that wants it."""


@dataclass(frozen=True)
class Credentials:
    access_key: str
    secret_key: str
    session_token: str = ""

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": self.session_token,
        }


class Iam:
    """The roles of one account; after `install`, moto asks this class for each permission."""

    def __init__(self, account: str, region: str, log: Callable[[str], None]) -> None:
        self._account, self._region, self._log = account, region, log

    def install(self, stack: ExitStack) -> None:
        """Replace moto's checks until `stack` closes."""
        original = IAMRequestBase.check_action_permitted

        def check(request: IAMRequestBase, resource: str) -> None:
            if request._action == "sts:AssumeRole":  # moto itself checks the trust policy
                original(request, resource)
            elif request._action != "sts:GetCallerIdentity":  # always allowed
                self._check(request, resource)

        def bucket_permission(bucket: FakeBucket, action: str, resource: str) -> PermissionResult:
            return self._bucket_permission(bucket, action, resource)

        replace(stack, IAMRequestBase, "check_action_permitted", check)
        replace(stack, IAMRequestBase, "_create_aws_request", _signed_request)
        replace(stack, FakeBucket, "get_permission", bucket_permission)

    def make_administrator(self) -> Credentials:
        backend = iam_backends[self._account][PARTITION]
        allow_all = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow_all]})
        backend.create_user(self._region, "administrator")
        backend.put_user_policy("administrator", "everything", document)
        key = backend.create_access_key("administrator", "AKIA")
        return Credentials(key.access_key_id, key.secret_access_key)

    def assume(self, role_arn: str, service: str, session: str, source_arn: str) -> Credentials:
        """Assume a role in the way an AWS service does. Raises AssumeRoleError."""
        try:
            role = iam_backends[self._account][PARTITION].get_role_by_arn(role_arn)
        except NotFoundException as error:
            raise AssumeRoleError(f"{role_arn}: no such role") from error
        trust = json.loads(role.assume_role_policy_document)
        context = {"aws:SourceAccount": self._account, "aws:SourceArn": source_arn}
        principal = ("Service", service)
        if decide([trust], "sts:AssumeRole", role_arn, context, principal) != Decision.ALLOWED:
            self._log(f"iam: the trust policy of {role_arn} does not let {service} assume it")
            raise AssumeRoleError(
                f"{role_arn}: {service} cannot assume it; name the service in its trust policy"
            )
        assumed = sts_backends[self._account][PARTITION].assume_role(
            region_name=self._region,
            role_session_name=re.sub(r"[^\w+=,.@-]", "-", session)[:64],
            role_arn=role_arn,
            policy=None,  # type: ignore[arg-type]  # moto's own callers pass None
            duration=3600,
            external_id=None,  # type: ignore[arg-type]
        )
        return Credentials(assumed.access_key_id, assumed.secret_access_key, assumed.session_token)

    def allows(self, role_arn: str, action: str, resource: str) -> bool:
        """Whether a role's own policies allow an action that a service does in its name."""
        backend = iam_backends[self._account][PARTITION]
        name = role_arn.rsplit("/", 1)[-1]
        try:
            documents: list[Any] = [
                backend.get_role_policy(name, policy)[1]
                for policy in backend.list_role_policies(name)
            ]
            documents += backend.list_attached_role_policies(name)[0]
        except NotFoundException:
            return False
        read = [IAMPolicy(document)._policy_json for document in documents]
        return decide(read, action, resource, {}) == Decision.ALLOWED

    def _check(self, request: IAMRequestBase, resource: str) -> None:
        request._action, resource, context = asked(request, resource)
        documents = [
            IAMPolicy(policy)._policy_json for policy in request._access_key.collect_policies()
        ]
        bounds = _boundary_of(request)
        # All of these must be allowed: the action and the permissions that it also needs.
        wanted = [(request._action, resource, context), *also_asked(request)]
        if request._service == "s3":
            wanted += self._also_needed(request, resource)
        for action, target, keys in wanted:
            try:
                decision = decide(documents, action, target, keys)
                if decision == Decision.ALLOWED and bounds is not None:
                    decision = decide([bounds], action, target, keys)
            except PolicyError as error:
                self._log(f"iam: a policy of {request._access_key.arn}: {error}")
                decision = Decision.NOT_ALLOWED
            if decision != Decision.ALLOWED:
                self._refuse(request, action, target, decision)

    def _refuse(
        self, request: IAMRequestBase, action: str, resource: str, decision: Decision
    ) -> None:
        who = request._access_key.arn
        self._log(f"iam: {who}: {action} on {resource}: {decision.value}")
        if request._service == "s3" or _is_form(request):
            request._raise_access_denied()
        if request._service == "cloudfront":  # its errors stand in no list of Errors
            denied = AccessDeniedError(who, action)
            denied.description = re.sub("</?Errors>", "", str(denied.description))
            raise denied
        # moto would refuse in XML to JSON services too, which clients read as an error named "403".
        refusal = JsonRESTError(
            "AccessDeniedException",
            f"User: {who} is not authorized to perform: {action} on resource: {resource}",
        )
        refusal.code = 403
        raise refusal

    def _also_needed(
        self, request: IAMRequestBase, resource: str
    ) -> list[tuple[str, str, dict[str, str]]]:
        """The permissions that S3 requires in addition to the action itself."""
        needed: list[tuple[str, str, dict[str, str]]] = []
        # A copy also reads its source.
        if source := request._headers.get("X-Amz-Copy-Source"):
            copied = urllib.parse.unquote(source).split("?")[0].lstrip("/")
            needed.append(("s3:GetObject", f"arn:{PARTITION}:s3:::{copied}", {}))
        bucket, _, key = resource.removeprefix(f"arn:{PARTITION}:s3:::").partition("/")
        # Only those who may list the bucket are told that an object does not exist.
        if (
            request._action == "s3:GetObject"
            and key
            and not self._object_exists(request.account_id, bucket, key)
        ):
            needed.append(("s3:ListBucket", f"arn:{PARTITION}:s3:::{bucket}", {}))
        return needed

    def _object_exists(self, account: str, bucket: str, key: str) -> bool:
        try:
            return s3_backends[account][PARTITION].get_object(bucket, key) is not None
        except MissingBucket:
            return True  # everyone is told NoSuchBucket

    def _bucket_permission(
        self, bucket: FakeBucket, action: str, resource: str
    ) -> PermissionResult:
        """Whether the statements of a bucket policy about everyone deny an action on an object."""
        if bucket.policy is None:
            return PermissionResult.NEUTRAL
        document: Mapping[str, Any] = json.loads(bucket.policy)
        if decide([document], action, resource, {"aws:SecureTransport": "true"}) == Decision.DENIED:
            self._log(f"iam: the policy of bucket {bucket.name} denies {action} on {resource}")
            return PermissionResult.DENIED
        return PermissionResult.NEUTRAL


def _boundary_of(request: IAMRequestBase) -> Mapping[str, Any] | None:
    """The permissions boundary of the role that asks, if it has one."""
    key = request._access_key
    if not isinstance(key, AssumedRoleAccessKey):
        return None
    boundary = key.backend.get_role(key._owner_role_name).permissions_boundary_arn
    if not boundary:
        return None
    policy = key.backend.get_policy(boundary)
    version = key.backend.get_policy_version(boundary, policy.default_version_id)
    document: Mapping[str, Any] = json.loads(version.document)
    return document


_moto_signed_request = IAMRequestBase._create_aws_request


def _signed_request(request: IAMRequestBase) -> AWSRequest:
    """The request as the client signed it.

    moto puts the URL's parameters in the place of an empty body, and then finds the signature
    wrong. Only the fields of a form are part of a body.
    """
    signed = _moto_signed_request(request)
    if not request._body and not _is_form(request):
        signed.data = b""
    return signed


def _is_form(request: IAMRequestBase) -> bool:
    return "x-www-form-urlencoded" in (request._headers.get("Content-Type") or "")
