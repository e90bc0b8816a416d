"""The trial piece that ends a deployment: ten seconds through the whole chain, under trial/.

A trial that is due is remembered in the artifacts bucket from before the first change until all has
succeeded. So a run that was killed, or whose trial failed, is followed by another trial.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from deploy.aws import Aws, pause
from deploy.errors import DeployError
from deploy.execution import failure, run
from deploy.place import Place
from deploy.roles import Role
from deploy.storage import empty_bucket

DUE = "trial.due"
EVENT = {"trial": True, "prompt": "fresh", "duration_s": 10, "date": "2000-01-01"}
LONGEST_S = 900.0
LEARNING_S = 90.0  # within which every service has learnt of a change in IAM


def remember(aws: Aws, place: Place) -> None:
    aws.write("s3", "put_object", Bucket=place.bucket("artifacts"), Key=DUE, Body=b"")


def forget(aws: Aws, place: Place) -> None:
    aws.remove("s3", "delete_object", Bucket=place.bucket("artifacts"), Key=DUE)


def is_due(aws: Aws, place: Place) -> bool:
    bucket = place.bucket("artifacts")
    return aws.read("s3", "get_object", Bucket=bucket, Key=DUE) is not None


def compose(aws: Aws, place: Place, roles: Iterable[Role], advice: str) -> None:
    """Compose the trial piece and delete it again. Raises DeployError, which ends with `advice`.

    If `roles` were changed in this run, an execution that lacks a permission is started again.
    """
    began = time.monotonic()
    changes = [role.changed_at for role in roles if role.changed_at is not None]
    while True:
        arn, ended = run(aws, place, "smoke", EVENT, "the trial piece", LONGEST_S)
        lacking = ended["status"] == "FAILED" and "AccessDenied" in failure(ended)
        lacking = lacking or ended.get("error") == "AccessError"
        if not (lacking and changes and time.monotonic() - max(changes) < LEARNING_S):
            break
        aws.say("the new permissions are not known everywhere yet: the trial piece is tried again")
        pause()
    empty_bucket(aws, place.bucket("music"), "trial/")
    if ended["status"] != "SUCCEEDED":
        raise DeployError(
            f"the trial piece failed with {failure(ended)}\n"
            "Everything is deployed, but the piece did not come to its end. See the execution "
            f"{arn} in the console. The next run tries again{advice}"
        )
    aws.say(f"trial piece: composed and deleted, in {time.monotonic() - began:.0f} s")
