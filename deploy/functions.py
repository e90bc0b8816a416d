"""Layers, published once for each content; log groups; and the functions that use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from deploy.aws import Aws
from deploy.errors import DeployError
from deploy.pack import Packed
from deploy.place import FunctionRow, Place
from deploy.resource import Resource
from deploy.roles import Role
from deploy.site import Distribution

KEPT_VERSIONS = 3  # of each layer, beside those in use: what a rollback can go back to
LOGS_KEPT_DAYS = 30
DATA = ("model", "sounds")  # layers without code, for any runtime


class Layer(Resource):
    """A layer; `packed` is needed to publish it, for what is in `compatible`.

    The digest of the content is the description of a version, so that a content which was published
    before is found again. A description is only what somebody wrote: a version is used again if its
    zip is the one that was packed here, byte by byte. (Of a bank that stays deployed there is no
    zip here.) The model is different: --rollback goes back through its versions, so a model that
    was replaced and is wanted again is published again. So is a sound bank, because the newest is
    the one that stays if no other is asked for. `arn` is that of the wanted version, once it has
    been found or published.
    """

    def __init__(
        self,
        aws: Aws,
        place: Place,
        kind: str,
        packed: Packed | None = None,
        compatible: Mapping[str, list[str]] | None = None,
    ) -> None:
        self._aws, self._bucket, self._packed = aws, place.bucket("artifacts"), packed
        self._newest_only = kind in DATA
        self._compatible = {} if kind in DATA else compatible or {}
        self.name = f"{place.name}-{kind}"
        self.label = f"layer {self.name}"
        self.arn = place.arn("lambda", f"layer:{self.name}:new")
        self._digest = packed.content_sha256[:32] if packed else ""
        self._description = self._digest + (packed.note if packed else "")

    def read(self) -> list[dict[str, Any]]:
        """Its versions, the newest first."""
        named = {"LayerName": self.name}
        versions = self._aws.items("lambda", "list_layer_versions", "LayerVersions", **named)
        return sorted(versions, key=lambda version: int(version["Version"]), reverse=True)

    def differs(self, have: list[dict[str, Any]]) -> list[str]:
        assert self._packed is not None
        for version in have[:1] if self._newest_only else have:
            if version.get("Description") != self._description:
                continue
            if self._packed.zip_sha256_base64 in ("", self._sha256_of(version["Version"])):
                self.arn = version["LayerVersionArn"]
                return []
            self._aws.say(
                f"{self.label}: version {version['Version']} says that it is the same but is "
                "another zip, made by another machine or by somebody else: it is not used"
            )
        return [f"version new, {self._packed.unzipped_bytes / 1e6:.0f} MB unzipped"]

    def _sha256_of(self, number: int) -> str | None:
        """Of a version's zip, as Lambda gives it; None if the version has just been deleted."""
        named = {"LayerName": self.name, "VersionNumber": number}
        version = self._aws.read("lambda", "get_layer_version", **named)
        return version and str(version["Content"]["CodeSha256"])

    def write(self, part: str, have: list[dict[str, Any]]) -> str:
        assert self._packed is not None
        at = {"S3Bucket": self._bucket, "S3Key": f"layers/{self.name}-{self._digest}.zip"}
        self._aws.say(f"sending {self.label}, {self._packed.zip_bytes / 1e6:.0f} MB")
        # In one piece: several at once would be slower where the way to S3 is narrow.
        with self._packed.path.open("rb") as body:
            self._aws.write("s3", "put_object", Bucket=self._bucket, Key=at["S3Key"], Body=body)
        new = {"LayerName": self.name, "Description": self._description, "Content": at}
        published = self._aws.write("lambda", "publish_layer_version", **new, **self._compatible)
        self.arn = published["LayerVersionArn"]
        if published["Content"]["CodeSha256"] != self._packed.zip_sha256_base64:
            raise DeployError(
                f"{self.label}: version {published['Version']} is not the zip that was sent to "
                f"s3://{self._bucket}/{at['S3Key']}, so that it is not used: who else writes there?"
            )
        return part.replace("new", str(published["Version"]), 1)

    def listed(self, have: list[dict[str, Any]]) -> list[str]:
        return [f"{self.label}: version {version['Version']}" for version in have]

    def delete(self, have: list[dict[str, Any]]) -> None:
        for version in have:
            numbered = {"LayerName": self.name, "VersionNumber": version["Version"]}
            self._aws.remove("lambda", "delete_layer_version", **numbered)


class OldVersions(Resource):
    """The versions of a layer that no rollback needs; they go when the functions use the wanted."""

    def __init__(self, layer: Layer) -> None:
        self._layer, self.label = layer, layer.label

    def read(self) -> dict[str, dict[str, Any]]:
        """By what is told of each."""
        to_come = self._layer.arn.endswith(":new")  # in a dry run
        old = self._layer.read()[KEPT_VERSIONS - to_come :]
        return {
            f"version {version['Version']}: deleted": version
            for version in old
            if version["LayerVersionArn"] != self._layer.arn
        }

    def differs(self, have: dict[str, dict[str, Any]]) -> list[str]:
        return [*have]

    def write(self, part: str, have: dict[str, dict[str, Any]]) -> str | None:
        self._layer.delete([have[part]])
        return None

    def listed(self, have: Any) -> list[str]:
        return []  # the layer lists all of them


class LogGroup(Resource):
    """The log of a function, which may make no group itself: so its days are limited."""

    def __init__(self, aws: Aws, place: Place, row: FunctionRow) -> None:
        self._aws, self._tags = aws, place.tags
        self._name = f"/aws/lambda/{place.name}-{row.name}"
        self.label = f"log group {self._name}"

    def read(self) -> dict[str, Any] | None:
        answer = self._aws.client("logs").describe_log_groups(logGroupNamePrefix=self._name)
        return next((g for g in answer["logGroups"] if g["logGroupName"] == self._name), None)

    def differs(self, have: dict[str, Any] | None) -> list[str]:
        days = (have or {}).get("retentionInDays")
        kept = [] if days == LOGS_KEPT_DAYS else [f"kept for {LOGS_KEPT_DAYS} days"]
        return kept if have else ["created", *kept]

    def write(self, part: str, have: dict[str, Any] | None) -> str | None:
        named = {"logGroupName": self._name}
        if part == "created":
            self._aws.write("logs", "create_log_group", **named, tags=self._tags)
        else:
            self._aws.write("logs", "put_retention_policy", **named, retentionInDays=LOGS_KEPT_DAYS)
        return None

    def delete(self, have: dict[str, Any]) -> None:
        self._aws.remove("logs", "delete_log_group", logGroupName=self._name)


class Function(Resource):
    """A Lambda function. What follows `row` is needed to deploy it; `site` is that which it makes.

    Lambda lets the role of a function use the key of its environment by the role's id. If the role
    was made anew under its name, the function fails with KMSAccessDenied until it is made anew,
    too. So the id stands in the function's tags.
    """

    def __init__(
        self,
        aws: Aws,
        place: Place,
        row: FunctionRow,
        role: Role | None = None,
        layers: Sequence[Layer] = (),
        code: Packed | None = None,
        settings: Mapping[str, Any] | None = None,
        site: Distribution | None = None,
    ) -> None:
        self._aws, self._place, self._row, self._site = aws, place, row, site
        self._role, self._layers, self._code, self._settings = role, layers, code, settings or {}
        self.name = f"{place.name}-{row.name}"
        self.label = f"function {self.name}"

    def read(self) -> dict[str, Any] | None:
        """Its configuration, and its tags under "Tags"."""
        answer = self._aws.read("lambda", "get_function", FunctionName=self.name)
        if answer is None:
            return None
        if refused := answer.get("TagsError"):  # Lambda then leaves the tags out
            said: Any = {"Code": refused["ErrorCode"], "Message": refused["Message"]}
            raise ClientError({"Error": said}, "ListTags")
        return {**answer["Configuration"], "Tags": answer.get("Tags", {})}

    def differs(self, have: dict[str, Any] | None) -> list[str]:
        assert self._role, "without a role it can only be read"
        assert self._code, "without code it can only be read"
        if have is None:
            return ["created"]
        if self._role.id not in (None, have["Tags"].get("role-id")):
            return ["deleted and created again, since its role was"]
        want = self._configuration()
        current = {name: have.get(name) for name in want} | {
            "Layers": [layer["Arn"] for layer in have.get("Layers", [])],
            "TracingConfig": {"Mode": have.get("TracingConfig", {}).get("Mode")},
            "Environment": {"Variables": have.get("Environment", {}).get("Variables")},
        }
        code = [have["CodeSha256"], have["Architectures"]]
        same = {
            "code": code == [self._code.zip_sha256_base64, [self._settings["arch"]]],
            "configuration": current == want,
        }
        return [what for what, is_same in same.items() if not is_same]

    def write(self, part: str, have: dict[str, Any] | None) -> str | None:
        assert self._role, "without a role it can only be read"
        assert self._code, "without code it can only be read"
        zipped = self._code.path.read_bytes()
        named = {"FunctionName": self.name, "Architectures": [self._settings["arch"]]}
        if part == "code":
            self._wait_until_settled()
            self._aws.write("lambda", "update_function_code", **named, ZipFile=zipped)
        elif part == "configuration":
            self.configure(**self._configuration())
        else:
            if have is not None:
                self.delete(have)
            tags = {**(have or {}).get("Tags", {}), **self._place.tags, "role-id": self._role.id}
            new = {**named, "Code": {"ZipFile": zipped}, "Tags": tags}
            self._aws.write("lambda", "create_function", **new, **self._configuration())
        self._wait_until_settled()
        return None

    def configure(self, **configuration: Any) -> None:
        """Update parts of the configuration, and wait until they are in effect."""
        self._wait_until_settled()
        named = {"FunctionName": self.name}
        self._aws.write("lambda", "update_function_configuration", **named, **configuration)
        self._wait_until_settled()

    def delete(self, have: dict[str, Any]) -> None:
        self._aws.remove("lambda", "delete_function", FunctionName=self.name)

    def _wait_until_settled(self) -> None:
        """Lambda refuses an update of a function that is new or still being updated."""
        for waiter in ("function_active_v2", "function_updated_v2"):
            self._aws.client("lambda").get_waiter(waiter).wait(FunctionName=self.name)

    def _configuration(self) -> dict[str, Any]:
        variables = {
            "MODEL_DIR": "/opt/model",
            "MUSIC_BUCKET": self._place.bucket("music"),
            "METRICS_NAMESPACE": self._place.name,
        }
        if self._site and self._site.url:
            variables["SITE_URL"] = self._site.url
        return {
            "Runtime": self._settings["runtime"],
            "Role": self._place.role_arn(self._row.name),
            "Handler": f"{self._row.folder}.handler.handler",
            "MemorySize": self._settings["memory"],
            "Timeout": self._row.timeout_s,
            "Environment": {"Variables": variables},
            "Layers": [layer.arn for layer in self._layers],
            "TracingConfig": {"Mode": "Active"},
        }
