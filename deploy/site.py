"""The site: a CloudFront distribution before the music bucket, which stays private.

A distribution belongs to the whole account and has an id for a name. It is known by the bucket that
it reads, and by its CallerReference, which nobody can change; without the installation's tag it
is not touched, since somebody else may have made it. Its configuration is
deploy/documents/distribution.json; what that does not mention stays as somebody set it in the
console, such as a domain of one's own. Depends on neither what is on the site nor who wrote it.
"""

from __future__ import annotations

import re
import time
from typing import Any

from botocore.exceptions import ClientError

from deploy.aws import Aws, pause, unless_absent
from deploy.errors import AGAIN, DeployError
from deploy.place import Place
from deploy.resource import Resource

# AWS's own policies have the same ids in every account. Caching as S3's Cache-Control says (a day
# where it says nothing), and compressed; not at all; and for the headers, CORS for everybody, HSTS
# of a year, nosniff, SAMEORIGIN and a strict Referrer-Policy.
MANAGED = {
    "CachingOptimized": "658327ea-f89d-4fab-a63d-7e88639e58f6",
    "CachingDisabled": "4135ea2d-6df8-44a3-9df3-4b5a84be39ad",
    "CorsAndSecurityHeaders": "e61eb60c-9c35-4d20-a928-2b84e02af89c",
}
LONGEST_CHANGE_S = 1500.0


class OriginAccess(Resource):
    """Lets the distribution sign its requests to the bucket. `id` is known once it was read or
    made. It is made once, and not updated: whoever may update one may update those of others.
    """

    def __init__(self, aws: Aws, place: Place, *, wanted: bool = True) -> None:
        self._aws, self._wanted, self._name = aws, wanted, place.site
        self._about = f"{place.name} in {place.region}"
        self.label = f"origin access control {self._name}"
        self.id = "new"

    def read(self) -> dict[str, Any] | None:
        name = "OriginAccessControlList.Items"
        listed = self._aws.items("cloudfront", "list_origin_access_controls", name)
        have = next((each for each in listed if each["Name"] == self._name), None)
        self.id = have["Id"] if have else "new"
        return have

    def differs(self, have: dict[str, Any] | None) -> list[str]:
        if self._wanted:
            return [] if have else ["created"]
        return ["deleted"] if have else []

    def write(self, part: str, have: dict[str, Any] | None) -> str | None:
        if have is not None:
            self.delete(have)
            return None
        config = {
            "Name": self._name,
            "Description": self._about,
            "OriginAccessControlOriginType": "s3",
            "SigningBehavior": "always",
            "SigningProtocol": "sigv4",
        }
        answer = self._aws.write(
            "cloudfront", "create_origin_access_control", OriginAccessControlConfig=config
        )
        self.id = answer["OriginAccessControl"]["Id"]
        return None

    def delete(self, have: dict[str, Any]) -> None:
        found = self._aws.read("cloudfront", "get_origin_access_control", Id=have["Id"])
        if found is not None:
            version = {"Id": have["Id"], "IfMatch": found["ETag"]}
            unless_absent(
                lambda: self._aws.write("cloudfront", "delete_origin_access_control", **version)
            )


class Distribution(Resource):
    """The distribution. `id`, `arn`, `url` and whether it is `ready` everywhere are those of the
    deployed one, once it was read or made; until then `id` is None.
    """

    def __init__(
        self, aws: Aws, place: Place, access: OriginAccess | None = None, *, wanted: bool = True
    ) -> None:
        """`access` is needed to deploy it."""
        self._aws, self._place, self._access, self.wanted = aws, place, access, wanted
        self.label = f"distribution {place.site}"
        self.id: str | None = None
        self._domain, self.ready = "new.cloudfront.net", False

    def read(self) -> dict[str, Any] | None:
        """Its description, with its version under "ETag"."""
        bucket = f"{self._place.bucket('music')}.s3."
        for each in self._aws.items("cloudfront", "list_distributions", "DistributionList.Items"):
            origins = each["Origins"]["Items"]
            if any(origin["DomainName"].startswith(bucket) for origin in origins):
                have = self._get(each["Id"])
                if have and have["DistributionConfig"]["CallerReference"].startswith(
                    self._place.site
                ):
                    self._require_tag(have)
                    self._note(have)
                    return have
        return None

    @property
    def arn(self) -> str:
        return f"arn:aws:cloudfront::{self._place.account}:distribution/{self.id or 'new'}"

    @property
    def url(self) -> str | None:
        """The site's address; None if no site is wanted."""
        return f"https://{self._domain}" if self.wanted else None

    def differs(self, have: dict[str, Any] | None) -> list[str]:
        if not self.wanted:
            return ["taken away"] if have else []
        if have is None:
            return ["created"]
        return [] if _contains(have["DistributionConfig"], self._want()) else ["configuration"]

    def write(self, part: str, have: dict[str, Any] | None) -> str | None:
        if have is None:
            self._create()
        elif self.wanted:
            self._note(self._update(have, self._want()))
        else:
            self.delete(have)
        return None

    def delete(self, have: dict[str, Any]) -> None:
        """Disable it, wait until it is disabled everywhere, delete it."""
        enabled = have["DistributionConfig"]["Enabled"]
        left: dict[str, Any] | None = self._update(have, {"Enabled": False}) if enabled else have
        if left is not None and left["Status"] != "Deployed":
            self._aws.say(f"{self.label} is taken out of service, which takes some minutes")
        began = time.monotonic()
        while left is not None and left["Status"] != "Deployed":
            if time.monotonic() - began > LONGEST_CHANGE_S:
                raise DeployError(
                    f"{self.label} is still being taken out of service: run this again later"
                )
            pause(10.0)
            left = self._get(have["Id"])
        if left is not None:
            version = {"Id": left["Id"], "IfMatch": left["ETag"]}
            unless_absent(lambda: self._aws.write("cloudfront", "delete_distribution", **version))

    def _want(self) -> dict[str, Any]:
        access = self._access.id if self._access else "new"
        document = self._place.document("distribution.json", OriginAccess=access, **MANAGED)
        return dict(document)

    def _create(self) -> None:
        """Also if an earlier run has made it and the list does not have it yet."""
        have: dict[str, Any] | None
        try:
            have = self._create_as(self._place.site)
        except ClientError as error:
            if error.response["Error"]["Code"] != "DistributionAlreadyExists":
                raise
            named = re.search(r"exists: (\w+)", str(error))
            have = (named and self._get(named[1])) or None
            if have is None:  # the reference is that of one that was deleted
                have = self._create_as(f"{self._place.site}-{time.time():.0f}")
            else:
                self._require_tag(have)
                have = self._update(have, self._want()) if self.differs(have) else have
        self._note(have)

    def _create_as(self, reference: str) -> dict[str, Any]:
        tags = {"Items": self._place.tags_as("Key", "Value")}
        config = self._want() | {"CallerReference": reference}
        new = {"DistributionConfig": config, "Tags": tags}
        answer = self._aws.write(
            "cloudfront", "create_distribution_with_tags", DistributionConfigWithTags=new
        )
        return dict(answer["Distribution"])

    def _update(self, have: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        """CloudFront wants the whole configuration, what does not change, too."""
        config = have["DistributionConfig"] | changes
        version = {"Id": have["Id"], "IfMatch": have["ETag"]}
        answer = self._aws.write(
            "cloudfront", "update_distribution", **version, DistributionConfig=config
        )
        return {**answer["Distribution"], "ETag": answer["ETag"]}

    def _get(self, distribution_id: str) -> dict[str, Any] | None:
        answer = self._aws.read("cloudfront", "get_distribution", Id=distribution_id)
        return answer and {**answer["Distribution"], "ETag": answer["ETag"]}

    def _require_tag(self, have: dict[str, Any]) -> None:
        """Raises DeployError if it does not say whose it is."""
        answer = self._aws.read("cloudfront", "list_tags_for_resource", Resource=have["ARN"])
        tags = answer["Tags"].get("Items", []) if answer else []
        key, value = next(iter(self._place.tags.items()))
        if {"Key": key, "Value": value} not in tags:
            raise DeployError(
                f"{self.label}: {have['Id']} looks like it but has no tag {key} = {value}: if it "
                "is this installation's, give it that tag in the console (CloudFront), else "
                f"delete it; {AGAIN}"
            )

    def _note(self, have: dict[str, Any]) -> None:
        """A domain of one's own, set in the console, is the address that people know."""
        own = have["DistributionConfig"].get("Aliases", {}).get("Items") or []
        self._domain = (own or [have["DomainName"]])[0]
        self.id, self.ready = have["Id"], have["Status"] == "Deployed"


def _contains(have: Any, want: Any) -> bool:
    """Whether `have` has all that `want` has. CloudFront adds what we do not mention, may leave out
    what is empty, and its lists come in any order.
    """
    if isinstance(want, dict):
        return all(_contains((have or {}).get(name), value) for name, value in want.items())
    if isinstance(want, list):
        found = [any(_contains(item, wanted) for item in have or []) for wanted in want]
        return all(found) and len(found) == len(have or [])
    return bool(have == want or not (have or want))
