"""Buckets and their policies, and the queue for starts that failed."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from deploy.aws import Aws
from deploy.errors import DeployError
from deploy.place import Place
from deploy.resource import Described, Resource
from deploy.site import Distribution

BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
# AWS's own default. It is not compared: whoever has chosen another key since then keeps it.
ENCRYPTED = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}


class Bucket(Resource):
    """A private bucket for "music" or "artifacts" (`kind`). With `keep`, --destroy leaves it."""

    def __init__(self, aws: Aws, place: Place, kind: str, *, keep: bool = False) -> None:
        self._aws, self._place, self._keep = aws, place, keep
        self.name = place.bucket(kind)
        self.label = f"bucket {self.name}"
        rules = place.document(f"{kind}.lifecycle.json")
        # What people read: what follows get_ and put_, the argument of put, the wanted value.
        self._settings: dict[str, tuple[str, str, Any]] = {
            "no public access": (
                *("public_access_block", "PublicAccessBlockConfiguration"),
                dict.fromkeys(BLOCKS, True),
            ),
            "encrypted": ("bucket_encryption", "ServerSideEncryptionConfiguration", ENCRYPTED),
            "lifecycle": (
                *("bucket_lifecycle_configuration", "LifecycleConfiguration"),
                {"Rules": rules},
            ),
            "tags": ("bucket_tagging", "Tagging", place.tags),
        }
        if kind == "music":
            versioned = {"Status": "Enabled"}
            self._settings["versioned"] = (
                *("bucket_versioning", "VersioningConfiguration"),
                versioned,
            )

    def read(self) -> dict[str, Any] | None:
        """The settings, as in `_settings`. Raises DeployError if it is another account's."""
        try:
            return {what: self._get(what) for what in self._settings}
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "NoSuchBucket":
                return None
            if code not in ("AccessDenied", "403"):
                raise
            raise anothers(error, self.name) from error

    def differs(self, have: dict[str, Any] | None) -> list[str]:
        if have is None:
            return ["created", *self._settings]
        same = {what: have[what] == want for what, (_, _, want) in self._settings.items()}
        same["encrypted"] = have["encrypted"] is not None
        same["tags"] = self._place.tags.items() <= (have["tags"] or {}).items()
        return [what for what, is_same in same.items() if not is_same]

    def write(self, part: str, have: dict[str, Any] | None) -> str | None:
        if part == "created":
            self.create()
            return None
        setting, argument, want = self._settings[part]
        if part == "tags":  # those of others stay
            tags = ((have or {}).get("tags") or {}) | want
            want = {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}
        self._aws.write("s3", f"put_{setting}", Bucket=self.name, **{argument: want})
        return None

    def create(self) -> None:
        """Also if another deploy.sh makes it now."""
        where = {"CreateBucketConfiguration": {"LocationConstraint": self._place.region}}
        more = {} if self._place.region == "us-east-1" else where
        try:
            self._aws.write("s3", "create_bucket", Bucket=self.name, **more)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise

    def listed(self, have: dict[str, Any] | None) -> list[str]:
        if have is None:
            return []
        if self._keep:
            self._aws.say(f"{self.label}: kept, with the music (--delete-music deletes it)")
            return []
        page = self._aws.client("s3").list_object_versions(Bucket=self.name)
        more = " or more" if page["IsTruncated"] else ""
        return [f"{self.label}, with {len(_versions(page))}{more} versions of objects"]

    def delete(self, have: dict[str, Any] | None) -> None:
        empty_bucket(self._aws, self.name)
        self._aws.remove("s3", "delete_bucket", Bucket=self.name)

    def _get(self, what: str) -> Any:
        """One setting, or None if there is none. Raises ClientError."""
        setting, argument, _ = self._settings[what]
        call = getattr(self._aws.client("s3"), f"get_{setting}")
        try:
            # A bucket that another account has made under our name is refused.
            answer = call(Bucket=self.name, ExpectedBucketOwner=self._place.account)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "NoSuchBucket" or not ("NotFound" in code or "NoSuch" in code):
                raise
            return None
        if what == "tags":
            return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}
        if what == "lifecycle":
            return {"Rules": sorted(answer["Rules"], key=lambda rule: str(rule["ID"]))}
        return {"Status": answer.get("Status")} if what == "versioned" else answer[argument]


class BucketPolicy(Resource):
    """The policy of a bucket: TLS only; and the `site`, if one is wanted, may read what is public.

    BlockPublicPolicy does not mind: a policy for one distribution makes nothing public.
    """

    def __init__(
        self, aws: Aws, place: Place, bucket: Bucket, site: Distribution | None = None
    ) -> None:
        self._aws, self._place, self._site = aws, place, site
        self._named = {"Bucket": bucket.name, "ExpectedBucketOwner": place.account}
        self.label = bucket.label

    def read(self) -> dict[str, Any] | None:
        answer = self._aws.read("s3", "get_bucket_policy", **self._named)
        return answer and dict(json.loads(answer["Policy"]))

    def differs(self, have: dict[str, Any] | None) -> list[str]:
        if have == self._want():
            return []
        if self._site and self._site.wanted:
            return ["TLS only, read by the site"]
        return ["no longer read by the site" if _has_site(have) else "TLS only"]

    def write(self, part: str, have: dict[str, Any] | None) -> str | None:
        policy = json.dumps(self._want())
        self._aws.write("s3", "put_bucket_policy", **self._named, Policy=policy)
        return None

    def listed(self, have: dict[str, Any] | None) -> list[str]:
        """Without a site it goes with its bucket."""
        return [f"{self.label}: reading by the site"] if _has_site(have) else []

    def delete(self, have: dict[str, Any] | None) -> None:
        """What the site may read; the rest stays, as the bucket may."""
        self._site = None
        self.write("", have)

    def _want(self) -> dict[str, Any]:
        policy = self._place.document("bucket.policy.json", Bucket=self._named["Bucket"])
        if self._site and self._site.wanted:
            more = self._place.document("site.policy.json", DistributionArn=self._site.arn)
            policy["Statement"] += more["Statement"]
        return dict(policy)


def _has_site(policy: dict[str, Any] | None) -> bool:
    return any(each.get("Sid") == "Site" for each in (policy or {}).get("Statement", []))


def anothers(error: ClientError, bucket: str) -> DeployError:
    return DeployError(
        f"{error}\nbucket {bucket} belongs to another account, or these credentials may not use "
        "it: choose another --name, or see deploy/deployer-policy.json"
    )


def empty_bucket(aws: Aws, bucket: str, prefix: str = "") -> None:
    """Delete every version of every object under `prefix`."""
    while True:
        page = aws.read("s3", "list_object_versions", Bucket=bucket, Prefix=prefix) or {}
        found = {"Objects": _versions(page), "Quiet": True}
        if not found["Objects"]:
            return
        # If S3 refuses to delete one object, the call still succeeds, and its answer says so.
        answer = aws.write("s3", "delete_objects", Bucket=bucket, Delete=found)
        if refused := answer.get("Errors"):
            raise ClientError({"Error": refused[0]}, "DeleteObject")


def _versions(page: dict[str, Any]) -> list[dict[str, str]]:
    versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
    return [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in versions]


class Queue(Described):
    """Keeps starts that failed for good: for two weeks, encrypted with SQS's own key, TLS only."""

    service = "sqs"
    calls = ("get_queue_attributes", "create_queue", "set_queue_attributes", "delete_queue")
    changed = "attributes"

    def __init__(self, aws: Aws, place: Place, *, new: bool = False) -> None:
        """A queue that was deleted is still there for a minute, so that of a `new` installation is
        created without a look: SQS then says that it was deleted recently, which is waited for.
        """
        self._new = new
        name = f"{place.name}-dead-letters"
        url = f"{aws.client('sqs').meta.endpoint_url}/{place.account}/{name}"
        attributes = {
            "MessageRetentionPeriod": "1209600",
            "SqsManagedSseEnabled": "true",
            "Policy": json.dumps(place.document("queue.policy.json")),
        }
        super().__init__(aws, f"queue {name}", {"QueueUrl": url}, {"Attributes": attributes})
        self.new = {"QueueName": name, "tags": place.tags}

    def read(self) -> Any:
        if self._new:
            return None
        wanted = [*self.want["Attributes"]]
        answer = self.aws.read("sqs", self.calls[0], **self.key, AttributeNames=wanted)
        return answer and {"Attributes": answer.get("Attributes", {})}
